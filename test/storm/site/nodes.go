package site

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is one place of the cluster, with the process that is there now.
type Node struct {
	Number   int
	program  string
	dir      string
	settings []string
	HTTP     string // where the process listens
	clock    string // the file from which the process reads by how much its clock is wrong

	mu      sync.Mutex
	process *exec.Cmd
	ended   chan struct{} // closed once process has ended
	wanted  bool          // it is to run
	ends    int           // how often a process ended by itself, and said why
	crashes []string      // how processes ended otherwise
}

// Start starts a process in the node's place.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = true
	return n.launch()
}

// launch starts a process. mu is held.
func (n *Node) launch() error {
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	process := exec.Command(n.program)
	process.Dir, process.Stdout, process.Stderr = n.dir, log, log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CHATTING_") {
			process.Env = append(process.Env, variable)
		}
	}
	process.Env = append(process.Env, n.settings...)
	process.Env = append(process.Env, "GORACE=halt_on_error=1", clockVariable+"="+n.clock)
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	n.process, n.ended = process, ended
	go func() {
		_ = process.Wait()
		close(ended)
		n.again(process)
	}()
	return nil
}

// refusal is the exit code of a server that could not go on and has said why.
const refusal = 1

// again starts a node whose process has ended by itself, a second later, as systemd would.
func (n *Node) again(ended *exec.Cmd) {
	n.mu.Lock()
	lost := n.wanted && n.process == ended
	if lost && ended.ProcessState.ExitCode() == refusal {
		n.ends++
	} else if lost {
		n.crashes = append(n.crashes, fmt.Sprintf("node %d crashed: %s", n.Number, ended.ProcessState))
	}
	n.mu.Unlock()
	if !lost {
		return
	}
	time.Sleep(time.Second)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.wanted || n.process != ended {
		return
	}
	if err := n.launch(); err != nil {
		n.crashes = append(n.crashes, fmt.Sprintf("node %d does not start: %v", n.Number, err))
	}
}

// Signal sends a signal to the process that is there.
func (n *Node) Signal(signal syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stop ends the process with a signal, and waits for its end. One that does not end in time is killed, which is an error.
func (n *Node) Stop(signal syscall.Signal, limit time.Duration) error {
	n.mu.Lock()
	n.wanted = false
	process, ended := n.process, n.ended
	n.mu.Unlock()
	if process == nil {
		return nil // it was never started
	}
	_ = process.Process.Signal(signal)
	select {
	case <-ended:
		return nil
	case <-time.After(limit):
		_ = process.Process.Kill()
		<-ended
		return fmt.Errorf("node %d did not end within %s of %s", n.Number, limit, signal)
	}
}

// PID is the id of the process that is there.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process.Process.Pid
}

// Losses returns how often a process ended by itself and said why, and how others ended.
func (n *Node) Losses() (ends int, crashes []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ends, slices.Clone(n.crashes)
}

// IsReady asks the node itself, not through a proxy.
func (n *Node) IsReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// leap sets by how many seconds the node's clock is wrong.
func (n *Node) leap(seconds int) error {
	file, err := os.OpenFile(n.clock, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(seconds)), 0)
	return err
}

// clockVariable names the file to a node's program.
const clockVariable = "STORM_CLOCK"

// Build makes the nodes' program. Nothing of it is in the ordinary one: the wrong clock is in a copy of Go's package time, which
// takes the place of Go's own for this build alone. The texts of changed take the places of files of the server, by their paths.
func Build(ctx context.Context, dir string, race bool, changed map[string]string) (program string, err error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	package_ := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	source, err := os.ReadFile(filepath.Join(package_, "time.go"))
	if err != nil {
		return "", err
	}
	const asks = "sec, nsec, mono := runtimeNow()\n"
	if strings.Count(string(source), asks) == 0 {
		return "", fmt.Errorf("the package time of this Go is unknown: it does not say %q", asks)
	}
	wrongClock := strings.ReplaceAll(string(source), asks, asks+"\tsec += stormLeap()\n")
	files := map[string]string{filepath.Join(package_, "time.go"): wrongClock, filepath.Join(package_, "storm_leap.go"): leapSource}
	maps.Copy(files, changed)
	overlay := NewOverlay(dir)
	for path, text := range files {
		if err := overlay.Put(path, text); err != nil {
			return "", err
		}
	}
	listed, err := overlay.Write()
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "chatting")
	arguments := []string{"build", "-overlay", listed, "-o", program}
	if race {
		arguments = append(arguments, "-race")
	}
	if said, err := exec.CommandContext(ctx, "go", append(arguments, "chatting/cmd/chatting")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, said)
	}
	return program, nil
}

// Overlay has files take the place of others in a build. Its own are in a folder of the caller's.
type Overlay struct {
	dir string
	// Replace is what go build reads.
	Replace map[string]string
}

// NewOverlay returns an overlay that replaces nothing.
func NewOverlay(dir string) *Overlay { return &Overlay{dir, make(map[string]string)} }

// Put has a text take the place of a file's.
func (o *Overlay) Put(path, text string) error {
	path = filepath.Clean(path)
	own := filepath.Join(o.dir, fmt.Sprintf("overlay-%d-%s", len(o.Replace), filepath.Base(path)))
	o.Replace[path] = own
	return os.WriteFile(own, []byte(text), 0o644)
}

// Write writes the file that go build wants, and returns its path.
func (o *Overlay) Write() (listed string, err error) {
	encoded, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	listed = filepath.Join(o.dir, "overlay.json")
	return listed, os.WriteFile(listed, encoded, 0o644)
}

// leapSource is added to the package time. The file is mapped, so that a leap takes effect at once.
const leapSource = `package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var stormFile = stormOpen()

func stormOpen() *int64 {
	path, _ := syscall.Getenv("` + clockVariable + `")
	if path == "" {
		return new(int64)
	}
	file, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("the file of the clock cannot be read")
	}
	mapped, err := syscall.Mmap(file, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("the file of the clock cannot be mapped")
	}
	syscall.Close(file)
	return (*int64)(unsafe.Pointer(&mapped[0]))
}

func stormLeap() int64 {
	if stormFile == nil {
		return 0 // before the package is ready
	}
	return atomic.LoadInt64(stormFile)
}
`
