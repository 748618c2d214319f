package ws

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/httpconn"
	"chatting/adapters/network"
)

func TestOneCloseFrameIsSentAndThenTheEnd(t *testing.T) {
	// The peer does not end its own side: it learns that nothing follows from the server's end, long before the drain's.
	f := serve(t, Options{Times: Times{Drain: 10 * patience}}, newChat())
	for sent, want := range map[string]string{
		"\x81\x01x":                          "\x88\x10\x03\xeaprotocol_error", // not masked: the library has a frame of its own
		textFrame(strings.Repeat("x", 70e3)): "\x88\x10\x03\xf1frame_too_long",
		textFrame("no login"):                "\x88\x0a\x0d\x49no_token",
		masked(finalBit|opClose, "\x03\xe9"): "\x88\x0f\x03\xe8client_closed", // 1000, though the client says 1001
	} {
		reply := replyTo(t, f.raw(t), upgradeHead+"\r\n"+sent)
		if _, frames, _ := strings.Cut(reply, "\r\n\r\n"); frames != want {
			t.Errorf("after %.20q came %q, want %q", sent, frames, want)
		}
	}
}

func TestManyPingsBetweenMessagesAreNoOffence(t *testing.T) {
	f := serve(t, Options{MaxFrame: 64}, newChat())
	c := f.login(t, 7)
	for range 500 {
		if err := c.WriteControl(websocket.PingMessage, make([]byte, 125), time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	c.send(`{"target_id":7,"message":"still here"}`)
	if got := c.next(); got["message"] != "still here" {
		t.Errorf("got %v", got)
	}
}

func TestTalkingPeerIsNotPinged(t *testing.T) {
	f := serve(t, Options{Times: Times{Scan: time.Millisecond}}, newChat())
	c := f.login(t, 7)
	c.SetPingHandler(func(string) error {
		t.Error("pinged")
		return nil
	})
	for i := range 300 {
		c.send(fmt.Sprintf(`{"target_id":7,"message":"%d"}`, i))
		c.next()
	}
}

func TestShutdownEndsALoginThatHangs(t *testing.T) {
	chat := newChat()
	begun := make(chan struct{})
	chat.logIn = func(ctx context.Context, _ string) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}
	f := serve(t, Options{Times: Times{Login: 10 * patience}}, chat)
	c := f.dial(t)
	c.send(`{"token":"user-7"}`)
	<-begun
	ended := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ended <- f.Shutdown(ctx)
	}()
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestConnectionThatBeginsDuringTheShutdownIsClosed(t *testing.T) {
	f := serve(t, Options{}, newChat())
	client := f.dial(t)
	var begun []*connection
	eventually(t, "it is registered", func() bool {
		begun = f.roster.all(nil)
		return len(begun) == 1
	})
	f.roster.unregister(begun[0])
	f.roster.mu.Lock()
	f.roster.draining = true // it had been admitted before
	f.roster.mu.Unlock()
	if f.roster.register(begun[0]) {
		begun[0].leave()
	}
	if code := client.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
}

func TestPeerThatVanishesEndsItsSession(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	_ = c.NetConn().(interface{ SetLinger(int) error }).SetLinger(0) // a reset
	_ = c.Close()
	half := f.login(t, 8)
	_ = half.NetConn().(interface{ CloseWrite() error }).CloseWrite()
	if _, err := io.ReadAll(half.NetConn()); err != nil {
		t.Error(err)
	}
	eventually(t, "both sessions end", func() bool {
		f.chat.mu.Lock()
		defer f.chat.mu.Unlock()
		return f.chat.ended == 2
	})
}

func TestShutdownClosesInWavesAndEveryConnectionInTheEnd(t *testing.T) {
	const connections, over = 60, time.Second // more connections than waves
	chat := newChat()
	f := serve(t, Options{CloseOver: over}, chat)
	clients := make([]*client, connections)
	for i := range clients {
		clients[i] = f.login(t, i+1)
	}
	began := time.Now()
	ended := f.shutdown(t.Context())
	for _, c := range clients {
		if code := c.closed(); code != 1012 {
			t.Errorf("closed with %d", code)
		}
		_ = c.Close()
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// The pauses between the waves have a shortest time, and no longest one.
	if took := time.Since(began); took < over/2 {
		t.Errorf("all connections were closed within %s", took)
	}
}

func TestShutdownHasNoTimeForWavesWhenItsContextEnds(t *testing.T) {
	f := serve(t, Options{CloseOver: time.Hour}, newChat())
	a, b := f.login(t, 7), f.login(t, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := f.Shutdown(ctx); err == nil {
		t.Error("no error although connections had to be cut")
	}
	if n := f.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	_, _ = a.Close(), b.Close()
}

func TestAddressesAreCountedByHostOrIPv6Network(t *testing.T) {
	of := func(text string) netip.Addr {
		return network.Of(httpconn.NewProxies(nil).ClientAddress(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)), nil))
	}
	if of("127.0.0.1:1") != of("127.0.0.1:2") || of("127.0.0.1:1") == of("127.0.0.2:1") || of("[::ffff:127.0.0.1]:1") != of("127.0.0.1:1") {
		t.Error("IPv4 addresses are not counted one by one")
	}
	if of("[2001:db8::1]:1") != of("[2001:db8::ffff:1]:2") || of("[2001:db8:0:1::1]:1") == of("[2001:db8::1]:1") {
		t.Error("IPv6 addresses are not counted by their network of 64 bits")
	}
}
