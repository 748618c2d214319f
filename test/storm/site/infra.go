package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	NodeCount   = 3
	BrokerCount = 3
	// diskSize is that of the disks which can be filled, in bytes.
	diskSize = 768 << 20
	// diskName tells them from other file systems.
	diskName = "storm"
)

func infraFolder(dir string) string { return filepath.Join(dir, "infra") }

// infra runs a script of test/infra on the run's own folder.
func infra(ctx context.Context, dir, script string, arguments ...string) error {
	_, here, _, _ := runtime.Caller(0)
	command := exec.CommandContext(ctx, filepath.Join(filepath.Dir(here), "..", "..", "infra", script), arguments...)
	command.Env = append(os.Environ(), "CHATTING_TEST_INFRA_DIR="+infraFolder(dir))
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("test/infra/%s: %w: %s", script, err, said)
	}
	return nil
}

// parts are the brokers and PostgreSQL.
type parts struct {
	dir string
	// direct are the addresses of the brokers that go through no proxy, from broker 1 on.
	direct []string
	// listeners are, for each node and broker, where the broker listens, and advertised where it says that it does.
	listeners, advertised [NodeCount][BrokerCount]string
	// postgres is the address of PostgreSQL, and url how the test's own client connects.
	postgres, url string
	pgData        string
	disks         bool // whether disks can be filled
}

// startParts starts them, and gives every broker a listener for each node, so that each node has a way of its own to it.
func startParts(ctx context.Context, dir string) (*parts, error) {
	if err := infra(ctx, dir, "up", "--brokers", strconv.Itoa(BrokerCount)); err != nil {
		return nil, err
	}
	p := &parts{dir: infraFolder(dir)}
	text, err := os.ReadFile(filepath.Join(p.dir, "env"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if brokers, ok := strings.CutPrefix(line, "export CHATTING_TEST_KAFKA="); ok {
			p.direct = strings.Split(brokers, ",")
		}
		if url, ok := strings.CutPrefix(line, "export CHATTING_TEST_POSTGRES="); ok {
			p.url = url
		}
	}
	folder, err := os.ReadFile(filepath.Join(p.dir, "postgres.dir"))
	if err != nil || len(p.direct) != BrokerCount || p.url == "" {
		return nil, fmt.Errorf("test/infra/up does not name all parts: %w", err)
	}
	p.pgData = filepath.Join(strings.TrimSpace(string(folder)), "data")
	_, rest, _ := strings.Cut(p.url, "@")
	p.postgres, _, _ = strings.Cut(rest, "/")
	for node := range NodeCount {
		for broker := range BrokerCount {
			p.listeners[node][broker], p.advertised[node][broker] = FreeAddress(), FreeAddress()
		}
	}
	if err := p.smallDisks(); err != nil {
		return nil, err
	}
	return p, p.awaitBrokers(ctx)
}

// smallDisks moves the data of the brokers and of PostgreSQL to file systems that can be filled, where that is allowed, and gives
// the brokers their listeners. Everything is stopped meanwhile.
func (p *parts) smallDisks() error {
	p.disks = os.Geteuid() == 0
	for broker := 1; broker <= BrokerCount; broker++ {
		if err := p.killBroker(broker); err != nil {
			return err
		}
		if err := p.addListeners(broker); err != nil {
			return err
		}
		p.disks = p.disks && p.onSmallDisk(p.brokerData(broker)) == nil
	}
	if err := p.stopPostgres(syscall.SIGINT); err != nil {
		return err
	}
	p.disks = p.disks && p.onSmallDisk(p.pgData) == nil
	for broker := 1; broker <= BrokerCount; broker++ {
		if err := p.startBroker(broker); err != nil {
			return err
		}
	}
	return p.startPostgres()
}

func (p *parts) brokerData(broker int) string {
	return filepath.Join(p.dir, "broker-"+strconv.Itoa(broker), "data")
}

// addListeners has a broker listen once for each node.
func (p *parts) addListeners(broker int) error {
	path := filepath.Join(p.dir, "broker-"+strconv.Itoa(broker), "server.properties")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var listeners, advertised, protocols string
	for node := range NodeCount {
		name := fmt.Sprint("NODE", node+1)
		listeners += fmt.Sprintf(",%s://%s", name, p.listeners[node][broker-1])
		advertised += fmt.Sprintf(",%s://%s", name, p.advertised[node][broker-1])
		protocols += fmt.Sprintf(",%s:PLAINTEXT", name)
	}
	var changed strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "listeners="):
			line += listeners
		case strings.HasPrefix(line, "advertised.listeners="):
			line += advertised
		case strings.HasPrefix(line, "listener.security.protocol.map="):
			line += protocols
		}
		changed.WriteString(line + "\n")
	}
	return os.WriteFile(path, []byte(changed.String()), 0o644)
}

// FreeAddress returns an address of loopback below the ports that the system hands out.
func FreeAddress() string {
	for {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+rand.IntN(20_000)))
		if listener, err := net.Listen("tcp", address); err == nil {
			_ = listener.Close()
			return address
		}
	}
}

func (p *parts) pid(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(p.dir, name+".pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func brokerName(broker int) string { return "broker-" + strconv.Itoa(broker) }

// runs tells whether a process is there and is one of the run's. A pid that was given to somebody else is not.
func (p *parts) runs(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && (bytes.Contains(line, []byte(p.dir+"/")) || p.pgData != "" && bytes.Contains(line, []byte(p.pgData)))
}

// signal sends a signal to a process. One that has ended is left alone.
func (p *parts) signal(name string, signal syscall.Signal) error {
	pid, err := p.pid(name)
	if err != nil {
		return err
	}
	if !p.runs(pid) {
		return nil
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// end sends a signal to a process that is nobody's child here, and waits until it is gone.
func (p *parts) end(name string, signal syscall.Signal) error {
	pid, err := p.pid(name)
	if err != nil {
		return err
	}
	if err := p.signal(name, signal); err != nil {
		return err
	}
	gone := func() bool { return !p.runs(pid) }
	if WaitFor(gone) {
		return nil
	}
	if err := p.signal(name, syscall.SIGKILL); err != nil {
		return err
	}
	if WaitFor(gone) {
		return nil
	}
	return fmt.Errorf("%s (process %d) does not end", name, pid)
}

// WaitFor asks until something holds, at most for endLimit.
func WaitFor(holds func() bool) bool {
	for end := time.Now().Add(endLimit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

const endLimit = time.Minute

func (p *parts) killBroker(broker int) error {
	return p.end(brokerName(broker), syscall.SIGKILL)
}

func (p *parts) stopBroker(broker int) error {
	return p.end(brokerName(broker), syscall.SIGTERM)
}

// startBroker starts a broker that has ended. It does not wait until it answers.
func (p *parts) startBroker(broker int) error {
	if said, err := exec.Command(filepath.Join(p.dir, brokerName(broker)+".start")).CombinedOutput(); err != nil {
		return fmt.Errorf("broker %d: %w: %s", broker, err, said)
	}
	return nil
}

// awaitBrokers waits until each broker knows all.
func (p *parts) awaitBrokers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for _, address := range p.direct {
		for {
			err := p.knowsAll(ctx, address)
			if err == nil {
				break
			}
			if !Pause(ctx, 200*time.Millisecond) {
				return fmt.Errorf("the broker at %s does not know the others: %w", address, err)
			}
		}
	}
	return nil
}

func (p *parts) knowsAll(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
	if err == nil && len(answer.Brokers) != BrokerCount {
		err = fmt.Errorf("it knows %d", len(answer.Brokers))
	}
	return err
}

func (p *parts) stopPostgres(signal syscall.Signal) error {
	if signal != syscall.SIGKILL {
		return p.end("postgres", signal)
	}
	// Its sessions notice the end of the first process, and shared memory has to be free before the next start.
	pid, err := p.pid("postgres")
	if err != nil {
		return err
	}
	sessions := children(pid)
	err = p.end("postgres", signal)
	for _, session := range sessions {
		_ = syscall.Kill(session, syscall.SIGKILL)
	}
	return err
}

// startPostgres starts PostgreSQL again. One that runs is left alone.
func (p *parts) startPostgres() error {
	programs, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_ctl")
	if err != nil || len(programs) == 0 {
		return errors.New("pg_ctl is not there")
	}
	arguments := []string{
		programs[len(programs)-1], "-D", p.pgData, "-l", filepath.Join(filepath.Dir(p.pgData), "log"),
		"-w", "-t", "120", "-s", "start",
	}
	if os.Geteuid() == 0 {
		arguments = append([]string{"runuser", "-u", "postgres", "--"}, arguments...)
	}
	if pid, err := p.pid("postgres"); err == nil && p.runs(pid) {
		return nil
	}
	// Right after a kill, what its sessions shared may still be in use.
	var failed error
	started := WaitFor(func() bool {
		command := exec.Command(arguments[0], arguments[1:]...)
		command.Dir = "/"
		failed = command.Run() // without pipes: the server would keep them open
		return failed == nil
	})
	if !started {
		return fmt.Errorf("pg_ctl start: %w", failed)
	}
	said, err := os.ReadFile(filepath.Join(p.pgData, "postmaster.pid"))
	if err != nil {
		return err
	}
	pid, _, _ := strings.Cut(string(said), "\n")
	return os.WriteFile(filepath.Join(p.dir, "postgres.pid"), []byte(pid+"\n"), 0o644)
}

// pausePostgres stops or continues all processes of PostgreSQL.
func (p *parts) pausePostgres(signal syscall.Signal) error {
	pid, err := p.pid("postgres")
	if err != nil {
		return err
	}
	if err := p.signal("postgres", signal); err != nil {
		return err
	}
	for _, session := range children(pid) {
		_ = syscall.Kill(session, signal)
	}
	return nil
}

// children returns the processes that one has started.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var state string
		var by int
		// The name stands before the last parenthesis, and may hold anything.
		_, _ = fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &by)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && by == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Pause waits for d, and tells whether ctx has not ended before.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
