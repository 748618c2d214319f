// Package origins decides which web pages may use the server: it is the one matcher for the socket and for CORS.
package origins

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// Set is a set of origins. The zero value is empty.
type Set struct {
	all   bool
	exact map[string]struct{}
	below []origin // each stands for all names below its host
}

// Any is the entry that stands for every origin.
const Any = "*"

// NewSet returns the set that the entries describe. Each is Any or what Entry takes.
func NewSet(entries []string) (Set, error) {
	set := Set{exact: make(map[string]struct{}, len(entries))}
	for _, entry := range entries {
		if entry == Any {
			set.all = true
			continue
		}
		o, err := parseEntry(entry)
		switch {
		case err != nil:
			return Set{}, err
		case o.wild:
			set.below = append(set.below, o)
		default:
			set.exact[o.String()] = struct{}{}
		}
	}
	return set, nil
}

// Has tells whether an Origin header names an origin of the set.
func (s Set) Has(header string) bool {
	if s.all {
		return true
	}
	o, reason := parse(header)
	if reason != "" {
		return false
	}
	if _, ok := s.exact[o.String()]; ok {
		return true
	}
	for _, parent := range s.below {
		if o.scheme == parent.scheme && o.port == parent.port && strings.HasSuffix(o.host, "."+parent.host) {
			return true
		}
	}
	return false
}

// IsOwn tells whether an Origin header names a page of the server itself: one of http or https that was loaded from the host,
// which is the request's Host header. The scheme is not compared, because a proxy in front may speak HTTPS for the server.
func IsOwn(header, host string) bool {
	o, _ := parse(header)
	own, _ := parse(o.scheme + "://" + host)
	return o.isWeb() && own == o
}

// Name returns an Origin header in the form in which an entry lets it in; "" if it is no origin. What it returns is short, and
// holds nothing but a scheme, a host and a port, so it may be logged.
func Name(header string) string {
	o, reason := parse(header)
	if reason != "" {
		return ""
	}
	return o.String()
}

// Entry reads an entry of a list of origins and returns it in one form, in which Unicode is punycode. It may be
//
//   - scheme://host or scheme://host:port, of any scheme that pages have: https://example.com, capacitor://localhost, app://.
//   - scheme://*.host: all names below the host, with any number of labels more, but not the host itself;
//   - null, or a scheme without a host, such as file://, as browsers name pages that have no host.
//
// Case, the scheme's usual port and one slash at the end make no difference. The error ends a sentence for an operator ("... is
// no origin: why"); it does not repeat the text, which may be a secret in the wrong place.
func Entry(text string) (string, error) {
	o, err := parseEntry(text)
	if err != nil {
		return "", err
	}
	return o.String(), nil
}

func parseEntry(text string) (origin, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	below, wild := strings.CutPrefix(rest, "*.")
	plain := text
	if wild {
		plain = scheme + "://" + below
	}
	o, reason := parse(plain)
	if o.wild = wild; reason == "" {
		reason = o.refusedAsEntry()
	}
	if reason != "" {
		return origin{}, errors.New("no origin: " + reason)
	}
	return o, nil
}

// refusedAsEntry returns why an origin that a header may name makes no sense in a list; "" if it does.
func (o origin) refusedAsEntry() string {
	_, err := netip.ParseAddr(strings.Trim(o.host, "[]"))
	switch {
	case o.scheme == "ws" || o.scheme == "wss":
		return "it names the page, whose scheme is http or https, and not the socket"
	case o.wild && (o.host == "" || o.host == "." || err == nil):
		return "*. stands before a domain, such as https://*.example.com"
	}
	return ""
}

// origin is an origin (RFC 6454) in one form, or with wild, which no header has, all those below it.
type origin struct {
	scheme, host string
	port         string // "" for the scheme's usual one
	wild         bool
}

// opaque is the origin of pages that browsers give no other.
const opaque = "null"

// String returns the origin as browsers send it, or as an entry has it.
func (o origin) String() string {
	if o.scheme == opaque {
		return opaque
	}
	text := o.scheme + "://"
	if o.wild {
		text += "*."
	}
	if text += o.host; o.port != "" {
		text += ":" + o.port
	}
	return text
}

func (o origin) isWeb() bool { return o.scheme == "http" || o.scheme == "https" }

// usualPorts are those that browsers leave out.
var usualPorts = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}

// maxOrigin is how long an origin may be, in bytes: a name of 253 with its scheme and port, and some more.
const maxOrigin = 300

// Why a text is no origin.
const (
	noForm   = "write scheme://host[:port], such as https://example.com"
	hasMore  = "it has more than scheme, host and port"
	noHost   = "its host is not valid"
	noPort   = "its port is not valid"
	tooLong  = "it is too long"
	wildHost = "* stands alone, or first in a host, as in https://*.example.com"
)

// parse reads an origin. If a text is none, o is empty and reason says why; else it is "".
func parse(text string) (o origin, reason string) {
	if len(text) > maxOrigin {
		return origin{}, tooLong
	}
	if strings.EqualFold(text, opaque) {
		return origin{scheme: opaque}, ""
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !isScheme(scheme) {
		return origin{}, noForm
	}
	o.scheme = strings.ToLower(scheme)
	rest = strings.TrimSuffix(rest, "/")
	switch {
	case strings.ContainsAny(rest, "/?#@\\"):
		return origin{}, hasMore
	case strings.Contains(rest, "*"):
		return origin{}, wildHost
	case rest == "" && !o.isWeb():
		return o, "" // file://
	case rest == "":
		return origin{}, noForm
	}
	host, port := split(rest)
	if o.host, ok = o.hostOf(host); !ok {
		return origin{}, noHost
	}
	if o.port, ok = o.portOf(port); !ok {
		return origin{}, noPort
	}
	return o, ""
}

func isScheme(s string) bool {
	for i, c := range []byte(strings.ToLower(s)) {
		if isLetter := 'a' <= c && c <= 'z'; !isLetter && (i == 0 || (c < '0' || c > '9') && !strings.ContainsRune("+-.", rune(c))) {
			return false
		}
	}
	return s != ""
}

// split parts a host from the port, which is "" if there is none.
func split(text string) (host, port string) {
	colon := strings.LastIndexByte(text, ':')
	if colon <= strings.LastIndexByte(text, ']') {
		return text, ""
	}
	return text[:colon], text[colon+1:]
}

func (o origin) portOf(text string) (string, bool) {
	if text == "" {
		return "", true
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", false
	}
	if text = strconv.FormatUint(n, 10); text == usualPorts[o.scheme] {
		text = ""
	}
	return text, true
}

// browserHosts brings names into the form of browsers (UTS 46, as the URL standard has it).
var browserHosts = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false), idna.CheckHyphens(false))

func (o origin) hostOf(text string) (string, bool) {
	if strings.HasPrefix(text, "[") {
		address, _ := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
		if !address.Is6() || address.Zone() != "" || !strings.HasSuffix(text, "]") {
			return "", false
		}
		return "[" + address.String() + "]", true
	}
	text = strings.ToLower(text)
	if !o.isWeb() {
		return text, isName(text) // browsers do not look into it
	}
	if !isName(text) {
		var err error
		if text, err = browserHosts.ToASCII(text); err != nil || !isName(text) {
			return "", false
		}
	}
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for _, label := range labels {
		if label == "" {
			return "", false
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		_, err := netip.ParseAddr(text)
		return text, err == nil
	}
	return text, true
}

// isName tells whether all characters are those of names in lower case.
func isName(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return text != ""
}
