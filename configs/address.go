package configs

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is a host and a port to listen on. An empty host means every interface, port 0 any free port.
type Address struct {
	host string
	port uint16
}

// String returns host:port, as net.Listen takes it.
func (a Address) String() string { return net.JoinHostPort(a.host, strconv.Itoa(int(a.port))) }

// Host returns the host, without brackets; empty for every interface.
func (a Address) Host() string { return a.host }

// Port returns the port.
func (a Address) Port() int { return int(a.port) }

// Reachable returns host:port as a program on the machine of the listener reaches it.
func (a Address) Reachable() string {
	if a.everywhere() {
		a.host = "127.0.0.1"
	}
	return a.String()
}

// IsLoopback tells whether only this machine reaches the address.
func (a Address) IsLoopback() bool {
	ip, err := netip.ParseAddr(a.host)
	return strings.EqualFold(a.host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// clashes tells whether no two listeners can have the two addresses: the same port on one host, or on every interface.
func (a Address) clashes(b Address) bool {
	return a.port == b.port && a.port != 0 && (a.host == b.host || a.everywhere() || b.everywhere())
}

func (a Address) everywhere() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || err == nil && ip.IsUnspecified()
}

// parseAddress reads host:port; the host may be a name, an IPv4 address, an IPv6 address in brackets, or absent.
func parseAddress(text string) (Address, error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return Address{}, fmt.Errorf("%s is no address: write host:port, such as 127.0.0.1:8000", quoted(text))
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("%s has no port from 0 to 65535", quoted(text))
	}
	if !isHost(host) {
		return Address{}, fmt.Errorf("%s has no valid host", quoted(text))
	}
	return Address{host: host, port: uint16(port)}, nil
}

// isHost accepts IP addresses, host names (RFC 1123, and _ as container networks use it) and the empty host.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	for i := range len(host) {
		c := host[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return len(host) <= 253
}
