// Package proxies puts the proxies whose configurations are in configs before a server, and uses it through their TLS as clients do.
package proxies

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/configs"
	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// proxy is a program whose configuration is in configs.
type proxy struct {
	name, config string
	// variable names the program, for test/infra/up.
	variable string
	// adapt makes the changes that a test on one machine needs: addresses, and places of files. Each must be found.
	adapt func(place place) []string
	// command starts it in the foreground, given its configuration and a folder of its own.
	command func(config, dir string) []string
	// idle finds for how long it keeps a silent WebSocket; nil if it does for ever.
	idle *regexp.Regexp
}

// place is what a configuration is adapted to.
type place struct{ address, node, dir string }

var proxies = []proxy{
	{
		name: "nginx", config: "nginx.conf", variable: "CHATTING_TEST_NGINX",
		adapt: func(p place) []string {
			return []string{
				"listen 443 ssl", "listen " + p.address + " ssl", "/etc/nginx/", p.dir + "/",
				"server node1:8000;", "server " + p.node + ";", "server node2:8000;", "",
				"http {", "http {\nclient_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;",
			}
		},
		command: func(config, dir string) []string {
			return []string{"-p", dir, "-c", config, "-e", "stderr", "-g", "daemon off; master_process off; pid nginx.pid;"}
		},
		idle: regexp.MustCompile(`proxy_read_timeout (\w+);`),
	},
	{
		name: "caddy", config: "Caddyfile", variable: "CHATTING_TEST_CADDY",
		adapt: func(p place) []string {
			return []string{
				"chat.example {", "https://" + p.address + " {", "/etc/caddy/", p.dir + "/",
				"node1:8000 node2:8000", p.node, "admin off", "admin off\n\tauto_https disable_redirects",
			}
		},
		command: func(config, _ string) []string { return []string{"run", "--config", config, "--adapter", "caddyfile"} },
	},
	{
		name: "haproxy", config: "haproxy.cfg", variable: "CHATTING_TEST_HAPROXY",
		adapt: func(p place) []string {
			return []string{
				"    bind :8080\n", "", "# bind :443 ssl", "bind " + p.address + " ssl", "/etc/haproxy/", p.dir + "/",
				"server node1 node1:8000", "server node1 " + p.node, "    server node2 node2:8000\n", "", "log stdout", "log stderr",
			}
		},
		command: func(config, _ string) []string { return []string{"-db", "-f", config} },
		idle:    regexp.MustCompile(`timeout tunnel (\w+)\n`),
	},
}

// adapted returns the configuration of a proxy for a place.
func (p proxy) adapted(t *testing.T, at place) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "configs", p.config))
	if err != nil {
		t.Fatal(err)
	}
	config := string(content)
	changes := p.adapt(at)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(config, changes[i]) {
			t.Fatalf("%s has no %q", p.config, changes[i])
		}
		config = strings.ReplaceAll(config, changes[i], changes[i+1])
	}
	return config
}

// start runs a proxy before a node. It returns the address of the proxy, and what clients of it trust.
func (p proxy) start(t *testing.T, node string) (address string, trusted *x509.CertPool) {
	t.Helper()
	program := os.Getenv(p.variable)
	if program == "" {
		t.Skipf("%s is not set: the configuration of %s is not tried (test/infra/up)", p.variable, p.name)
	}
	dir := t.TempDir()
	trusted = certify(t, dir)
	config := filepath.Join(dir, p.config)
	// Somebody else may take a port that was just free.
	for range 5 {
		address = harness.FreeAddress(t)
		if err := os.WriteFile(config, []byte(p.adapted(t, place{address: address, node: node, dir: dir})), 0o600); err != nil {
			t.Fatal(err)
		}
		if answers(t, program, p.command(config, dir), dir, address) {
			return address, trusted
		}
	}
	t.Fatalf("%s does not start", p.name)
	return "", nil
}

// answers starts a program in a folder of its own, and tells whether it listens at an address; false if it ends before. A program
// that listens is ended with the test.
func answers(t *testing.T, program string, arguments []string, dir, address string) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	process := exec.CommandContext(ctx, program, arguments...)
	process.Dir, process.Env = dir, append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	process.Stdout, process.Stderr = t.Output(), t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = process.Wait(); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended })
	listens, runs := false, true
	harness.Until(t.Context(), t, program+" listens", func() bool {
		select {
		case <-ended:
			runs = false
			return true
		default:
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			listens = true
		}
		return err == nil
	})
	return listens && runs
}

// certify writes a certificate for this machine and its key: each in a file of its own, and both in chat.pem.
func certify(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "chat.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificatePEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, content := range map[string][]byte{"chat.pem": append(certificatePEM, keyPEM...), "chat.key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificatePEM)
	return pool
}

// visitor is a machine that talks to a proxy from an address of its own.
type visitor struct {
	t       *testing.T
	proxy   string
	tls     *tls.Config
	address string
}

func (v visitor) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(v.address)}}
	return dialer.DialContext(ctx, network, address)
}

// connect opens a WebSocket as a page of the server's own host does, and sends a token.
func (v visitor) connect(token string) *websocket.Conn {
	v.t.Helper()
	dialer := websocket.Dialer{NetDialContext: v.dial, TLSClientConfig: v.tls, HandshakeTimeout: harness.FrameWait}
	conn, response, err := dialer.DialContext(v.t.Context(), "wss://"+v.proxy+"/ws/chatting/", http.Header{"Origin": {"https://" + v.proxy}})
	if err != nil {
		v.t.Fatalf("%v: %+v", err, response)
	}
	_ = response.Body.Close()
	v.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.WriteJSON(map[string]any{"token": token}); err != nil {
		v.t.Fatal(err)
	}
	return conn
}

// login is connect with a token that is good.
func (v visitor) login(token string) *websocket.Conn {
	v.t.Helper()
	conn := v.connect(token)
	if answer := read(v.t, conn); answer.Message != "You have successfully logged" {
		v.t.Fatalf("the login was answered %+v", answer)
	}
	return conn
}

func read(t *testing.T, conn *websocket.Conn) (frame harness.Frame) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	_, content, err := conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &frame); err != nil {
		t.Fatal(err)
	}
	return frame
}

// get sends a path as it is written, and returns the status.
func (v visitor) get(path, token string) int {
	v.t.Helper()
	plain, err := v.dial(v.t.Context(), "tcp", v.proxy)
	if err != nil {
		v.t.Fatal(err)
	}
	conn := tls.Client(plain, v.tls)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(harness.FrameWait))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", path, v.proxy, token)
	if err != nil {
		v.t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		v.t.Fatalf("%s: %v", path, err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

const s2sToken = "of-the-tests-of-proxies"

func TestUsersChatThroughTheTLSOfEachProxy(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			settings := []string{
				"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + dir,
				"CHATTING_HTTP_TRUSTED_PROXIES=127.0.0.1", "CHATTING_S2S_TOKEN=" + s2sToken,
			}
			node := harness.StartNode(t, dir, settings...)
			token := func(user int) string {
				command := exec.CommandContext(t.Context(), harness.Binary, "token", "--user", fmt.Sprint(user))
				command.Env, command.Stderr = harness.Environ(settings...), t.Output()
				out, err := command.Output()
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(out))
			}
			address, trusted := p.start(t, node.HTTP)
			at := func(from string) visitor {
				return visitor{t: t, proxy: address, tls: &tls.Config{RootCAs: trusted, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, address: from}
			}
			one, two := at("127.0.0.2").login(token(1)), at("127.0.0.3").login(token(2))

			// A frame as long as the server takes, and several system calls of any proxy.
			text := strings.Repeat("0123456789", 6000)
			if err := one.WriteJSON(map[string]any{"target_id": 2, "message": text}); err != nil {
				t.Fatal(err)
			}
			for name, conn := range map[string]*websocket.Conn{"the echo": one, "the message": two} {
				if frame := read(t, conn); frame.Message != text {
					t.Errorf("%s has %d bytes: %s", name, len(frame.Message), frame.Error)
				}
			}

			// Limits and logs count the client, not the proxy.
			refused := at("127.0.0.4").connect("no token")
			_ = refused.SetReadDeadline(time.Now().Add(harness.FrameWait))
			if _, _, err := refused.ReadMessage(); !websocket.IsCloseError(err, 3401) {
				t.Errorf("a bad token is answered %v", err)
			}
			harness.Until(t.Context(), t, "a log line with the client's address", func() bool {
				return strings.Contains(node.Warnings(), `"address":"127.0.0.4"`)
			})

			user := at("127.0.0.2")
			if status := user.get("/api/chatting/friends/", token(1)); status != http.StatusOK {
				t.Errorf("a request of a user is answered with %d", status)
			}
			for _, path := range []string{
				"/s2sapi/system-message/", "//s2sapi/system-message/", "/%732sapi/system-message/", "/api/../s2sapi/system-message/",
				"/api/%2e%2e/s2sapi/system-message/", "/api/..%2fs2sapi/system-message/", "/api//s2sapi/", "/s2sapi/../api/chatting/friends/",
				"/healthz", "/readyz", "/metrics", "/apis2sapi", "/docs?/api/",
			} {
				if status := user.get(path, s2sToken); status != http.StatusNotFound && status != http.StatusBadRequest {
					t.Errorf("%s is answered with %d", path, status)
				}
			}
		})
	}
}

func TestProxiesKeepSilentSocketsForLongerThanTheServerPings(t *testing.T) {
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range proxies {
		if p.idle == nil {
			continue
		}
		content, err := os.ReadFile(filepath.Join("..", "..", "configs", p.config))
		if err != nil {
			t.Fatal(err)
		}
		found := p.idle.FindSubmatch(content)
		if found == nil {
			t.Fatalf("%s has no timeout of sockets", p.config)
		}
		if keeps, err := time.ParseDuration(string(found[1])); err != nil || keeps <= cfg.WebSocket.PingAfter+cfg.WebSocket.PongWait {
			t.Errorf("%s: %s, %v: a silent socket is cut before the server has pinged it", p.config, keeps, err)
		}
	}
}
