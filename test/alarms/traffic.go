package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/auth"
	"chatting/domain"
	"chatting/test/storm/site"
)

// traffic is what users do all the time: without it, nothing could fail.
type traffic struct {
	reached []string
	turn    atomic.Uint64
	http    *http.Client
}

const (
	// talkers is how many users talk, from user 1 on.
	talkers = 8
	// visitors is how many log in and leave at once, again and again. The first of them blocks the second.
	firstVisitor = 20
	visitors     = 4
)

func newTraffic(reached []string) *traffic {
	return &traffic{
		reached: reached, http: &http.Client{Timeout: 12 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// place returns the nodes in turn, as a balancer does.
func (t *traffic) place() string { return t.reached[t.turn.Add(1)%uint64(len(t.reached))] }

// begin begins all of it. It ends with ctx.
func (t *traffic) begin(ctx context.Context, all *sync.WaitGroup) {
	for user := int64(1); user <= talkers; user++ {
		all.Go(func() {
			for ctx.Err() == nil {
				t.talk(ctx, user)
				site.Pause(ctx, 500*time.Millisecond)
			}
		})
		all.Go(func() {
			for site.Pause(ctx, 400*time.Millisecond) {
				t.ask(ctx, user)
			}
		})
	}
	for user := int64(firstVisitor); user < firstVisitor+visitors; user++ {
		all.Go(func() {
			for site.Pause(ctx, 500*time.Millisecond) {
				if conn, err := dial(ctx, t.place(), user, nil); err == nil {
					_ = conn.Close()
				}
			}
		})
	}
	all.Go(func() {
		for blocked := true; site.Pause(ctx, 2*time.Second); blocked = !blocked {
			t.block(ctx, firstVisitor, firstVisitor+1, blocked)
		}
	})
}

// talk is one connection of a user: it sends to the next user until the connection ends.
func (t *traffic) talk(ctx context.Context, user int64) {
	conn, err := dial(ctx, t.place(), user, nil)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer conn.Close()
	defer cancel()
	reading.Go(func() {
		defer cancel()
		for {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	})
	for site.Pause(ctx, 250*time.Millisecond) {
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if conn.WriteJSON(map[string]any{"target_id": 1 + user%talkers, "message": "hello"}) != nil {
			return
		}
	}
}

// ask reads a conversation, and whether somebody is online.
func (t *traffic) ask(ctx context.Context, user int64) {
	t.request(ctx, t.place(), user, http.MethodGet, "/api/chatting/messages/?limit=20&target_id="+strconv.FormatInt(1+user%talkers, 10), nil)
	t.request(ctx, t.place(), user, http.MethodGet, "/api/chatting/is-online/?id="+strconv.FormatInt(user, 10), nil)
}

func (t *traffic) block(ctx context.Context, user, target int64, blocked bool) {
	method := http.MethodPost
	if !blocked {
		method = http.MethodDelete
	}
	t.request(ctx, t.place(), user, method, "/api/chatting/blockedusers/", map[string]int64{"target_id": target})
}

// request makes a request whose answer nobody needs.
func (t *traffic) request(ctx context.Context, addr string, user int64, method, path string, body any) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			panic(err) // it is one of ours
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, content)
	if err != nil {
		return
	}
	request.Header.Set("Authorization", "Bearer "+mint(user))
	request.Header.Set("Content-Type", "application/json")
	response, err := t.http.Do(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 8<<20))
	_ = response.Body.Close()
}

// dial logs a user in. dialer may be nil.
func dial(ctx context.Context, addr string, user int64, dialer *websocket.Dialer) (*websocket.Conn, error) {
	if dialer == nil {
		dialer = &websocket.Dialer{HandshakeTimeout: 10 * time.Second}
	}
	conn, response, err := dialer.DialContext(ctx, "ws://"+addr+"/ws/chatting/", nil)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_ = conn.SetReadDeadline(time.Now().Add(15 * time.Second))
	if err = conn.WriteJSON(map[string]any{"token": mint(user)}); err == nil {
		_, _, err = conn.ReadMessage()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("user %d at %s: %w", user, addr, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	_ = conn.SetWriteDeadline(time.Time{})
	return conn, nil
}

// mint makes a token that is good whatever a node's clock says.
func mint(user int64) string {
	minted, err := auth.MintHS256([]byte(secret), domain.UserID(user), 96*time.Hour, time.Now().Add(-48*time.Hour), auth.Required{})
	if err != nil {
		panic(err) // the secret and the user are good
	}
	return minted
}
