package httpconn

import (
	"bytes"
	"net/http"
)

// Refusal is why a request is not served. Its connection is closed.
type Refusal struct {
	Status   int
	Sentence string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Sentence }

func malformed(sentence string) *Refusal { return &Refusal{http.StatusBadRequest, sentence} }

// head is what this package needs to know of a request. Its slices are parts of the bytes that it was read from.
type head struct {
	method []byte
	// path is that of the target, without its query.
	path []byte
	// slash is where the path stands that an absolute form has left out, from the head's beginning; 0 if it has one.
	slash int
	// length is that of the body in bytes, 0 where there is none or the body is chunked.
	length  int64
	chunked bool
	// expects tells that the client waits for 100 (Continue) before it sends the body.
	expects bool
}

// once are the fields that a request may have once at most, in lower case. Which of two counts depends on who reads them.
var once = []string{
	"authorization", "content-length", "content-type", "expect", "host", "idempotency-key", "sec-websocket-key",
	"sec-websocket-version", "transfer-encoding",
}

// parseHead reads a request head (RFC 9112 §2 to §6). The bytes end with its empty line. Its lines end with a carriage
// return and a line feed, and no other control characters but tabs are in it: scan has seen to both.
//
// It takes less than the RFC lets a server take. Every leniency there is one that somebody between client and server may
// not share: obsolete folding, blanks before a colon, a list of lengths, other codings than chunked.
func parseHead(b []byte) (head, *Refusal) {
	line, fields, _ := bytes.Cut(b, crlf)
	h, authority, minor, refusal := parseRequestLine(line)
	if refusal != nil {
		return head{}, refusal
	}
	var seen [16]bool // by the index in once
	var host []byte
	for len(fields) > len(crlf) {
		line, fields, _ = bytes.Cut(fields, crlf)
		name, value, refusal := parseField(line)
		if refusal != nil {
			return head{}, refusal
		}
		which := indexOf(once, name)
		if which < 0 {
			continue
		}
		if seen[which] {
			return head{}, malformed("The header " + once[which] + " is there twice.")
		}
		seen[which] = true
		switch once[which] {
		case "host":
			host = value
			if !validAuthority(value) {
				return head{}, malformed("The header Host names no host.")
			}
		case "content-length":
			if h.length, refusal = parseLength(value); refusal != nil {
				return head{}, refusal
			}
		case "transfer-encoding":
			if h.chunked = true; !bytes.EqualFold(value, []byte("chunked")) {
				return head{}, malformed("The only Transfer-Encoding is chunked.")
			}
		case "expect":
			h.expects = true
		}
	}
	length, chunked := seen[indexOf(once, []byte("content-length"))], h.chunked
	switch {
	case chunked && length:
		return head{}, malformed("Content-Length and Transfer-Encoding exclude each other.")
	case chunked && minor == 0:
		return head{}, malformed("HTTP/1.0 has no Transfer-Encoding.")
	case host == nil && minor == 1:
		return head{}, malformed("The header Host is missing.")
	case authority != nil && host != nil && !bytes.EqualFold(authority, host):
		return head{}, malformed("The request target and the header Host name different hosts.")
	}
	return h, nil
}

var crlf = []byte("\r\n")

// originsIn returns the values of the Origin lines of a head, of which the end may be missing and which may be malformed.
func originsIn(head []byte) (values [][]byte) {
	_, lines, _ := bytes.Cut(head, crlf)
	for line := range bytes.SplitSeq(lines, crlf) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("Origin")) {
			values = append(values, bytes.Trim(value, " \t"))
		}
	}
	return values
}

// pathIn returns the path that a head asks for, as it came. Its end may be missing, and it may be malformed.
func pathIn(head []byte) []byte {
	_, target, _ := bytes.Cut(head, []byte(" "))
	if end := bytes.IndexAny(target, " ?\r\n"); end >= 0 {
		target = target[:end]
	}
	return target
}

// isHead tells whether the request that begins so is a HEAD request.
func isHead(head []byte) bool { return bytes.HasPrefix(head, []byte(http.MethodHead+" ")) }

// parseRequestLine returns, beside the head, the authority of a target in absolute form (nil for origin form), and the
// minor version.
func parseRequestLine(line []byte) (h head, authority []byte, minor int, refusal *Refusal) {
	method, rest, ok := bytes.Cut(line, []byte(" "))
	target, version, both := bytes.Cut(rest, []byte(" "))
	if !ok || !both || !isToken(method) {
		return head{}, nil, 0, malformed("The request line is not a method, a target and a version.")
	}
	switch {
	case string(version) == "HTTP/1.1":
		minor = 1
	case string(version) == "HTTP/1.0":
	case len(version) == len("HTTP/1.1") && string(version[:5]) == "HTTP/" && isDigit(version[5]) && version[6] == '.' && isDigit(version[7]):
		return head{}, nil, 0, &Refusal{http.StatusHTTPVersionNotSupported, "The server speaks HTTP/1.1 and HTTP/1.0."}
	default:
		return head{}, nil, 0, malformed("The request line names no version of HTTP.")
	}
	path, authority, refusal := parseTarget(target)
	h = head{method: method, path: path}
	if refusal == nil && len(path) == 0 {
		scheme, _, _ := bytes.Cut(target, []byte("://"))
		h.path, h.slash = []byte("/"), len(method)+len(" ")+len(scheme)+len("://")+len(authority)
	}
	return h, authority, minor, refusal
}

// parseField reads a header line. The value has no blanks around it.
func parseField(line []byte) (name, value []byte, refusal *Refusal) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	switch {
	case len(line) > 0 && (line[0] == ' ' || line[0] == '\t'):
		return nil, nil, malformed("Folded header lines are refused.")
	case !ok:
		return nil, nil, malformed("A header line has no colon.")
	case !isToken(name):
		return nil, nil, malformed("A header line has no valid name before its colon.")
	}
	return name, bytes.Trim(value, " \t"), nil
}

// maxLengthDigits keeps lengths within an int64.
const maxLengthDigits = 18

func parseLength(value []byte) (int64, *Refusal) {
	var n int64
	for _, c := range value {
		if !isDigit(c) {
			return 0, malformed("Content-Length is not a number.")
		}
		if len(value) <= maxLengthDigits {
			n = 10*n + int64(c-'0')
		}
	}
	switch {
	case len(value) == 0:
		return 0, malformed("Content-Length is empty.")
	case len(value) > maxLengthDigits:
		return 0, &Refusal{http.StatusRequestEntityTooLarge, "The body is longer than any that the server takes."}
	}
	return n, nil
}

// indexOf returns where a header name stands in names, which are in lower case, or -1.
func indexOf(names []string, name []byte) int {
	for i, candidate := range names {
		if len(candidate) == len(name) && bytes.EqualFold([]byte(candidate), name) {
			return i
		}
	}
	return -1
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// isToken tells whether b is a token (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		if !isDigit(c) && !isLetter(c) && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) < 0 {
			return false
		}
	}
	return len(b) > 0
}

// scanned follows the bytes of a head as they come, so that what can never become one is refused at once.
type scanned struct {
	n      int // bytes looked at
	cr     bool
	length int // of the line so far
}

// scan looks at what was added to b since the last call. It returns the length of the head once its empty line is there, 0
// before.
func (s *scanned) scan(b []byte) (end int, refusal *Refusal) {
	for ; s.n < len(b); s.n++ {
		switch c := b[s.n]; {
		case c == '\n' && !s.cr:
			return 0, malformed("A line ends without a carriage return.")
		case c == '\n' && s.length == 0:
			s.n++
			return s.n, nil
		case c == '\n':
			s.cr, s.length = false, 0
		case s.cr:
			return 0, malformed("A carriage return is not at the end of a line.")
		case c == '\r':
			s.cr = true
		case c < ' ' && c != '\t', c == 0x7f:
			return 0, malformed("A control character is in the head.")
		default:
			s.length++
		}
	}
	return 0, nil
}
