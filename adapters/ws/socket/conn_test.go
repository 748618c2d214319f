package socket

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
)

func TestAdmissionIsGivenBackWhenNoSessionTakesOver(t *testing.T) {
	server, peer := net.Pipe()
	defer func() { _ = peer.Close() }()
	sock, released := &Conn{Conn: server}, 0
	if !sock.Hold(func() { released++ }) {
		t.Fatal("not held")
	}
	_, _ = sock.Close(), sock.Close()
	if _, ok := sock.TakeOver(); ok || released != 1 {
		t.Errorf("released %d times, taken over: %t", released, ok)
	}
	if sock.Hold(func() {}) {
		t.Error("a closed socket holds an admission")
	}
}

func TestBufferBetweenSocketAndSessionIsNoticed(t *testing.T) {
	sock := &Conn{}
	if !sock.IsDirect(sock) {
		t.Error("the socket is not direct to itself")
	}
	if sock.IsDirect(bufio.NewReader(sock)) {
		t.Error("an empty buffered reader passes as direct")
	}
	if sock.IsDirect(bufio.NewReader(strings.NewReader("left"))) {
		t.Error("a buffered reader with bytes passes as direct")
	}
}

// The library's own close frame after a violation is noted, and never sent.
func TestAnUpgradedSocketSendsNothingOfTheLibrarys(t *testing.T) {
	own, peer := net.Pipe()
	defer func() { _, _ = own.Close(), peer.Close() }()
	s := &Conn{Conn: own, upgraded: true}
	for sent, want := range map[string]int{"\x88\x02\x03\xea": 1002, "\x88\x05\x03\xf1abc": 1009, "\x8a\x02ab": 0, "\x88\x00": 0} {
		s.Refusal = 0
		if n, err := s.Write([]byte(sent)); n != len(sent) || err != nil || s.Refusal != want {
			t.Errorf("%q: %d, %v, noted %d", sent, n, err, s.Refusal)
		}
	}
	if err := s.SetWriteDeadline(longAgo); err != nil {
		t.Error(err)
	}
	go func() { _, _ = own.Write([]byte("x")) }() // would fail at once
	if n, err := peer.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the deadline was set: %v", err)
	}
}

func TestASocketReceivesNoMoreThanItIsPermitted(t *testing.T) {
	own, peer := net.Pipe()
	defer func() { _, _ = own.Close(), peer.Close() }()
	go func() { _, _ = peer.Write([]byte("abcdef")) }()
	s := &Conn{Conn: own, upgraded: true}
	s.Permit(3)
	before := s.LastHeard()
	buffer := make([]byte, 2)
	for range 2 {
		if n, err := s.Read(buffer); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if s.LastHeard() <= before {
		t.Error("it does not note when it heard something")
	}
	if n, err := s.Read(buffer); n != 0 || !errors.Is(err, ErrTooMuch) {
		t.Errorf("%d, %v", n, err)
	}
	s.Permit(1)
	if n, err := s.Read(buffer); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// headConn is a connection that knows the head of a request, as those of httpconn do.
type headConn struct{ net.Conn }

func (headConn) Head() (method, path []byte, origins [][]byte, length int64) {
	return []byte("POST"), []byte("/a"), [][]byte{[]byte("https://a.example")}, 9
}

// The answers to requests that could not be read need it for their CORS headers.
func TestASocketPassesOnTheHeadOfItsRequest(t *testing.T) {
	method, path, origins, length := (&Conn{Conn: headConn{}}).Head()
	if length != 9 || string(method) != "POST" || string(path) != "/a" || len(origins) != 1 || string(origins[0]) != "https://a.example" {
		t.Errorf("it knows of %s %s from %s with %d bytes", method, path, origins, length)
	}
	if method, path, origins, length := (&Conn{}).Head(); method != nil || path != nil || origins != nil || length != 0 {
		t.Errorf("without one it knows of %s %s from %s with %d bytes", method, path, origins, length)
	}
}
