package server

import (
	"net/netip"
	"testing"

	"chatting/configs"
)

func TestLoginsOfOneIPv6NetworkCountAsOne(t *testing.T) {
	cfg := configs.Config{Limit: configs.Limit{AddressLoginsPerSecond: 1}}
	logins := newRates(cfg).addressLogins
	for i, row := range []struct {
		address string
		waits   bool
	}{
		{"2001:db8::1", false}, {"2001:db8::ffff:2", false}, {"2001:db8::3", true}, {"2001:db8:0:1::1", false}, {"192.0.2.1", false},
	} {
		address := netip.MustParseAddr(row.address)
		if waits := logins.Wait(address, 1) > 0; waits != row.waits {
			t.Errorf("%d: %s waits: %t", i, address, waits)
		}
		logins.Take(address, 1)
	}
}

func TestNoRateBoundsNothing(t *testing.T) {
	logins := newRates(configs.Config{}).addressLogins
	for range 1000 {
		if wait := logins.Take(netip.MustParseAddr("192.0.2.1"), 1); wait > 0 {
			t.Fatal(wait)
		}
	}
}
