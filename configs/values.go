package configs

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// hidden is a text that package fmt does not reach. It prints the value of an unexported field without asking the methods of
// that value, but follows no pointer there.
type hidden struct{ text *string }

func hide(text string) hidden {
	if text == "" {
		return hidden{}
	}
	return hidden{&text}
}

func (h hidden) reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

// Secret is a value that is never printed: every way of formatting it gives ***.
type Secret struct{ value hidden }

// IsSet tells whether there is a secret.
func (s Secret) IsSet() bool { return s.Reveal() != "" }

// Reveal returns the secret itself, for its one use.
func (s Secret) Reveal() string { return s.value.reveal() }

// String returns *** or, where there is none, "".
func (s Secret) String() string {
	if !s.IsSet() {
		return ""
	}
	return mask
}

// Format keeps the secret out of every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText keeps the secret out of JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue keeps the secret out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

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

// URL is an absolute URL, any part of which but its host may be a secret. Formatting it shows scheme and host; Reveal all.
type URL struct{ raw hidden }

// IsZero tells whether there is no URL.
func (u URL) IsZero() bool { return u.Reveal() == "" }

// Reveal returns the whole URL, for its one use.
func (u URL) Reveal() string { return u.raw.reveal() }

// String returns the URL with *** for what stands before and after its host. The name of an SQLite file is shown.
func (u URL) String() string { return ShownURL(u.Reveal()) }

// Format keeps the rest out of every verb of package fmt.
func (u URL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// MarshalText keeps the rest out of JSON and the like.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue keeps the rest out of logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }
