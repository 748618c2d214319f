package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// scripted is a server that does with each connection what its script says, and then takes no more.
func scripted(t *testing.T, connections ...func(t *testing.T, conn *websocket.Conn)) string {
	t.Helper()
	var mu sync.Mutex
	var upgrader websocket.Upgrader
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		mu.Lock()
		defer mu.Unlock()
		if len(connections) == 0 {
			return
		}
		next := connections[0]
		connections = connections[1:]
		next(t, conn)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// expect reads a frame, within a minute.
func expect(t *testing.T, conn *websocket.Conn) map[string]any {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		var frame map[string]any
		if err := conn.ReadJSON(&frame); err != nil {
			t.Errorf("no frame came: %v", err)
			return nil
		}
		if frame["type"] != "ping" {
			return frame
		}
	}
}

func say(t *testing.T, conn *websocket.Conn, frame string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		t.Error(err)
	}
}

const loggedIn = `{"type":"system_message","message":"You have successfully logged","online_friends":[2],"to_id":1,"resume":"first"}`

func TestADeviceSendsAgainWhatHasNoAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	address := scripted(
		t,
		func(t *testing.T, conn *websocket.Conn) {
			if first := expect(t, conn); first["resume"] != nil {
				t.Errorf("the first login is %v", first)
			}
			say(t, conn, loggedIn)
			if sent := expect(t, conn); sent["client_msg_id"] != "m1" || sent["message"] != "hello" {
				t.Errorf("the device sent %v", sent)
			}
		},
		func(t *testing.T, conn *websocket.Conn) {
			if first := expect(t, conn); first["resume"] != "first" {
				t.Errorf("the second login is %v", first)
			}
			say(t, conn, loggedIn)
			for _, code := range []string{"unavailable", "no_user_or_offline", ""} {
				if sent := expect(t, conn); sent["client_msg_id"] != "m1" {
					t.Errorf("the device sent %v", sent)
				}
				if code != "" {
					say(t, conn, `{"type":"system_message","code":"`+code+`","from_id":2,"to_id":1,"client_msg_id":"m1"}`)
				}
			}
			say(t, conn, `{"type":"chat_message","message":"hello","from_id":1,"to_id":2,"id":"e1","client_msg_id":"m1"}`)
			say(t, conn, `{"type":"send_status","from_id":2,"to_id":1,"status":"offline"}`)
			say(t, conn, `{"type":"chat_message","message":"the end","from_id":2,"to_id":1,"id":"e2"}`)
			<-done
		},
	)
	d, file, err := newDevice(t.TempDir(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d.place = func() string { return address }
	d.send(check.Request{Type: check.Chat, Target: 2, Text: "hello", Name: "m1"})
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx) })
	if !site.WaitFor(func() bool { return d.newest(2) == "e2" }) {
		t.Error("the device did not get the last message")
	}
	recorded := d.record()
	close(done)
	cancel()
	running.Wait()
	_ = file.Close()
	if r := recorded.Requests[0]; r.Answer != check.Echoed || r.ID != "e1" || !r.Doubt {
		t.Errorf("the request is %+v", r)
	}
	if len(recorded.Frames) != 2 || recorded.Frames[0].Connection != 2 {
		t.Errorf("the device got %+v", recorded.Frames)
	}
	if d.seen(2) {
		t.Error("the device takes its friend for online")
	}
}

// A message that was sent once, on one connection, and refused, is not in the log: the device gives it up.
func TestADeviceGivesUpWhatWasRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	address := scripted(t, func(t *testing.T, conn *websocket.Conn) {
		expect(t, conn)
		say(t, conn, loggedIn)
		expect(t, conn)
		say(t, conn, `{"type":"system_message","code":"no_user_or_offline","from_id":2,"to_id":1,"client_msg_id":"m1"}`)
		<-done
	})
	d, file, err := newDevice(t.TempDir(), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	d.place = func() string { return address }
	d.send(check.Request{Type: check.Chat, Target: 2, Text: "hello", Name: "m1"})
	var running sync.WaitGroup
	running.Go(func() { d.run(ctx) })
	var r check.Request
	if !site.WaitFor(func() bool { r = d.record().Requests[0]; return r.Answer != "" }) || r.Answer != "no_user_or_offline" || r.Doubt {
		t.Errorf("the request is %+v", r)
	}
	close(done)
	cancel()
	running.Wait()
	_ = file.Close()
}
