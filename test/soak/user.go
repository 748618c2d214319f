package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/fasthttp/websocket"
)

// user is one who comes, does this and that, and goes for ever.
type user struct {
	crowd *crowd
	id    int64

	mu     sync.Mutex // guards what reading a connection finds
	resume string
	newest frame // the last message of somebody else
	invite frame // the last invite
}

// frame has the fields that a user looks at.
type frame struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	From    int64  `json:"from_id"`
	Code    string `json:"code"`
	Status  string `json:"status"`
	ID      string `json:"id"`
	Room    string `json:"room_id"`
	Resume  string `json:"resume"`
}

// codeError is an error frame.
type codeError string

func (c codeError) Error() string { return "code " + string(c) }

// reason is why something failed, without what differs each time.
func reason(err error) string {
	var status statusError
	var code codeError
	var closed *websocket.CloseError
	var network net.Error
	switch {
	case errors.As(err, &status):
		return status.Error()
	case errors.As(err, &code):
		return code.Error()
	case errors.As(err, &closed):
		return fmt.Sprint("closed ", closed.Code)
	case errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "connection"
}

// live is all that a user does.
func (u *user) live(ctx context.Context) {
	if rand.IntN(8) == 0 {
		u.intrude(ctx)
	}
	token := mint(u.id, secret)
	for range 1 + rand.IntN(3) { // it comes back
		err := u.visit(ctx, token)
		if ctx.Err() != nil {
			return
		}
		u.crowd.count("visit", err)
		if err != nil || !pause(ctx, time.Duration(rand.IntN(3000))*time.Millisecond) {
			return
		}
	}
}

// intrude tries tokens that are not good, and a socket that says nothing.
func (u *user) intrude(ctx context.Context) {
	bad := mint(u.id, "a secret that this server does not have")
	_ = u.crowd.ask(ctx, http.MethodGet, "/api/chatting/friends/", bad, "", nil)
	if conn, err := u.dial(ctx); err == nil {
		if rand.IntN(2) == 0 {
			_ = conn.WriteJSON(map[string]any{"token": bad})
		}
		pause(ctx, time.Second)
		_ = conn.Close()
	}
}

func (u *user) dial(ctx context.Context) (*websocket.Conn, error) {
	dialer := websocket.Dialer{HandshakeTimeout: askLimit, NetDialContext: anywhere().DialContext}
	conn, response, err := dialer.DialContext(ctx, "ws://"+u.crowd.place()+"/ws/chatting/", nil)
	if response != nil {
		_ = response.Body.Close()
	}
	return conn, err
}

// visit is one connection, from its login to its end.
func (u *user) visit(ctx context.Context, token string) error {
	conn, err := u.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	first := map[string]any{"token": token, "features": []string{"invites", "resume", "read_marks", "receipts"}}
	if u.resume != "" {
		first["resume"] = u.resume
	}
	if err := conn.WriteJSON(first); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(askLimit))
	var answer frame
	if err := conn.ReadJSON(&answer); err != nil {
		return err
	}
	if answer.Code != "" {
		return codeError(answer.Code)
	}
	u.resume = answer.Resume
	defer u.crowd.enter(u.id)()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	read := make(chan error, 1)
	go func() { read <- u.read(conn) }()
	u.act(ctx, conn, token)
	if rand.IntN(2) == 0 { // without a word
		if tcp, ok := conn.NetConn().(*net.TCPConn); ok && rand.IntN(2) == 0 {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
		<-read //nolint:errcheck // it was cut
		return nil
	}
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(askLimit))
	err = <-read
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, 3401, 3403, 3410) {
		return nil // or the platform has ended it
	}
	return err
}

// read takes frames until the connection ends.
func (u *user) read(conn *websocket.Conn) error {
	for {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		_, data, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var f frame
		if err := json.Unmarshal(data, &f); err != nil {
			return err
		}
		u.take(&f)
	}
}

func (u *user) take(f *frame) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f.Resume != "" {
		u.resume = f.Resume
	}
	switch {
	case f.Code != "":
		u.crowd.count("frame", codeError(f.Code))
	case f.ID != "" && f.From == u.id:
		u.crowd.count("frame", nil) // an echo
	case f.Type == "chat_message" && f.ID != "":
		u.newest = *f
	case f.Type == "invite_game" && f.Status == "invite":
		u.invite = *f
	}
}

// act does some of what users do. A fault of the connection shows when it is read.
func (u *user) act(ctx context.Context, conn *websocket.Conn, token string) {
	api := func(what, method, path string, body any) {
		err := u.crowd.ask(ctx, method, "/api/chatting/"+path, token, "", body)
		if ctx.Err() == nil {
			u.crowd.count(what, err)
		}
	}
	for range 3 + rand.IntN(4) {
		if !pause(ctx, time.Duration(500+rand.IntN(1500))*time.Millisecond) {
			return
		}
		other := u.crowd.recent()
		if other == u.id {
			continue
		}
		u.mu.Lock()
		newest, invite := u.newest, u.invite
		u.mu.Unlock()
		name := fmt.Sprintf("%d-%d", u.id, rand.Uint64())
		switch target := map[string]any{"target_id": other}; rand.IntN(12) {
		case 0:
			api("friend", http.MethodPost, "friends/", target)
		case 1:
			api("block", http.MethodPost, "blockedusers/", target)
			if rand.IntN(2) == 0 {
				api("unblock", http.MethodDelete, "blockedusers/", target)
			}
		case 2:
			_ = conn.WriteJSON(map[string]any{"type": "invite_game", "status": "invite", "target_id": other, "client_msg_id": name})
		case 3:
			api("list", http.MethodGet, []string{
				"conversations/", "invites/", "friends/", "blockedusers/",
				fmt.Sprint("is-online/?id=", other), fmt.Sprint("messages/?target_id=", other),
			}[rand.IntN(6)], nil)
		case 4, 5:
			if invite.Room != "" {
				_ = conn.WriteJSON(map[string]any{
					"type": "invite_game", "status": []string{"accept", "decline"}[rand.IntN(2)], "target_id": invite.From, "room_id": invite.Room,
					"client_msg_id": name,
				})
			}
		case 6:
			_ = conn.WriteJSON(map[string]any{"type": "ping"})
		default:
			_ = conn.WriteJSON(map[string]any{"target_id": other, "message": "text of " + name, "client_msg_id": name})
		}
		if newest.ID != "" && rand.IntN(3) == 0 {
			path := "conversations/" + strconv.FormatInt(newest.From, 10) + "/read/"
			api("read mark", http.MethodPut, path, map[string]string{"message_id": newest.ID})
		}
	}
}
