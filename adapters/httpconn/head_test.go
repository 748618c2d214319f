package httpconn

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// wellFormed are heads that are served.
var wellFormed = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
	"get /a?b=/../c//d%2f HTTP/1.1\r\nhost:x:80\r\n\r\n",
	"BREW!# /a/ HTTP/1.1\r\nHost: x.example:8080\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	"GET /a HTTP/1.1\r\nHost: 127.0.0.1:\r\n\r\n",
	"GET http://x/a HTTP/1.1\r\nHost: X\r\n\r\n",
	"GET HTTPS://x:1?q HTTP/1.1\r\nHost: x:1\r\n\r\n",
	"GET /%41%00%0a;b=c/~@:!$&'()*+,= HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nA:\r\nB: \tb\xffc \t\r\nA: twice\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n",
}

// refusals are heads that are not served, by what is wrong with them, with the status that says so.
var refusals = map[string]struct {
	head   string
	status int
}{
	"two slashes":                          {"DELETE //x/s2sapi/users/?user_id=5&:// HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"two slashes alone":                    {"GET // HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"an empty segment":                     {"GET /a//b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"two slashes at the end":               {"GET /a// HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a dot segment":                        {"GET /./a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a dot segment at the end":             {"GET /a/.. HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"two dots":                             {"GET /x/../s2sapi/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"encoded dots":                         {"GET /x/%2e%2E/s2sapi/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"half encoded dots":                    {"GET /x/.%2e/s2sapi/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"an encoded slash":                     {"GET /s2sapi%2fusers/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"an encoded backslash":                 {"GET /s2sapi%5Cusers/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a backslash":                          {"GET /s2sapi\\users/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a bad encoding":                       {"GET /a%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a sign in an encoding":                {"GET /a%+5 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"half an encoding":                     {"GET /a%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a fragment":                           {"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a fragment in the query":              {"GET /a?b#c HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a tab in the target":                  {"GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a blank in the target":                {"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a byte above ASCII in the target":     {"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"no slash":                             {"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"no target":                            {"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"authority form":                       {"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 400},
	"asterisk form":                        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"another scheme":                       {"GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"no authority":                         {"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"user information":                     {"GET http://u@x/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"another host in the target":           {"GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"two slashes after the authority":      {"GET http://x//s2sapi/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"no method":                            {" / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a method that is no token":            {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a tab in the request line":            {"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"two blanks in the request line":       {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a blank after the version":            {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
	"no version":                           {"GET /\r\nHost: x\r\n\r\n", 400},
	"HTTP in lower case":                   {"GET / http/1.1\r\nHost: x\r\n\r\n", 400},
	"HTTP/9.9":                             {"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505},
	"HTTP/1.2":                             {"GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505},
	"HTTP/0.9":                             {"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505},
	"HTTP/2":                               {"PRI * HTTP/2.0\r\n\r\n", 505},
	"HTTP/1.10":                            {"GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400},
	"no Host":                              {"GET / HTTP/1.1\r\n\r\n", 400},
	"two Hosts":                            {"GET / HTTP/1.1\r\nHost: x\r\nhost: x\r\n\r\n", 400},
	"an empty Host":                        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
	"two names in Host":                    {"GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400},
	"a path in Host":                       {"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
	"user information in Host":             {"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", 400},
	"a bad port in Host":                   {"GET / HTTP/1.1\r\nHost: x:y\r\n\r\n", 400},
	"a sign in the port":                   {"GET / HTTP/1.1\r\nHost: x:+1\r\n\r\n", 400},
	"a port too high":                      {"GET / HTTP/1.1\r\nHost: x:65536\r\n\r\n", 400},
	"a port alone":                         {"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
	"a bad IPv6 address":                   {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
	"an IPv6 address and more":             {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400},
	"an IPv4 address in brackets":          {"GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", 400},
	"HTTP/1.0 with two Hosts":              {"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400},
	"NUL in a value":                       {"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400},
	"a control character in a value":       {"GET / HTTP/1.1\r\nHost: x\r\nA: b\x1bc\r\n\r\n", 400},
	"DEL in a value":                       {"GET / HTTP/1.1\r\nHost: x\r\nA: \x7f\r\n\r\n", 400},
	"a line without a name":                {"GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", 400},
	"a line without a colon":               {"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400},
	"a blank before the colon":             {"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400},
	"a tab before the colon":               {"GET / HTTP/1.1\r\nHost: x\r\nContent-Length\t: 5\r\n\r\n", 400},
	"a name that is no token":              {"GET / HTTP/1.1\r\nHost: x\r\nA(: b\r\n\r\n", 400},
	"a name above ASCII":                   {"GET / HTTP/1.1\r\nHost: x\r\n\xc3\xa4: b\r\n\r\n", 400},
	"a folded line":                        {"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", 400},
	"a line folded by a tab":               {"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tc\r\n\r\n", 400},
	"a folded first line":                  {"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400},
	"two Sec-WebSocket-Keys":               {"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n\r\n", 400},
	"two Authorizations":                   {"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400},
	"two Content-Types":                    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: a\r\ncontent-type: b\r\n\r\n", 400},
	"a line feed in a head":                {"GET / HTTP/1.1\nHost: x\n\n", 400},
	"one line feed among others":           {"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400},
	"a line feed as the empty line":        {"GET / HTTP/1.1\r\nHost: x\r\n\n", 400},
	"a carriage return in a value":         {"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400},
	"two carriage returns":                 {"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", 400},
	"two empty lines before":               {"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	"a length with a sign":                 {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n", 400},
	"a negative length":                    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400},
	"a hexadecimal length":                 {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n", 400},
	"a list of lengths":                    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n", 400},
	"no length":                            {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400},
	"a length beyond all":                  {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1234567890123456789\r\n\r\n", 413},
	"two lengths":                          {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
	"length and coding":                    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	"another coding":                       {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
	"two codings":                          {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400},
	"chunked twice":                        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	"identity":                             {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 400},
	"a coding with a parameter":            {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;a\r\n\r\n", 400},
	"a vertical tab before a coding":       {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 400},
	"a coding in HTTP/1.0":                 {"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	"a control character in a header name": {"GET / HTTP/1.1\r\nHost: x\r\nA\x01: b\r\n\r\n", 400},
}

// read reads a head as a connection does.
func read(b []byte) (h head, end int, refusal *Refusal) {
	var s scanned
	end, refusal = s.scan(b)
	if end == len(crlf) && refusal == nil {
		b, s = b[end:], scanned{}
		end, refusal = s.scan(b)
	}
	if end == 0 || refusal != nil {
		return head{}, 0, refusal
	}
	h, refusal = parseHead(b[:end])
	return h, end, refusal
}

func TestWellFormedHeadsAreTaken(t *testing.T) {
	for _, text := range wellFormed {
		if _, end, refusal := read([]byte(text + "rest")); refusal != nil || end != len(text) {
			t.Errorf("%q: %v, ends at %d of %d", text, refusal, end, len(text))
		}
	}
}

func TestMalformedHeadsAreRefused(t *testing.T) {
	for name, test := range refusals {
		_, _, refusal := read([]byte(test.head))
		if refusal == nil || refusal.Status != test.status {
			t.Errorf("%s, %q: %+v, want %d", name, test.head, refusal, test.status)
		}
	}
}

func TestBodies(t *testing.T) {
	for _, test := range []struct {
		sent string
		end  int // how far the body goes, -1 if it is refused
	}{
		{"5\r\nhello\r\n0\r\n\r\nGET", 15},
		{"5;a=b\r\nhello\r\n0;c\r\n\r\nGET", 21},
		{"00A\r\n0123456789\r\n0\r\n\r\n", 22},
		{"0\r\n\r\n", 5},
		{"5\nhello\r\n0\r\n\r\n", -1},
		{"5;a\nhello\r\n0\r\n\r\n", -1}, // another reader takes the line feed for a part of the extension
		{"5\rhello\r\n0\r\n\r\n", -1},
		{"5;a\rb\r\nhello\r\n0\r\n\r\n", -1},
		{"5 \r\nhello\r\n0\r\n\r\n", -1},
		{" 5\r\nhello\r\n0\r\n\r\n", -1},
		{"+5\r\nhello\r\n0\r\n\r\n", -1},
		{"0x5\r\nhello\r\n0\r\n\r\n", -1},
		{"-1\r\n", -1},
		{"\r\nhello", -1},
		{";a\r\nhello", -1},
		{"g\r\n", -1},
		{"5\r\nhelloXX0\r\n\r\n", -1},
		{"5\r\nhello\n0\r\n\r\n", -1},
		{"5\r\nhello\r0\r\n\r\n", -1},
		{"0\r\nTrailer: a\r\n\r\n", -1},
		{"0\r\n\n", -1},
		{"0\n\r\n", -1},
		{"0\r\n\rX", -1},
		{"ffffffffffffffffff\r\n", -1},
		{"7fffffffffffffff1\r\n", -1},
		{"5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", -1},
		{strings.Repeat("0", 300) + "5\r\nhello\r\n0\r\n\r\n", -1},
		{"5;\x00\r\nhello\r\n0\r\n\r\n", -1},
	} {
		for size := 1; size <= len(test.sent); size += 3 {
			b, got := newBody(head{chunked: true}), 0
			for got < len(test.sent) && !b.done() {
				n, refusal := b.advance([]byte(test.sent[got:min(len(test.sent), got+size)]))
				if got += n; refusal != nil {
					got = -1
					break
				}
			}
			if got != test.end {
				t.Errorf("%q in reads of %d ends at %d, want %d", test.sent, size, got, test.end)
			}
		}
	}
	b := newBody(head{length: 5})
	if n, _ := b.advance([]byte("hel")); n != 3 || b.done() {
		t.Error("three of five bytes")
	}
	if n, _ := b.advance([]byte("loGET")); n != 2 || !b.done() {
		t.Errorf("the rest has %d bytes", n)
	}
}

// FuzzRequest holds what is taken of a request against net/http's reader: whatever is taken here is a request there, to the
// same path and with the same body, and ends at the same byte.
func FuzzRequest(f *testing.F) {
	for _, text := range wellFormed {
		f.Add([]byte(text + "hello, world"))
		f.Add([]byte(text + "5;a\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n"))
	}
	for _, test := range refusals {
		f.Add([]byte(test.head))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		if bytes.HasPrefix(sent, crlf) {
			return // net/http takes none
		}
		h, end, refusal := read(sent)
		if end == 0 || refusal != nil {
			return
		}
		b := newBody(h)
		length, refusal := b.advance(sent[end:])
		if refusal != nil || !b.done() {
			return
		}
		source := bytes.NewReader(sent[:end+length])
		request, err := http.ReadRequest(bufio.NewReader(source))
		if err != nil {
			if strings.Contains(err.Error(), "invalid") || strings.Contains(err.Error(), "malformed") {
				t.Fatalf("%q is taken, but: %v", sent[:end], err)
			}
			return
		}
		if request.RequestURI == "" || !strings.Contains(request.RequestURI, string(h.path)) {
			t.Fatalf("of %q the path is %q here, %q there", sent[:end], h.path, request.RequestURI)
		}
		got, err := io.ReadAll(request.Body)
		if err != nil {
			t.Fatalf("the body of %q is taken, but: %v", sent[:end+length], err)
		}
		if !h.chunked && int64(len(got)) != h.length {
			t.Fatalf("of %q the body has %d bytes here, %d there", sent[:end], h.length, len(got))
		}
		if rest, _ := io.ReadAll(request.Body); len(rest) > 0 || source.Len() > 0 && h.chunked {
			t.Fatalf("%q ends elsewhere", sent[:end+length])
		}
	})
}

// FuzzScan looks whether a head is read alike however it is cut.
func FuzzScan(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\nrest"), 3)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: x\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, sent []byte, size int) {
		size = max(1, min(size, 64))
		var whole, cut scanned
		end, refusal := whole.scan(sent)
		for have := 0; ; have += size {
			part := sent[:min(have, len(sent))]
			gotEnd, gotRefusal := cut.scan(part)
			if gotEnd != 0 || gotRefusal != nil || len(part) == len(sent) {
				if gotEnd != end || (gotRefusal == nil) != (refusal == nil) {
					t.Fatalf("%q: %d %v whole, %d %v cut", sent, end, refusal, gotEnd, gotRefusal)
				}
				return
			}
		}
	})
}
