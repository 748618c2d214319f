// Package network says what clients are counted under, so that limits and log lines of all adapters agree.
package network

import "net/netip"

// Of returns what one client is counted under: its address, or of IPv6 the network of 64 bits, which one host commonly has to
// itself.
func Of(address netip.Addr) netip.Addr {
	if address.Is6() {
		return netip.PrefixFrom(address, 64).Masked().Addr()
	}
	return address
}
