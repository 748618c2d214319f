package httpconn

import (
	"bytes"
	"net/netip"
	"strconv"
)

// parseTarget reads a request target (RFC 9112 §3.2): the origin form, which begins with exactly one slash, or the
// absolute form with http or https. The authority and the asterisk form are for proxies and for nobody.
//
// It refuses a path that servers and proxies bring into another form before they look at it. A rule of a proxy is for the
// path that the proxy sees, and must hold for the path that is routed here: both are the one that was sent, or the request
// is refused. This concerns dot segments, empty segments, backslashes, and the percent-encodings of dots, slashes and
// backslashes. A path with other encodings matches no route.
func parseTarget(target []byte) (path, authority []byte, refusal *Refusal) {
	for _, c := range target {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return nil, nil, malformed("The request target has a character that is not allowed.")
		}
	}
	if len(target) == 0 || target[0] != '/' {
		scheme, rest, ok := bytes.Cut(target, []byte("://"))
		if !ok || !bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("https")) {
			return nil, nil, malformed("The request target is neither a path nor an http or https URL.")
		}
		end := bytes.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		if authority, target = rest[:end], rest[end:]; !validAuthority(authority) {
			return nil, nil, malformed("The request target names no host.")
		}
	}
	path, _, _ = bytes.Cut(target, []byte("?"))
	if !isPlainPath(path) {
		return nil, nil, malformed("The path of the request target is not in its plain form.")
	}
	return path, authority, nil
}

// isPlainPath tells whether nobody would bring the path into another form.
func isPlainPath(path []byte) bool {
	for i, c := range path {
		switch c {
		case '\\':
			return false
		case '%':
			if len(path) < i+3 {
				return false
			}
			decoded, err := strconv.ParseUint(string(path[i+1:i+3]), 16, 8)
			if err != nil || bytes.IndexByte([]byte(`./\`), byte(decoded)) >= 0 {
				return false
			}
		}
	}
	if len(path) == 0 {
		return true
	}
	segments := bytes.Split(path[1:], []byte("/"))
	for i, segment := range segments {
		switch string(segment) {
		case ".", "..":
			return false
		case "":
			if i < len(segments)-1 {
				return false
			}
		}
	}
	return true
}

// validAuthority tells whether b is a host, with a port or without: an IPv4 address, an IPv6 address in brackets or a name.
// There is no user information.
func validAuthority(b []byte) bool {
	host, port := b, []byte(nil)
	if bytes.HasPrefix(b, []byte("[")) {
		end := bytes.IndexByte(b, ']')
		if end < 0 {
			return false
		}
		address, err := netip.ParseAddr(string(b[1:end]))
		if err != nil || !address.Is6() || address.Zone() != "" {
			return false
		}
		if host, port = b[:end+1], b[end+1:]; len(port) > 0 && port[0] != ':' {
			return false
		}
	} else {
		if colon := bytes.IndexByte(b, ':'); colon >= 0 {
			host, port = b[:colon], b[colon:]
		}
		for _, c := range host {
			if !isDigit(c) && !isLetter(c) && bytes.IndexByte([]byte("-._~"), c) < 0 {
				return false
			}
		}
	}
	if len(port) > 1 {
		if !isDigit(port[1]) {
			return false // ParseUint takes no sign, but what it takes is not for this function to know
		}
		if _, err := strconv.ParseUint(string(port[1:]), 10, 16); err != nil {
			return false
		}
	}
	return len(host) > 0
}
