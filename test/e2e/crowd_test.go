package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/test/harness"
)

// crowds are what connections say that keep a place for as long as they are let.
var crowds = []string{
	"",
	"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /healthz HTTP/1.1\r\nHost: ",
	"POST /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{",
	"",
	"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /ws/chatting/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
}

// crowd opens connections to a server, from many addresses, and keeps them open until the test ends. Those that the server
// closes come again, one in four of them. It returns once so many were opened, with the count of those that the server closed.
func crowd(t *testing.T, addr string, size int) (closed *atomic.Int64) {
	t.Helper()
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); all.Wait() })
	var opened atomic.Int64
	closed = new(atomic.Int64)
	for i := range size {
		all.Go(func() {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%200))}}
			for ctx.Err() == nil {
				conn, err := dialer.DialContext(ctx, "tcp", addr)
				if err != nil {
					time.Sleep(10 * time.Millisecond) // the server's queue is full; the attacker tries again
					continue
				}
				unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
				_, _ = io.WriteString(conn, crowds[i%len(crowds)])
				opened.Add(1)
				_, _ = io.Copy(io.Discard, conn) // until either side has enough
				if unhook() {
					closed.Add(1)
				}
				_ = conn.Close()
				if i%4 > 0 {
					return // most do not come again
				}
			}
		})
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	harness.Until(soon, t, "the crowd is there", func() bool { return opened.Load() >= int64(size) })
	return closed
}

// getsIn has a client try a few times. On a busy machine, one that has connected may be so late with its first word that the server
// takes it for one of those who say nothing.
func (s *server) getsIn(what string, try func() error) {
	s.t.Helper()
	var err error
	for range 5 {
		if err = try(); err == nil {
			return
		}
	}
	s.t.Fatalf("%s: %v", what, err)
}

// serves looks whether a server has ears for everybody: probes, requests, logins, and a pair that chats all the while.
func (s *server) serves(one, two *client, tokens [2]string, rounds int) {
	s.t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: harness.FrameWait}
	for round := range rounds {
		for _, path := range []string{"/healthz", "/readyz", "/api/chatting/friends/"} {
			request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.HTTP+path, nil)
			if err != nil {
				s.t.Fatal(err)
			}
			request.Header.Set("Authorization", "Bearer "+tokens[0])
			s.getsIn(fmt.Sprintf("round %d, %s", round, path), func() error {
				response, err := fresh.Do(request)
				if err != nil {
					return err
				}
				if _ = response.Body.Close(); response.StatusCode != http.StatusOK {
					s.t.Errorf("round %d, %s: %d", round, path, response.StatusCode)
				}
				return nil
			})
		}
		s.getsIn(fmt.Sprintf("round %d: a login", round), func() error {
			newcomer, err := connect(s.HTTP, tokens[1])
			if err == nil {
				newcomer.Close()
			}
			return err
		})
		text := fmt.Sprintf("round %d", round)
		if err := one.Send(2, text); err != nil {
			s.t.Fatal(err)
		}
		for _, c := range []*client{one, two} {
			for {
				f, err := c.next()
				if err != nil {
					s.t.Fatalf("%s: %v", text, err)
				}
				if f.Message == text {
					break
				}
			}
		}
	}
}

func TestACrowdThatSaysNothingKeepsNobodyOut(t *testing.T) {
	const size, memory = 10_500, 400 << 20 // more than there are places for HTTP; bytes
	s := &server{Node: nil, t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_CONNECTIONS=1000")...)
	tokens := [2]string{s.token(1), s.token(2)}
	one, two := mustConnect(t, s.HTTP, tokens[0]), mustConnect(t, s.HTTP, tokens[1])
	before := harness.ResidentMemory(t, s.PID)
	closed := crowd(t, s.HTTP, size)
	s.serves(one, two, tokens, 20)
	if closed.Load() == 0 {
		t.Error("nobody had to make room: the crowd is too small for this test")
	}
	if after := harness.ResidentMemory(t, s.PID); after > before+memory {
		t.Errorf("%d MiB resident, %d before", after>>20, before>>20)
	}
}

func TestACrowdKeepsNobodyOutWhenFilesAreFew(t *testing.T) {
	p := startPiped(t, "ulimit -n 600; ", "CHATTING_HTTP_READ_TIMEOUT=10m") // so that time frees no file
	go func() { _, _ = io.Copy(io.Discard, p.reader) }()
	s := &server{Node: &harness.Node{HTTP: p.addr, PID: p.Process.Pid}, t: t, dir: p.Dir}
	tokens := [2]string{p.token("1"), p.token("2")}
	one, two := mustConnect(t, s.HTTP, tokens[0]), mustConnect(t, s.HTTP, tokens[1])
	closed := crowd(t, s.HTTP, 1500)
	s.serves(one, two, tokens, 20)
	if closed.Load() == 0 {
		t.Error("nobody had to make room: the crowd is too small for this test")
	}
}

func TestAnAddressHasNoMoreConnectionsThanItMay(t *testing.T) {
	s := &server{Node: nil, t: t, dir: t.TempDir()}
	// Time ends no connection.
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_ADDRESS_HTTP_CONNECTIONS=5", "CHATTING_HTTP_READ_TIMEOUT=10m")...)
	var open atomic.Int64
	for range 20 {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", s.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		open.Add(1)
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			open.Add(-1)
		}()
	}
	ctx := waiting(t)
	harness.Until(ctx, t, "five connections are left", func() bool {
		// Young connections make no room. One that comes later does.
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, 1)}}
		if conn, err := dialer.DialContext(ctx, "tcp", s.HTTP); err == nil {
			_ = conn.Close()
		}
		return open.Load() <= 5 && open.Load() > 0
	})
	mustConnect(t, s.HTTP, s.token(1)) // from another address
}
