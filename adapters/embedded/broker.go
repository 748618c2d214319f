package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"chatting/adapters/ownerfiles"
)

// segmentBytes is where kfake begins a new file; it cuts files by size only (segment.ms does nothing) and frees disk
// space by whole files.
const segmentBytes = 16 << 20

// clusterID is the same for every embedded broker.
const clusterID = "chatting-embedded"

// Options say where the broker listens and where it keeps its log. Addr, Dir and Logger are needed.
type Options struct {
	// Addr is host:port of one address of this machine; port 0 takes a free one. Clients are told to come back to this
	// address, so 0.0.0.0 and :: are refused.
	Addr string
	// AllowRemote lets Addr be no loopback address. The broker asks for no password.
	AllowRemote bool
	// ClientBytes bounds the requests and answers of all clients together that are under way, half for each. Less than
	// MinClientBytes counts as that.
	ClientBytes int
	// Own are the topics of the server, and the settings that it makes each with. Clients cannot make them or change their
	// settings, and settings that are others at the start are set right.
	Own map[string]map[string]string
	// Dir is the broker's own directory; it is created, for its owner only, where it is missing, and the rights of others on
	// it and all files in it are taken away. The files that are made later are as the umask of the process lets them. No other
	// process may use it: the caller holds the lock of the data directory around it.
	Dir string
	// Now is the clock that records are refused and deleted by; nil means time.Now.
	Now func() time.Time
	// Logger gets what goes wrong: refused frames and connections (at most a line in ten seconds), bytes cut from
	// damaged files, failed writes.
	Logger *slog.Logger
}

// Broker is a running broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
	guard   *guard
	log     *kfakeLog
	failed  chan struct{}
	files   *files

	stopRetention context.CancelFunc
	retention     sync.WaitGroup
	closing       sync.Once
}

// Start runs a broker until Close. It returns when clients can connect, which after a long log takes a while: every
// file is read and checked. The error is one line that names the address or the directory. ctx bounds the start only.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if err := makeDir(o.Dir); err != nil {
		return nil, err
	}
	if err := ownerfiles.NarrowTree(o.Dir); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	clock, err := readClock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("the embedded Kafka broker cannot use %s: %w", o.Dir, err)
	}
	listener, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	topics, err := recoverLog(ctx, o.Dir, o.Logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the embedded Kafka broker cannot use %s: %w", o.Dir, err), listener.Close())
	}
	b := &Broker{guard: newGuard(listener, o), failed: make(chan struct{}), files: watchedFiles(o.Dir)}
	b.log = &kfakeLog{logger: o.Logger, onFailure: func(err error) {
		o.Logger.Error("the embedded Kafka broker stops serving", "error", err)
		b.guard.shut()
		close(b.failed)
	}}
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID(clusterID),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.guard.engine, nil }),
		kfake.DataDir(o.Dir),
		kfake.SyncWrites(),
		kfake.MaxVersions(engineVersions()),
		kfake.WithLogger(b.log),
		kfake.DefaultNumPartitions(1),
		kfake.GroupMaxSessionTimeout(maxSession),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.Itoa(segmentBytes),
			// kfake's own retention may remove what is not too old: see retention.
			"log.cleaner.backoff.ms": strconv.FormatInt(never.Milliseconds(), 10),
		}),
	)
	if err != nil {
		b.guard.shut()
		return nil, fmt.Errorf("the embedded Kafka broker cannot use %s: %w", o.Dir, err)
	}
	if err := b.begin(topics, o); err != nil {
		b.cluster.Close()
		b.guard.shut()
		b.guard.wait()
		b.files.close()
		return nil, fmt.Errorf("the embedded Kafka broker cannot use %s: %w", o.Dir, err)
	}
	var retentionCtx context.Context
	retentionCtx, b.stopRetention = context.WithCancel(context.WithoutCancel(ctx))
	r := &retention{cluster: b.cluster, engine: b.guard.engine, logger: o.Logger, dir: o.Dir, now: o.Now, clock: clock}
	b.keepUp(retentionCtx, "its retention", r.run)
	b.keepUp(retentionCtx, "the watch over its files", b.watchFiles)
	return b, nil
}

// keepUp runs a part of the broker, which fails if the part ends before ctx.
func (b *Broker) keepUp(ctx context.Context, name string, part func(context.Context)) {
	b.retention.Go(func() {
		part(ctx)
		if ctx.Err() == nil {
			b.log.fail(fmt.Errorf("the embedded Kafka broker: %s ended although nobody stopped it", name))
		}
	})
}

// begin sets the settings of the server's own topics right and lets clients in.
func (b *Broker) begin(topics []topic, o Options) error {
	lane, err := b.guard.engine.dial(b.guard.engine.addr)
	if err != nil {
		return err
	}
	defer lane.close()
	changed, err := b.guard.policy.restore(lane, topics)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		o.Logger.Warn("embedded Kafka broker: topics had settings that the server cannot work with, which are set right now",
			"topics", changed)
	}
	if err := b.guard.keep(); err != nil {
		return err
	}
	if err := b.files.check(); err != nil {
		return err
	}
	b.guard.start(func(err error) { b.log.fail(fmt.Errorf("the embedded Kafka broker can take no more clients: %w", err)) })
	return nil
}

// keepEvery is how often the broker looks whether its files are still there. The server needs ten seconds more to end.
const keepEvery = 4 * time.Second

// watchFiles ends the broker if a part of its log is taken away, cut or replaced: kfake would go on writing to files that
// nobody finds again, and reading where nothing is.
func (b *Broker) watchFiles(ctx context.Context) {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.checkFiles()
		}
	}
}

func (b *Broker) checkFiles() {
	err := b.files.check()
	if err == nil {
		err = b.guard.keep()
	}
	if gone := lostError(""); errors.As(err, &gone) {
		b.log.fail(fmt.Errorf("the embedded Kafka broker has lost its files: %w", err))
	} else if err != nil {
		b.guard.logger.Warn("embedded Kafka broker: keeping the list of topics", "error", err)
	}
}

// Dial connects the server itself to its broker, inside the process: whatever clients do, such connections get a place,
// and what they carry counts for none of the clients' bounds. It has the signature of net.Dialer.DialContext; there is
// one broker, so that network and address decide nothing.
func (b *Broker) Dial(context.Context, string, string) (net.Conn, error) { return b.guard.dial() }

// Addr is the host:port that the broker listens on, with the actual port.
func (b *Broker) Addr() string { return b.guard.listener.Addr().String() }

// Failed is closed when a write failed (a full disk, say): from then on the broker serves nobody, so that nothing is
// acknowledged that is not in the log. The way out is a new process, which finds the log as the files have it.
func (b *Broker) Failed() <-chan struct{} { return b.failed }

// Close ends the broker: connections are closed, what was acknowledged is in the files, and the broker's goroutines have
// ended or are about to (kfake offers no way to wait for its own; their connections are closed, so nothing holds them).
// The error is the first failed write since Start. Further calls wait and return the same.
func (b *Broker) Close() error {
	b.closing.Do(func() {
		b.stopRetention()
		b.retention.Wait() // kfake's administrative calls must not meet its Close: they would wait for ever
		b.checkFiles()     // the last time, because kfake writes groupsFile anew
		b.cluster.Close()
		b.guard.shut()
		b.guard.wait()
		b.files.close()
		b.log.note(b.guard.keep())
	})
	return b.log.err()
}

// ListenError tells why the broker cannot listen on its address.
type ListenError struct {
	Addr string
	Err  error // that of the network
}

// Error implements error: one line.
func (e *ListenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("the address %s of the embedded Kafka broker is in use", e.Addr)
	}
	return fmt.Sprintf("the embedded Kafka broker cannot listen on %s: %s", e.Addr, e.Err)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// listen opens the one address that addr names.
func listen(ctx context.Context, o Options) (net.Listener, error) {
	addr := o.Addr
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("the address %q of the embedded Kafka broker is not host:port", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, fmt.Errorf("the address %q of the embedded Kafka broker must name one address: "+
			"clients are told to come back to it", addr)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &ListenError{Addr: addr, Err: err}
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		if !o.AllowRemote {
			return nil, errors.Join(fmt.Errorf("the embedded Kafka broker asks for no password, and %s is no loopback address: "+
				"set embedded_kafka.addr to one, or set embedded_kafka.allow_remote to true", addr), listener.Close())
		}
		o.Logger.Warn("the embedded Kafka broker asks for no password and listens on an address of a network card: "+
			"whoever reaches it can read and write every topic", "address", listener.Addr().String())
	}
	return listener, nil
}
