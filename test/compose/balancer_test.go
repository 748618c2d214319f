package compose

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/configs"
)

const patience = 30 * time.Second

func balancerConfig(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "configs", "haproxy.cfg"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTheBalancerKnowsTheNodesAndWaitsLongerThanTheirPings(t *testing.T) {
	config := balancerConfig(t)
	p := project(t)
	servers := regexp.MustCompile(`(?m)^ +server (\S+) (\S+):(\d+)$`).FindAllStringSubmatch(config, -1)
	if len(servers) != len(nodes) {
		t.Fatalf("the servers are %v", servers)
	}
	for i, server := range servers {
		cfg := loadNode(t, p.Services[nodes[i]])
		if server[1] != nodes[i] || server[2] != nodes[i] || server[3] != fmt.Sprint(cfg.HTTP.Addr.Port()) {
			t.Errorf("%v is not %s", server, nodes[i])
		}
		if _, waits := p.Services["balancer"].DependsOn[nodes[i]]; !waits {
			t.Errorf("the balancer does not wait for %s", nodes[i])
		}
	}
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	tunnel := regexp.MustCompile(`(?m)^ +timeout tunnel (\S+)$`).FindStringSubmatch(config)
	if tunnel == nil {
		t.Fatal("no timeout of sockets")
	}
	if wait, err := time.ParseDuration(tunnel[1]); err != nil || wait <= cfg.WebSocket.PingAfter+cfg.WebSocket.PongWait {
		t.Errorf("%s, %v: a silent socket is cut before the server has pinged it", tunnel[1], err)
	}
	port := p.Services["balancer"].Ports[0].Target
	if !strings.Contains(config, fmt.Sprintf("\n    bind :%d\n", port)) {
		t.Errorf("it does not listen on %d", port)
	}
}

// backend is a node that answers every path with its own name.
type backend struct {
	*httptest.Server
	unready atomic.Bool
	leaving atomic.Bool // it refuses what is new, and the checks have not noticed

	mu    sync.Mutex
	asked []string // but /readyz
}

func startBackend(t *testing.T, name string) *backend {
	t.Helper()
	b := &backend{}
	upgrader := websocket.Upgrader{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			if b.unready.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		b.mu.Lock()
		b.asked = append(b.asked, r.URL.Path)
		b.mu.Unlock()
		if r.Header.Get("X-Forwarded-For") != "127.0.0.1" {
			w.WriteHeader(http.StatusInternalServerError) // would pass for a program on the node's own machine
		}
		if b.leaving.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if websocket.IsWebSocketUpgrade(r) {
			conn, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer conn.Close()
			for {
				kind, message, err := conn.ReadMessage()
				if err != nil || conn.WriteMessage(kind, append([]byte(name+" "), message...)) != nil {
					return
				}
			}
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(b.Close)
	return b
}

// balancer is a running HAProxy.
type balancer struct {
	t       *testing.T
	address string

	mu  sync.Mutex
	log []byte
}

// Write takes what HAProxy logs.
func (b *balancer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, p...)
	return b.t.Output().Write(p)
}

// awaitState waits until the balancer has noticed that a node is "UP" or "DOWN".
func (b *balancer) awaitState(node, state string) {
	b.t.Helper()
	noticed := regexp.MustCompile(`Server nodes/` + node + ` is (UP|DOWN)`)
	eventually(b.t, node+" that is "+state, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		all := noticed.FindAllSubmatch(b.log, -1)
		return len(all) > 0 && string(all[len(all)-1][1]) == state
	})
}

// startBalancer runs HAProxy with the configuration as it is but for its addresses.
func startBalancer(t *testing.T, backends ...*backend) *balancer {
	t.Helper()
	haproxy := cmp.Or(os.Getenv("CHATTING_TEST_HAPROXY"), "haproxy")
	if _, err := exec.LookPath(haproxy); err != nil {
		t.Skip("CHATTING_TEST_HAPROXY names no HAProxy, and none is in PATH: its configuration is only read, not tried (test/infra/up)")
	}
	// HAProxy gets the socket, not its port: whatever else runs on this machine could take a port that is free for a moment.
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	address := listener.Addr().String()
	config := strings.Replace(balancerConfig(t), "bind :8080", "bind fd@3", 1)
	config = strings.Replace(config, "stdout", "stderr", 1)
	for i, b := range backends {
		config = strings.Replace(config, nodes[i]+":8000", strings.TrimPrefix(b.URL, "http://"), 1)
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	process := exec.CommandContext(ctx, haproxy, "-db", "-f", path)
	b := &balancer{t: t, address: address}
	process.Stderr, process.Stdout = b, b
	process.ExtraFiles = []*os.File{socket} // 3
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = process.Wait()
	})
	return b
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("there was no %s within %s", what, patience)
		}
	}
}

// get asks for a path exactly as it is written and returns the status and the body.
func get(t *testing.T, address, path string) (int, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: chat.example\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestTheBalancerPassesOnOnlyWhatIsForUsers(t *testing.T) {
	b := startBackend(t, "one")
	address := startBalancer(t, b, b).address
	for _, path := range []string{"/", "/ws/chatting/", "/ws/chatting", "/api/chatting/blockedusers/", "/api/chatting/is-online/?id=7",
		"/api/chatting/friends", "http://chat.example/api/chatting/friends/"} {
		if status, body := get(t, address, path); status != 200 || body != "one" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	b.mu.Lock()
	b.asked = nil
	b.mu.Unlock()
	for _, path := range []string{
		"/s2sapi/system-message/", "/S2SAPI/system-message/", "//s2sapi/system-message/", "/%732sapi/system-message/", "/./s2sapi/system-message/",
		"/api/../s2sapi/system-message/", "/api/%2e%2e/s2sapi/system-message/", "/api/..%2fs2sapi/system-message/", "/ws//../s2sapi/",
		"/api//s2sapi/", "/api/\\..\\s2sapi/", "/api/;/../../s2sapi/", "http://chat.example/s2sapi/system-message/", "/healthz", "/readyz", "/metrics", "/apis2sapi",
		"*", "/api/chatting/friends/?/../../s2sapi/\x01",
	} {
		if status, body := get(t, address, path); status != 404 && status != 400 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) > 0 {
		t.Errorf("passed on: %v", b.asked)
	}
}

func TestASocketThatALeavingNodeRefusesGoesToAnother(t *testing.T) {
	one, two := startBackend(t, "one"), startBackend(t, "two")
	address := startBalancer(t, one, two).address
	one.leaving.Store(true)
	asked := func() int {
		one.mu.Lock()
		defer one.mu.Unlock()
		return len(one.asked)
	}
	for range 20 {
		conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+address+"/ws/chatting/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		_ = conn.Close()
	}
	before := asked()
	if before == 0 {
		t.Fatal("the leaving node was asked by nobody: that shows nothing")
	}
	refused := 0
	for range 20 {
		if status, _ := get(t, address, "/api/"); status == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused == 0 || asked()-before != refused {
		t.Errorf("of the requests that the leaving node was asked %d were refused, and %d times was it asked", refused, asked()-before)
	}
}

func TestANodeThatIsNotReadyGetsNobodyNewAndKeepsItsUsers(t *testing.T) {
	one, two := startBackend(t, "one"), startBackend(t, "two")
	balancer := startBalancer(t, one, two)
	connect := func() *websocket.Conn {
		conn, response, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+balancer.address+"/ws/chatting/", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	say := func(conn *websocket.Conn) string {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		_, message, err := conn.ReadMessage()
		if err != nil {
			t.Fatal(err)
		}
		return string(message)
	}
	// More come than the other node has: the one with the fewest is the one that is not ready.
	const newcomers = 5
	mustGoTo := func(name string) (users []*websocket.Conn) {
		t.Helper()
		for range newcomers {
			users = append(users, connect())
			if got := say(users[len(users)-1]); got != name+" hello" {
				t.Fatalf("a newcomer to node %s hears %q", name, got)
			}
			if status, body := get(t, balancer.address, "/api/"); status != http.StatusOK || body != name {
				t.Fatalf("a request to node %s is answered with %d %q", name, status, body)
			}
		}
		return users
	}
	two.unready.Store(true)
	balancer.awaitState("node2", "DOWN")
	users := mustGoTo("one")
	two.unready.Store(false)
	balancer.awaitState("node2", "UP")
	one.unready.Store(true)
	balancer.awaitState("node1", "DOWN")
	mustGoTo("two")
	mustGoTo("two") // more than node one has
	for _, user := range users {
		if got := say(user); got != "one hello" {
			t.Errorf("a user of node one hears %q", got)
		}
	}
}
