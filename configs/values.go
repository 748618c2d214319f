package configs

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// mask stands where a secret would be printed.
const mask = "***"

// Secret is a value that is never printed: every way of formatting it gives ***.
type Secret struct{ value string }

// IsSet tells whether there is a secret.
func (s Secret) IsSet() bool { return s.value != "" }

// Reveal returns the secret itself, for its one use.
func (s Secret) Reveal() string { return s.value }

// String returns *** or, where there is none, "".
func (s Secret) String() string {
	if s.value == "" {
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
		return Address{}, fmt.Errorf("%q is no address: write host:port, such as 127.0.0.1:8000", text)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return Address{}, fmt.Errorf("%q has no port from 0 to 65535", text)
	}
	if !isHost(host) {
		return Address{}, fmt.Errorf("%q has no valid host", text)
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

// URL is an absolute URL that may hold a password. Formatting it masks the password; Reveal does not.
type URL struct{ raw string }

// IsZero tells whether there is no URL.
func (u URL) IsZero() bool { return u.raw == "" }

// Reveal returns the URL with its password, for its one use.
func (u URL) Reveal() string { return u.raw }

// String returns the URL with *** for passwords, both before the host and in the query.
func (u URL) String() string { return maskURL(u.raw) }

// Format keeps the password out of every verb of package fmt.
func (u URL) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(u.String())) }

// MarshalText keeps the password out of JSON and the like.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue keeps the password out of logs.
func (u URL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// sqliteScheme begins the URL of an SQLite file; the rest is the file's name as it is, without escapes.
const sqliteScheme = "sqlite:"

// maskURL replaces the password of the authority and the values of query parameters whose names tell of a secret. What
// is no URL is masked whole.
func maskURL(raw string) string {
	if strings.HasPrefix(raw, sqliteScheme) {
		return raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return mask
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), mask)
	}
	parameters := strings.Split(u.RawQuery, "&")
	for i, parameter := range parameters {
		name, _, has := strings.Cut(parameter, "=")
		if decoded, err := url.QueryUnescape(name); has && (err != nil || tellsOfSecret(decoded)) {
			parameters[i] = name + "=" + mask
		}
	}
	u.RawQuery = strings.Join(parameters, "&")
	// The library percent-encodes the asterisks.
	return strings.Replace(u.String(), ":"+strings.Repeat("%2A", len(mask))+"@", ":"+mask+"@", 1)
}

func tellsOfSecret(parameter string) bool {
	parameter = strings.ToLower(parameter)
	for _, word := range []string{"password", "secret", "token", "key"} {
		if strings.Contains(parameter, word) {
			return true
		}
	}
	return false
}
