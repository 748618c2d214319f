package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// attacks are small copies of what public bug reports and our own attackers did to servers of this kind. Tests beside the
// code that withstands each one have the full numbers.
var attacks = []attack{
	{"connections that say nothing", sayNothing},
	{"requests that trickle in", trickle},
	{"requests that are malformed", sendMalformed},
	{"answers that nobody reads", readNoAnswer},
	{"sockets that nobody reads", readNoFrame},
	{"expensive questions", askMuch},
	{"one user at full speed", sendMuch},
	{"one user who logs in and in", loginMuch},
	{"bad tokens", guessTokens},
	{"one user who blocks and unblocks", blockMuch},
	{"a stranger who fills a mailbox", fillMailbox},
	{"bad records", writeBadRecords},
	{"broker clients that stall", stallBroker},
}

const (
	bomberPair = 10 // and 11: have said long things
	flooder    = 31
	stranger   = 41
)

// signed returns a token with claims.
func (s *inProcess) signed(t *testing.T, claims map[string]any) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims(claims)).SignedString([]byte(aftermathSecret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// dial opens a connection that is closed by the returned crowd.
func (c *crowd) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, harness.CanaryWait)
	if err != nil {
		t.Error(err)
		return nil
	}
	c.conns = append(c.conns, conn)
	return conn
}

// crowd is connections of an attack.
type crowd struct{ conns []net.Conn }

func (c *crowd) leave() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

func sayNothing(t *testing.T, s *inProcess, meanwhile func()) {
	var silent crowd
	defer silent.leave()
	for range 1500 {
		silent.dial(t, s.addr)
	}
	meanwhile()
}

func trickle(t *testing.T, s *inProcess, meanwhile func()) {
	var slow crowd
	defer slow.leave()
	for range 300 {
		if conn := slow.dial(t, s.addr); conn != nil {
			_, _ = io.WriteString(conn, "POST /api/chatting/blockedusers/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n{")
		}
		if conn := slow.dial(t, s.addr); conn != nil {
			_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHo")
		}
	}
	meanwhile()
}

func sendMalformed(t *testing.T, s *inProcess, meanwhile func()) {
	meanwhile()
	for _, request := range []string{
		"DELETE //x/s2sapi/users/?user_id=5&:// HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /healthz HTTP/1.1\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
		"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
		"GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /s2sapi/system-message/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{}\r\n0\r\n\r\n",
	} {
		conn, err := net.DialTimeout("tcp", s.addr, harness.CanaryWait)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(harness.CanaryWait))
		_, _ = io.WriteString(conn, request)
		head := make([]byte, len("HTTP/1.1 400"))
		if _, err := io.ReadFull(conn, head); err == nil && head[9] != '4' && head[9] != '5' {
			t.Errorf("%q is answered with %s", request, head)
		}
		_ = conn.Close()
	}
}

// say connects a user, has it send a text so many times, and waits for the echoes.
func (s *inProcess) say(t *testing.T, from, to, times int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	client, err := harness.Connect(s.addr, s.token(t, from))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range times {
		if err := client.Send(to, text); err != nil {
			t.Fatal(err)
		}
		if _, err := client.At(ctx, i+1); err != nil {
			t.Fatal(err)
		}
	}
}

func readNoAnswer(t *testing.T, s *inProcess, meanwhile func()) {
	s.say(t, bomberPair, bomberPair, 16, strings.Repeat("\u2028", 10_000))
	var deaf crowd
	defer deaf.leave()
	for range 100 {
		if conn := deaf.dial(t, s.addr); conn != nil {
			for range 4 {
				_, _ = fmt.Fprintf(conn, "GET /api/chatting/messages/?target_id=%d HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n",
					bomberPair, s.token(t, bomberPair))
			}
		}
	}
	meanwhile()
}

// socket logs a user in, over a connection that nobody reads.
func (c *crowd) socket(t *testing.T, s *inProcess, token string) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{HandshakeTimeout: harness.CanaryWait}
	conn, response, err := dialer.Dial("ws://"+s.addr+"/ws/chatting/", nil)
	if err != nil {
		return nil // refused, which is an answer
	}
	_ = response.Body.Close()
	c.conns = append(c.conns, conn.NetConn())
	_ = conn.WriteJSON(map[string]any{"token": token})
	return conn
}

func readNoFrame(t *testing.T, s *inProcess, meanwhile func()) {
	var deaf crowd
	defer deaf.leave()
	for range 30 {
		deaf.socket(t, s, s.token(t, bomberPair+1))
	}
	s.say(t, bomberPair, bomberPair+1, 50, strings.Repeat("x", 40_000))
	meanwhile()
}

// ask makes requests of one user, so many at a time, and returns how many were answered with each status.
func (s *inProcess) ask(t *testing.T, user, times, atOnce int, request func(i int) (method, path, body string)) map[int]int {
	t.Helper()
	token := s.token(t, user)
	transport := &http.Transport{MaxIdleConnsPerHost: atOnce}
	defer transport.CloseIdleConnections()
	client := http.Client{Timeout: 2 * harness.CanaryWait, Transport: transport}
	var mu sync.Mutex
	statuses := make(map[int]int)
	places := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i := range times {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			method, path, body := request(i)
			r, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			response, err := client.Do(r)
			if err != nil {
				return // cut off, which is an answer
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			mu.Lock()
			statuses[response.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	return statuses
}

func askMuch(t *testing.T, s *inProcess, meanwhile func()) {
	var asked sync.WaitGroup
	asked.Go(func() {
		s.ask(t, bomberPair, 500, 64, func(int) (string, string, string) {
			return http.MethodGet, "/api/chatting/conversations/?limit=100", ""
		})
	})
	meanwhile()
	asked.Wait()
}

func sendMuch(t *testing.T, s *inProcess, meanwhile func()) {
	var loud crowd
	defer loud.leave()
	token := s.token(t, flooder)
	frame, err := json.Marshal(map[string]any{"target_id": flooder, "message": "x"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	for range 32 {
		conn := loud.socket(t, s, token)
		if conn == nil {
			continue
		}
		sending.Go(func() {
			for ctx.Err() == nil && conn.WriteMessage(websocket.TextMessage, frame) == nil {
				harness.Pause(ctx, time.Millisecond)
			}
		})
		sending.Go(func() {
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					return
				}
			}
		})
	}
	meanwhile()
	stop()
	loud.leave()
	sending.Wait()
}

func loginMuch(t *testing.T, s *inProcess, meanwhile func()) {
	var many crowd
	defer many.leave()
	token := s.token(t, flooder)
	for range 150 {
		many.socket(t, s, token)
	}
	meanwhile()
}

func guessTokens(t *testing.T, s *inProcess, meanwhile func()) {
	var guesses crowd
	defer guesses.leave()
	refresh := s.signed(t, map[string]any{"user_id": flooder, "token_type": "refresh", "exp": time.Now().Add(time.Hour).Unix()})
	for i := range 100 {
		guesses.socket(t, s, refresh)
		guesses.socket(t, s, fmt.Sprintf("%s%d", refresh, i))
	}
	meanwhile()
}

func blockMuch(t *testing.T, s *inProcess, meanwhile func()) {
	meanwhile()
	s.ask(t, flooder, 300, 8, func(i int) (string, string, string) {
		method := http.MethodPost
		if i%2 == 1 {
			method = http.MethodDelete
		}
		return method, "/api/chatting/blockedusers/", `{"target_id":1}`
	})
}

func fillMailbox(t *testing.T, s *inProcess, meanwhile func()) {
	const victim = stranger + 1
	s.say(t, victim, victim, 1, "I was here")
	client, err := harness.Connect(s.addr, s.token(t, stranger))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 100 {
		if err := client.Send(victim, strings.Repeat("spam", 10_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.At(ctx, i+1); err != nil {
			t.Fatal(err)
		}
	}
	meanwhile()
	s.say(t, victim, victim, 0, "")
}

// writeBadRecords writes what no program of ours would into every topic: some of it, unpacked, is a thousand times larger.
func writeBadRecords(t *testing.T, s *inProcess, meanwhile func()) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	for _, topic := range []string{"conversations", "sessions", "presence", "system-messages"} {
		writer := kafka.Writer{
			Transport: transport, Addr: kafka.TCP(strings.Split(s.kafka, ",")...), Topic: s.prefix + "." + topic,
			RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond, BatchBytes: 64 << 20,
			Compression: kafka.Zstd, Balancer: kafka.Murmur2Balancer{},
		}
		err := writer.WriteMessages(ctx,
			kafka.Message{Key: []byte("1:2"), Value: make([]byte, 30<<20)},
			kafka.Message{Key: make([]byte, 1<<20), Value: []byte("{}")},
			kafka.Message{Key: []byte("1:2"), Value: []byte(`{"specversion":"1.0"}`)},
			kafka.Message{Key: []byte("\xff\x00"), Value: nil},
		)
		if err != nil {
			t.Errorf("%s: %v", topic, err)
		}
		_ = writer.Close()
	}
	meanwhile()
}

// stallBroker announces long frames to the embedded broker and sends none of them.
func stallBroker(t *testing.T, s *inProcess, meanwhile func()) {
	if os.Getenv("CHATTING_TEST_KAFKA") != "" {
		meanwhile()
		return // the brokers are none of ours
	}
	var stalled crowd
	defer stalled.leave()
	head := binary.BigEndian.AppendUint32(nil, 8<<20)
	head = append(head, 0, 0, 0, 3) // produce, version 3
	for range 20 {
		if conn := stalled.dial(t, s.kafka); conn != nil {
			_, _ = conn.Write(append(bytes.Clone(head), 0))
		}
	}
	meanwhile()
}
