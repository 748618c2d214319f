package network_test

import (
	"net/netip"
	"testing"

	"chatting/adapters/network"
)

func TestAnIPv6ClientIsItsNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "192.0.2.7": "192.0.2.7", "2001:db8:1:3::1": "2001:db8:1:3::",
	} {
		if got := network.Of(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s counts as %s", address, got)
		}
	}
}
