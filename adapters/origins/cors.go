package origins

import (
	"slices"
	"strings"
)

// CORS tells browsers which pages may read the answers to their requests (the CORS protocol of the Fetch standard). A nil CORS
// tells nothing, so that only pages of the server's own host may.
type CORS struct {
	allowed Set
	headers string
}

// Header is a header of an answer.
type Header struct{ Name, Value string }

// requestHeaders are those that pages may send, beside the ones that the Fetch standard lets every page send: what the API reads,
// and what libraries for HTTP requests and for traces add by themselves.
var requestHeaders = []string{
	"Authorization", "Content-Type", "X-Requested-With", "X-CSRFToken", "traceparent", "tracestate", "baggage",
}

const (
	requestMethods = "GET,HEAD,POST,PUT,DELETE"
	// exposed are the headers of answers that pages may read.
	exposed = "Retry-After, WWW-Authenticate, Allow"
	// preflightAge is for how many seconds a browser need not ask again.
	preflightAge = "600"
	vary         = "Origin"
	varyAsked    = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)

// NewCORS returns the CORS of pages of the origins (see NewSet), which may send further headers; nil if there are no origins.
func NewCORS(origins, headers []string) (*CORS, error) {
	if len(origins) == 0 {
		return nil, nil //nolint:nilnil // nil is CORS that is off
	}
	allowed, err := NewSet(origins)
	if err != nil {
		return nil, err
	}
	return &CORS{allowed: allowed, headers: strings.Join(slices.Concat(requestHeaders, headers), ", ")}, nil
}

// IsForServers tells whether a path is for the platform's servers. No page has any business there, so CORS is not for it.
func IsForServers(path string) bool { return path == "/s2sapi" || strings.HasPrefix(path, "/s2sapi/") }

// Allows tells whether a page may read the answer to a request with these Origin headers. A request has one; browsers send no
// more, so a request with several is nobody's.
func (c *CORS) Allows(originHeaders [][]byte) bool {
	return c != nil && len(originHeaders) == 1 && c.allowed.Has(string(originHeaders[0]))
}

// Headers returns those of the answer to a request with these Origin headers. All answers have them, errors too, but those of
// IsForServers.
func (c *CORS) Headers(originHeaders [][]byte) []Header {
	if c == nil {
		return nil
	}
	return c.answer(originHeaders, vary, Header{"Access-Control-Expose-Headers", exposed})
}

// Preflight returns the headers of the answer to a browser that asks whether a page may make a request. privateNetwork tells
// that the page is of a more public network than the server.
func (c *CORS) Preflight(originHeaders [][]byte, privateNetwork bool) []Header {
	if c == nil {
		return nil
	}
	more := []Header{
		{"Access-Control-Allow-Methods", requestMethods},
		{"Access-Control-Allow-Headers", c.headers},
		{"Access-Control-Max-Age", preflightAge},
	}
	if privateNetwork {
		more = append(more, Header{"Access-Control-Allow-Private-Network", "true"})
	}
	return c.answer(originHeaders, varyAsked, more...)
}

func (c *CORS) answer(originHeaders [][]byte, vary string, more ...Header) []Header {
	headers := []Header{{"Vary", vary}}
	if !c.Allows(originHeaders) {
		return headers
	}
	origin := string(originHeaders[0]) // as it was sent, because browsers compare it letter by letter
	if c.allowed.all {
		origin = Any
	}
	return append(append(headers, Header{"Access-Control-Allow-Origin", origin}), more...)
}
