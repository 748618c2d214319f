package server

import (
	"net"
	"testing"
)

func TestTheAddressOfThePageCanBeOpened(t *testing.T) {
	for address, want := range map[net.Addr]string{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8000}: "127.0.0.1:8000", &net.TCPAddr{IP: net.IPv6unspecified, Port: 80}: "localhost:80",
		&net.TCPAddr{IP: net.IPv4zero, Port: 81}: "localhost:81", &net.TCPAddr{IP: net.IPv6loopback, Port: 82}: "[::1]:82",
	} {
		if got := browsable(address); got != want {
			t.Errorf("%s is opened as %s, want %s", address, got, want)
		}
	}
}
