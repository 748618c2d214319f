package httpconn

import (
	"bytes"
	"net"
	"net/netip"
)

// Proxies are the reverse proxies whose word about their clients is taken. The zero value trusts none.
type Proxies struct{ trusted []netip.Prefix }

// NewProxies returns the proxies with addresses in the given networks.
func NewProxies(trusted []netip.Prefix) Proxies { return Proxies{trusted} }

// Trusts tells whether the address is that of a trusted proxy.
func (p Proxies) Trusts(address netip.Addr) bool {
	for _, network := range p.trusted {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// ClientAddress returns the address that limits and logs count a request under. It is the address of the TCP peer, unless
// the peer is a trusted proxy. Then it is the last address in the X-Forwarded-For headers that is not a trusted proxy's.
// The headers are read from the right, because each proxy appends what it has seen itself, and clients can write the rest.
// An entry that is no address ends the reading, and the proxy that appended it counts.
//
// It returns the zero Addr for a peer that has no TCP address. The returned address has no zone, and is IPv4 where it is
// mapped to IPv6.
func (p Proxies) ClientAddress(peer net.Addr, forwardedFor [][]byte) netip.Addr {
	client := addressOf(peer)
	for line := len(forwardedFor) - 1; line >= 0; line-- {
		rest := forwardedFor[line]
		for rest != nil {
			if !p.Trusts(client) {
				return client
			}
			var entry []byte
			if comma := bytes.LastIndexByte(rest, ','); comma >= 0 {
				rest, entry = rest[:comma], rest[comma+1:]
			} else {
				rest, entry = nil, rest
			}
			forwarded, ok := parseForwarded(string(bytes.TrimSpace(entry)))
			if !ok {
				return client
			}
			client = forwarded
		}
	}
	return client
}

// parseForwarded reads an entry of X-Forwarded-For: an address, which some proxies write with its port.
func parseForwarded(entry string) (netip.Addr, bool) {
	if address, err := netip.ParseAddr(entry); err == nil {
		return plain(address), true
	}
	if withPort, err := netip.ParseAddrPort(entry); err == nil {
		return plain(withPort.Addr()), true
	}
	return netip.Addr{}, false
}

// addressOf returns the address of a TCP peer, the zero Addr for another.
func addressOf(peer net.Addr) netip.Addr {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return plain(tcp.AddrPort().Addr())
}

// plain brings an address into the form that configured networks are compared with.
func plain(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }
