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

	"chatting/adapters/embedded/guard"
	"chatting/adapters/embedded/logdir"
	"chatting/adapters/embedded/protocol"
	"chatting/adapters/ownerfiles"
)

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
	// guard.MinClientBytes counts as that.
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
	guard   *guard.Guard
	syncer  *syncer
	notes   *logdir.Notes
	watch   *logdir.Watch
	log     *kfakeLog
	logger  *slog.Logger
	dir     string
	failed  chan struct{}

	stopRetention, stopSync context.CancelFunc
	retention, sync         sync.WaitGroup
	closing                 sync.Once
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
	clock, err := logdir.ReadClock(o.Dir)
	if err != nil {
		return nil, cannotUse(o.Dir, err)
	}
	listener, err := listen(ctx, o)
	if err != nil {
		return nil, err
	}
	topics, err := logdir.Recover(ctx, o.Dir, clusterID, o.Logger)
	var synced map[string]logdir.Mark
	if err == nil {
		synced, err = logdir.Sync(o.Dir)
	}
	if err != nil {
		return nil, errors.Join(cannotUse(o.Dir, err), listener.Close())
	}
	b := newBroker(listener, synced, o)
	if err := b.open(ctx, topics, o.Own); err != nil {
		b.abandon()
		return nil, cannotUse(o.Dir, err)
	}
	b.run(ctx, &retention{cluster: b.cluster, guard: b.guard, logger: o.Logger, dir: o.Dir, now: o.Now, clock: clock})
	return b, nil
}

func cannotUse(dir string, err error) error {
	return fmt.Errorf("the embedded Kafka broker cannot use %s: %w", dir, err)
}

// newBroker joins the parts of a broker whose files are recovered and synced. None of them runs yet.
func newBroker(listener net.Listener, synced map[string]logdir.Mark, o Options) *Broker {
	b := &Broker{
		notes: logdir.NewNotes(o.Dir), watch: logdir.NewWatch(o.Dir), logger: o.Logger, dir: o.Dir, failed: make(chan struct{}),
	}
	b.log = &kfakeLog{logger: o.Logger, onFailure: func(err error) {
		o.Logger.Error("the embedded Kafka broker stops serving", "error", err)
		b.guard.Shut()
		close(b.failed)
	}}
	policy := protocol.Policy{Own: o.Own}
	b.syncer = newSyncer(o.Dir, policy.RollsAt, synced, b.log.fail, func(grown []logdir.Partition) { b.guard.Grown(grown) })
	b.guard = guard.New(listener, b.syncer, guard.Config{
		Policy: policy, ClientBytes: o.ClientBytes, Now: o.Now, TopicsChanged: b.topicsChanged, Logger: o.Logger,
	})
	return b
}

// open has kfake read the log, and lets clients in. own are the server's own topics. The end of ctx does not stop it: kfake reads a
// long log for longer than ctx may last, and the next start would take as long.
func (b *Broker) open(ctx context.Context, topics []logdir.Topic, own map[string]map[string]string) (err error) {
	ctx = context.WithoutCancel(ctx)
	if err := b.syncer.syncGroups(); err != nil { // before kfake may replace them
		return err
	}
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID(clusterID),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.guard.Engine(), nil }),
		kfake.DataDir(b.dir),
		kfake.MaxVersions(protocol.EngineVersions()),
		kfake.WithLogger(b.log),
		kfake.DefaultNumPartitions(1),
		kfake.GroupMaxSessionTimeout(guard.MaxSession),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.Itoa(protocol.SegmentBytes),
			// kfake's own retention may remove what is not too old: see retention.
			"log.cleaner.backoff.ms": strconv.FormatInt(never.Milliseconds(), 10),
		}),
	)
	if err != nil {
		return err
	}
	changed, err := restoreSettings(ctx, b.guard, topics, own)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		b.logger.Warn("embedded Kafka broker: topics had settings that the server cannot work with, which are set right now",
			"topics", changed)
	}
	ends, err := b.ends(ctx)
	if err != nil {
		return err
	}
	for _, end := range ends { // all files are synced
		b.syncer.begin(end)
	}
	if err := b.keepNotes(); err != nil {
		return err
	}
	if err := b.watch.Check(); err != nil {
		return err
	}
	b.guard.Start(b.log.fail)
	return nil
}

// abandon ends a broker that could not be opened.
func (b *Broker) abandon() {
	if b.cluster != nil {
		b.cluster.Close()
	}
	b.guard.Shut()
	b.guard.Wait()
	b.watch.Close()
	b.syncer.close()
}

// run starts what runs until Close.
func (b *Broker) run(ctx context.Context, r *retention) {
	var retentionCtx, syncCtx context.Context
	retentionCtx, b.stopRetention = context.WithCancel(context.WithoutCancel(ctx))
	syncCtx, b.stopSync = context.WithCancel(context.WithoutCancel(ctx))
	b.keepUp(syncCtx, &b.sync, "its sync", b.syncer.run)
	b.keepUp(retentionCtx, &b.retention, "its retention", r.run)
	b.keepUp(retentionCtx, &b.retention, "the watch over its files", b.watchFiles)
}

// keepUp runs a part of the broker, which fails if the part ends before ctx.
func (b *Broker) keepUp(ctx context.Context, group *sync.WaitGroup, name string, part func(context.Context)) {
	group.Go(func() {
		part(ctx)
		if ctx.Err() == nil {
			b.log.fail(fmt.Errorf("the embedded Kafka broker: %s ended although nobody stopped it", name))
		}
	})
}

// ends returns where kfake says that partitions end which are not empty.
func (b *Broker) ends(ctx context.Context) (ends []logdir.End, err error) {
	topics, err := b.guard.Topics(ctx)
	if err != nil {
		return nil, err
	}
	for _, topic := range topics {
		for _, of := range b.cluster.PartitionInfos(topic) {
			if of.HighWatermark > 0 {
				p := logdir.Partition{Topic: topic, Number: of.Partition}
				ends = append(ends, logdir.End{Partition: p, Offset: of.HighWatermark})
			}
		}
	}
	return ends, nil
}

// keepNotes writes down what a later start needs.
func (b *Broker) keepNotes() error { return b.notes.Keep(b.syncer.marked()) }

// topicsChanged keeps the new list of topics. What goes wrong is tried again soon.
func (b *Broker) topicsChanged() {
	if err := b.keepNotes(); err != nil {
		b.logger.Warn("embedded Kafka broker: keeping the list of topics", "error", err)
	}
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
			b.showUnsettled(ctx)
		}
	}
}

// showUnsettled has what kfake has appended synced and shown whose producer was gone before it was told of it.
func (b *Broker) showUnsettled(ctx context.Context) {
	ends, err := b.ends(ctx)
	if err == nil {
		err = b.syncer.Await(ends, ctx.Done())
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		b.logger.Warn("embedded Kafka broker: looking where partitions end", "error", err)
	}
}

func (b *Broker) checkFiles() {
	err := b.watch.Check()
	if err == nil {
		err = b.keepNotes()
	}
	if gone := logdir.LostError(""); errors.As(err, &gone) {
		b.log.fail(fmt.Errorf("the embedded Kafka broker has lost its files: %w", err))
	} else if err != nil {
		b.logger.Warn("embedded Kafka broker: keeping the list of topics", "error", err)
	}
}

// Partitions returns how many partitions a topic has in a broker's directory; 0 if it is not there, or if the directory
// cannot be read, which Start reports. No broker need run on it.
func Partitions(dir, topic string) int { return logdir.Partitions(dir, topic) }

// Life is one of the log's lives. Of each, Began is where the partitions of a topic ended at its beginning.
type Life = logdir.Life

// BeginLife notes that a server begins to serve users on the log, whose places in a topic it is going to give away, and returns the
// lives that are known, this one first.
func (b *Broker) BeginLife(topic string, partitions int) ([]Life, error) {
	began := make([]int64, partitions)
	for _, of := range b.cluster.PartitionInfos(topic) {
		if int(of.Partition) < partitions {
			began[of.Partition] = of.HighWatermark
		}
	}
	lives, err := logdir.BeginLife(b.dir, began)
	if err != nil {
		return nil, cannotUse(b.dir, err)
	}
	return lives, nil
}

// Dial connects the server itself to its broker, inside the process: whatever clients do, such connections get a place,
// and what they carry counts for none of the clients' bounds. It has the signature of net.Dialer.DialContext; there is
// one broker, so that network and address decide nothing.
func (b *Broker) Dial(context.Context, string, string) (net.Conn, error) { return b.guard.Dial() }

// Addr is the host:port that the broker listens on, with the actual port.
func (b *Broker) Addr() string { return b.guard.Addr().String() }

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
		b.checkFiles()     // the last time, because kfake writes the log of the groups anew
		b.cluster.Close()
		b.guard.Shut()
		b.guard.Wait()
		b.stopSync()
		b.sync.Wait() // nobody waits for it any more
		b.watch.Close()
		b.log.note(b.keepNotes())
		if b.log.err() == nil {
			b.log.note(logdir.EndGroups(b.dir))
		}
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

// AddressError tells that the broker may not listen on its address.
type AddressError string

// Error implements error: one line.
func (e AddressError) Error() string { return string(e) }

// listen opens the one address that addr names.
func listen(ctx context.Context, o Options) (net.Listener, error) {
	addr := o.Addr
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, AddressError(fmt.Sprintf("the address %q of the embedded Kafka broker is not host:port", addr))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return nil, AddressError(fmt.Sprintf("the address %q of the embedded Kafka broker must name one address: "+
			"clients are told to come back to it", addr))
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, &ListenError{Addr: addr, Err: err}
	}
	if at, ok := listener.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		if !o.AllowRemote {
			return nil, errors.Join(AddressError(fmt.Sprintf("the embedded Kafka broker asks for no password, and %s is no loopback "+
				"address: set embedded_kafka.addr to one, or set embedded_kafka.allow_remote to true", addr)), listener.Close())
		}
		o.Logger.Warn("the embedded Kafka broker asks for no password and listens on an address of a network card: "+
			"whoever reaches it can read and write every topic", "address", listener.Addr().String())
	}
	return listener, nil
}
