package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// longText is the text that takes most room as JSON: 21,800 characters of three bytes, each of which is escaped to six.
var longText = strings.Repeat("\u2028", 21_800)

// bystanders are two users who chat while something else goes on, and the greatest memory of the server meanwhile, in MiB.
type bystanders struct {
	s     *server
	one   *client
	token string
	said  int
	most  int
}

func newBystanders(s *server) *bystanders {
	c := &bystanders{s: s, token: s.token(902)}
	c.one = mustConnect(s.t, s.HTTP, s.token(901))
	mustConnect(s.t, s.HTTP, c.token)
	return c
}

// chat has them chat once, somebody log in, and the server say that it is ready. All of that must work.
func (c *bystanders) chat() {
	c.s.t.Helper()
	c.said++
	text := fmt.Sprint("bystander ", c.said)
	if err := c.one.Send(902, text); err != nil {
		c.s.t.Fatalf("bystander: %v", err)
	}
	for {
		f, err := c.one.next()
		if err != nil {
			c.s.t.Fatalf("bystander: %v", err)
		}
		if f.Error != "" {
			c.s.t.Fatalf("bystander: %+v", f)
		}
		if f.Message == text {
			break
		}
	}
	if fresh, err := connect(c.s.HTTP, c.token); err != nil {
		c.s.t.Fatalf("bystander: a new login: %v", err)
	} else {
		fresh.Close()
	}
	if status, body := c.s.rest("GET", "/readyz", "", ""); status != http.StatusOK {
		c.s.t.Fatalf("bystander: readiness: %d %s", status, body)
	}
	c.most = max(c.most, harness.ResidentMemory(c.s.t, c.s.PID)>>20)
}

// dialSilent opens a connection of which the system takes little before it is read.
func dialSilent(network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: harness.FrameWait}).Dial(network, address)
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	return conn, err
}

// tell has a user say a long text so many times to another, and waits for the echoes.
func tell(t *testing.T, c *client, to, times int) {
	t.Helper()
	for range times {
		if err := c.SendRaw(fmt.Sprintf(`{"target_id":%d,"message":"%s"}`, to, longText)); err != nil {
			t.Fatal(err)
		}
		for {
			f, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if f.Code == "no_user_or_offline" { // all its connections were cut off
				return
			}
			if f.Error != "" {
				t.Fatalf("%+v", f)
			}
			if f.Type == "chat_message" && f.To == to {
				break
			}
		}
	}
}

// unread returns how many messages of a partner the history has for a user.
func (s *server) unread(token string, partner int) int {
	s.t.Helper()
	status, body := s.rest("GET", "/api/chatting/conversations/?limit=100", token, "")
	var list struct {
		Conversations []struct{ ID, Unread int }
	}
	if status != http.StatusOK || json.Unmarshal(body, &list) != nil {
		s.t.Fatalf("%d %.200s", status, body)
	}
	for _, c := range list.Conversations {
		if c.ID == partner {
			return c.Unread
		}
	}
	return 0
}

// 300 connections of one user ask for long pages, one request behind the other, and read nothing. Were the pages not counted,
// they would take 600 MiB together.
func TestPagesThatNobodyReadsTakeLittleMemory(t *testing.T) {
	s := &server{t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_LOGINS_PER_SECOND=0",
		"CHATTING_HTTP_PAGE_BYTES=2MiB")...)
	bob := s.token(2)
	one := mustConnect(t, s.HTTP, s.token(1))
	two := mustConnect(t, s.HTTP, bob)
	tell(t, one, 2, 64)
	two.Close()
	one.Close()
	harness.Until(t.Context(), t, "the history has all", func() bool { return s.unread(bob, 1) == 64 })
	others := newBystanders(s)
	others.chat()
	before := others.most

	request := "GET /api/chatting/messages/?target_id=1&limit=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + bob + "\r\n\r\n"
	var attackers sync.WaitGroup
	stop := make(chan struct{})
	var asked atomic.Int64
	for range 300 {
		attackers.Go(func() {
			for {
				conn, err := dialSilent("tcp", s.HTTP)
				if err != nil {
					continue
				}
				_, _ = io.WriteString(conn, strings.Repeat(request, 4))
				asked.Add(1)
				_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				_, _ = io.ReadFull(conn, make([]byte, 100)) // something of the first answer, or that it was cut off
				select {
				case <-stop:
					_ = conn.Close()
					return
				case <-time.After(time.Second): // then it comes again
					_ = conn.Close()
				}
			}
		})
	}
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		others.chat()
	}
	close(stop)
	attackers.Wait()
	t.Logf("%d connections asked; %d MiB resident before, %d at most; the bystanders chatted %d times", asked.Load(), before, others.most, others.said)
	// 8 MiB for the user; the rest is what the answers were made of, and what the collector has not come to.
	if others.most > before+250 {
		t.Errorf("%d MiB are resident, of which %d were before", others.most, before)
	}
}

// 1,000 sockets of 50 users get more than anybody reads.
func TestSocketsThatNobodyReadsTakeNoMoreThanTheirSum(t *testing.T) {
	s := &server{t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_LOGINS_PER_SECOND=0", "CHATTING_LIMIT_OUTBOUND_BYTES=32MiB")...)
	others := newBystanders(s)
	speaker := mustConnect(t, s.HTTP, s.token(1))
	const users, each = 50, 20
	var connecting sync.WaitGroup
	failed := make(chan error, users*each)
	tokens := make([]string, users)
	for i := range tokens {
		tokens[i] = s.token(100 + i)
	}
	for i := range users {
		connecting.Go(func() {
			for range each {
				conn, err := silentSocket(s.HTTP, tokens[i])
				if err != nil {
					failed <- err
					return
				}
				t.Cleanup(func() { _ = conn.Close() })
			}
		})
	}
	connecting.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	others.chat()
	before := others.most
	for range 6 {
		for i := range users {
			tell(t, speaker, 100+i, 1)
		}
		others.chat()
	}
	t.Logf("%d MiB resident before, %d at most; the bystanders chatted %d times", before, others.most, others.said)
	if others.most > before+200 {
		t.Errorf("%d MiB are resident, of which %d were before", others.most, before)
	}
}

// silentSocket logs in and reads nothing after that.
func silentSocket(addr, token string) (*websocket.Conn, error) {
	dialer := websocket.Dialer{NetDial: dialSilent, HandshakeTimeout: harness.FrameWait, ReadBufferSize: 1 << 10}
	conn, response, err := dialer.Dial("ws://"+addr+"/ws/chatting/", nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	if err := conn.WriteJSON(map[string]string{"token": token}); err != nil {
		return nil, err
	}
	_, answer, err := conn.ReadMessage()
	if err == nil && !strings.Contains(string(answer), "successfully") {
		err = errors.New(string(answer))
	}
	return conn, err
}

// 64 connections of one user ask for its conversations again and again.
func TestOneUsersQuestionsKeepNobodyOut(t *testing.T) {
	s := &server{t: t, dir: t.TempDir()}
	s.Node = harness.StartNode(t, s.dir, embedded("CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_LOGINS_PER_SECOND=0")...)
	const partners = 100
	ann := s.token(1)
	one := mustConnect(t, s.HTTP, ann)
	for partner := range partners {
		token := s.token(100 + partner)
		c := mustConnect(t, s.HTTP, token)
		for n := range 20 {
			if err := c.Send(1, fmt.Sprint("hello ", n)); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if f, err := one.next(); err != nil {
				t.Fatal(err)
			} else if f.Message == "hello 19" {
				break
			}
		}
		c.Close()
	}
	harness.Until(t.Context(), t, "the history has all", func() bool { return s.unread(ann, 100+partners-1) == 20 })
	others := newBystanders(s)

	var asking sync.WaitGroup
	stop := make(chan struct{})
	var answered, refused, failed atomic.Int64
	for range 64 {
		asking.Go(func() {
			conn, err := net.Dial("tcp", s.HTTP)
			if err != nil {
				failed.Add(1)
				return
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, _ = io.WriteString(conn, "GET /api/chatting/conversations/?limit=100 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+ann+"\r\n\r\n")
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					failed.Add(1)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				switch response.StatusCode {
				case http.StatusOK:
					answered.Add(1)
				case http.StatusTooManyRequests:
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	ctx := waiting(t)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end) || (answered.Load() == 0 || refused.Load() == 0) && ctx.Err() == nil; {
		others.chat()
	}
	close(stop)
	asking.Wait()
	t.Logf("%d answered, %d refused, %d failed; the bystanders chatted %d times", answered.Load(), refused.Load(), failed.Load(), others.said)
	if answered.Load() == 0 || refused.Load() == 0 || failed.Load() > 0 {
		t.Errorf("%d answered, %d refused, %d failed", answered.Load(), refused.Load(), failed.Load())
	}
}
