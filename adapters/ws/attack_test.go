package ws

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
)

// bystanders is how many connections the attacks are made against. Each has to share the machine with all attackers.
const bystanders = 250

// attacks are bytes that arrive in one segment with an upgrade request. Marked with MARK, so that a bystander who gets
// any of it is known.
func attacks() map[string]string {
	login := textFrame(`{"token":"user-900001"}`)
	var frames strings.Builder
	for range 20 {
		frames.WriteString(textFrame(`{"target_id":900001,"message":"MARK\n"}`))
	}
	spoken, silent := login+frames.String(), frames.String()
	bare := strings.ReplaceAll(upgradeHead, "\r\n", "\n")
	plain := "GET /plain HTTP/1.1\r\nHost: x\r\n\r\n"
	posted := "POST /plain HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nMARK\nabc"
	return map[string]string{
		"with login":                       upgradeHead + "\r\n" + spoken,
		"without login":                    upgradeHead + "\r\n" + silent,
		"bare line feeds":                  bare + "\n" + spoken,
		"bare line feeds, no login":        bare + "\n" + silent,
		"mixed line ends":                  bare + "\r\n" + spoken,
		"empty line before":                "\r\n" + upgradeHead + "\r\n" + spoken,
		"line feeds behind":                upgradeHead + "\r\n\n\r\n\n" + spoken,
		"body":                             upgradeHead + "Content-Length: 5\r\n\r\nhello" + spoken,
		"empty body":                       upgradeHead + "Content-Length: 0\r\n\r\n" + spoken,
		"chunks":                           upgradeHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + spoken,
		"identity":                         upgradeHead + "Transfer-Encoding: identity\r\n\r\n" + spoken,
		"expect":                           upgradeHead + "Expect: 100-continue\r\n\r\n" + spoken,
		"folded header":                    upgradeHead + "X-A: b\r\n c\r\n\r\n" + spoken,
		"header folded often":              upgradeHead + "X-A: b" + strings.Repeat("\r\n c", 50) + "\r\n\r\n" + silent,
		"header without colon":             upgradeHead + "X-A\r\n\r\nX: y\r\n\r\n" + spoken,
		"pipelined":                        plain + upgradeHead + "\r\n" + spoken,
		"pipelined often":                  strings.Repeat(plain, 5) + upgradeHead + "\r\n" + silent,
		"pipelined behind a body":          posted + upgradeHead + "\r\n" + spoken,
		"pipelined behind a folded header": "GET /plain HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n" + upgradeHead + "\r\n" + spoken,
		"pipelined behind expect":          "POST /plain HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nMARK" + upgradeHead + "\r\n" + spoken,
		"two upgrades":                     upgradeHead + "\r\n" + upgradeHead + "\r\n" + spoken,
		"refused upgrade first":            upgradeHead + "Origin: null\r\n\r\n" + upgradeHead + "\r\n" + spoken,
		"half a frame":                     upgradeHead + "\r\n" + spoken[:len(login)+9],
		"rubbish":                          upgradeHead + "\r\n" + strings.Repeat("MARK\n\x00\xff", 500),
	}
}

// TestBytesSentAlongWithTheUpgradeStayWithTheirConnection attacks a server that others use: each of them gets exactly its
// own texts, before, meanwhile and afterwards.
func TestBytesSentAlongWithTheUpgradeStayWithTheirConnection(t *testing.T) {
	// The users read nothing while the attacks go on, so no pings, which they would not answer.
	f := serve(t, Options{Times: Times{Drain: 200 * time.Millisecond, Silence: time.Hour}}, newChat())
	others := make([]*client, bystanders)
	for i := range others {
		others[i] = f.login(t, i+1)
	}
	stop := make(chan struct{})
	var attackers sync.WaitGroup
	var logins sync.Map // the attacks that were answered by a login
	for name, segment := range attacks() {
		attackers.Go(func() {
			for {
				if attack(f, segment) {
					logins.Store(name, true)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	speak(t, others, 5)
	// Whoever comes meanwhile gets readers that the attacks had.
	for i := range 10 {
		newcomers := make([]*client, bystanders/10)
		for j := range newcomers {
			newcomers[j] = f.login(t, bystanders+i*len(newcomers)+j+1)
		}
		speakAs(t, newcomers, 3, bystanders+i*len(newcomers)+1)
		for _, c := range newcomers {
			_ = c.Close()
		}
	}
	close(stop)
	attackers.Wait()
	speak(t, others, 2)
	// Bytes in front of their time are no offence: where the request is good, they are the connection's first frames.
	for _, name := range []string{
		"with login", "empty line before", "empty body", "pipelined", "pipelined behind a body", "refused upgrade first",
		"half a frame",
	} {
		if _, ok := logins.Load(name); !ok {
			t.Errorf("%s: the frames were not taken", name)
		}
	}
	for _, name := range []string{
		"without login", "bare line feeds", "mixed line ends", "body", "chunks", "identity", "expect", "folded header",
		"header without colon", "pipelined behind a folded header", "rubbish",
	} {
		if _, ok := logins.Load(name); ok {
			t.Errorf("%s: the frames were taken", name)
		}
	}
	if logs := f.logs.text(); strings.Contains(logs, "panic") || strings.Contains(logs, "kept bytes") {
		t.Error(logs[:min(len(logs), 4000)])
	}
}

// attack sends a segment, sometimes hangs up at once, and tells whether a login was answered.
func attack(f *fixture, segment string) bool {
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, segment); err != nil || rand.IntN(4) == 0 {
		return false
	}
	var reply []byte
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		reply = append(reply, buffer[:n]...)
		switch {
		case bytes.Contains(reply, []byte("successfully logged")):
			return true
		case err != nil:
			return false
		}
	}
}

// speak lets every client talk to itself and checks that nothing else reaches it.
func speak(t *testing.T, clients []*client, rounds int) {
	t.Helper()
	speakAs(t, clients, rounds, 1)
}

// speakAs is speak for clients whose users are numbered from first.
func speakAs(t *testing.T, clients []*client, rounds, first int) {
	t.Helper()
	var talks sync.WaitGroup
	tokens := make(chan struct{}, 50)
	for i, c := range clients {
		user := strconv.Itoa(first + i)
		talks.Go(func() {
			tokens <- struct{}{}
			defer func() { <-tokens }()
			_ = c.SetReadDeadline(time.Now().Add(patience))
			for round := range rounds {
				text := fmt.Sprintf("text %d of user %s", round, user)
				if err := c.WriteMessage(websocket.TextMessage, []byte(`{"target_id":`+user+`,"message":"`+text+`"}`)); err != nil {
					t.Errorf("user %s cannot send: %v", user, err)
					return
				}
				_, data, err := c.ReadMessage()
				if err != nil {
					t.Errorf("user %s: %v", user, err)
					return
				}
				if !strings.Contains(string(data), `"message":"`+text+`"`) || !strings.Contains(string(data), `"from_id":`+user+`,`) {
					t.Errorf("user %s got %s", user, data)
					return
				}
			}
		})
	}
	talks.Wait()
}

func BenchmarkReadingARequestOfManyLines(b *testing.B) {
	f := serve(b, Options{}, newChat())
	for name, head := range map[string]string{
		"usual": "GET /plain HTTP/1.1\r\nHost: x\r\nUser-Agent: y\r\nAccept: z\r\nCookie: a=b\r\n\r\n",
		"worst": "GET /plain HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("a:\r\n", 1300) + "\r\n",
	} {
		b.Run(name, func(b *testing.B) {
			conn := f.raw(b)
			_ = conn.SetDeadline(time.Time{})
			reply := make([]byte, 4096)
			for b.Loop() {
				if _, err := io.WriteString(conn, head); err != nil {
					b.Fatal(err)
				}
				if _, err := conn.Read(reply); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
