package httpconn_test

import (
	"net"
	"net/netip"
	"testing"

	"chatting/adapters/httpconn"
)

func networks(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func lines(texts ...string) (list [][]byte) {
	for _, text := range texts {
		list = append(list, []byte(text))
	}
	return list
}

func TestClientAddressIsTheRightmostThatIsNoTrustedProxy(t *testing.T) {
	proxies := httpconn.NewProxies(networks("10.0.0.0/8", "fd00::/8"))
	for name, test := range map[string]struct {
		peer      string
		forwarded [][]byte
		want      string
	}{
		"a peer that is no proxy is not believed":     {"192.0.2.1", lines("203.0.113.5"), "192.0.2.1"},
		"a proxy without the header":                  {"10.0.0.1", nil, "10.0.0.1"},
		"one proxy":                                   {"10.0.0.1", lines("203.0.113.5"), "203.0.113.5"},
		"what the client wrote itself does not count": {"10.0.0.1", lines("198.51.100.9, 203.0.113.5"), "203.0.113.5"},
		"two proxies":                                 {"10.0.0.1", lines("203.0.113.5 , 10.2.2.2"), "203.0.113.5"},
		"several header lines are one list":           {"10.0.0.1", lines("203.0.113.5", "10.3.3.3", "10.2.2.2"), "203.0.113.5"},
		"all are proxies":                             {"10.0.0.1", lines("10.9.9.9, 10.2.2.2"), "10.9.9.9"},
		"an entry that is no address":                 {"10.0.0.1", lines("203.0.113.5, unknown, 10.2.2.2"), "10.2.2.2"},
		"an empty entry":                              {"10.0.0.1", lines("203.0.113.5,"), "10.0.0.1"},
		"an empty entry before":                       {"10.0.0.1", lines(",203.0.113.5"), "203.0.113.5"},
		"an empty header":                             {"10.0.0.1", lines(""), "10.0.0.1"},
		"with a port":                                 {"10.0.0.1", lines("203.0.113.5:4711"), "203.0.113.5"},
		"IPv6":                                        {"fd00::1", lines("2001:db8::7"), "2001:db8::7"},
		"IPv6 with a port":                            {"fd00::1", lines("[2001:db8::7]:80"), "2001:db8::7"},
		"IPv4 mapped to IPv6":                         {"::ffff:10.0.0.1", lines("::ffff:203.0.113.5"), "203.0.113.5"},
		"with a zone":                                 {"10.0.0.1", lines("fe80::1%eth0"), "fe80::1"},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &net.TCPAddr{IP: net.ParseIP(test.peer), Port: 1}
			if got := proxies.ClientAddress(peer, test.forwarded); got.String() != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestNobodyIsTrustedByDefault(t *testing.T) {
	peer := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	if got := (httpconn.Proxies{}).ClientAddress(peer, lines("203.0.113.5")); got.String() != "127.0.0.1" {
		t.Errorf("got %s", got)
	}
	if got := (httpconn.Proxies{}).ClientAddress(&net.UnixAddr{}, nil); got.IsValid() {
		t.Errorf("a peer without an address got %s", got)
	}
}

// FuzzClientAddress looks whether nobody but a trusted proxy is believed, and a trusted one is not the client unless nobody
// else is named.
func FuzzClientAddress(f *testing.F) {
	f.Add("203.0.113.5, 10.2.2.2")
	f.Add("unknown")
	f.Add("[2001:db8::7]:80,,::ffff:10.0.0.1")
	proxies := httpconn.NewProxies(networks("10.0.0.0/8"))
	f.Fuzz(func(t *testing.T, header string) {
		stranger, proxy := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}
		if got := proxies.ClientAddress(stranger, lines(header)); got.String() != "192.0.2.1" {
			t.Fatalf("%q of a stranger is believed: %s", header, got)
		}
		got := proxies.ClientAddress(proxy, lines(header))
		if !got.IsValid() || got.Zone() != "" || got.Is4In6() {
			t.Fatalf("%q: %s", header, got)
		}
		if again := proxies.ClientAddress(proxy, lines("198.51.100.9,"+header)); !proxies.Trusts(got) && again != got {
			t.Fatalf("what stands before %q changes the client from %s to %s", header, got, again)
		}
	})
}
