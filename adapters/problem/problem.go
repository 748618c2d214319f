// Package problem makes the answers that refuse a request over HTTP: problem details (RFC 9457) with a code. All adapters that
// refuse requests use it, except for bodies that the contract names, so no refusal lacks a code.
package problem

import (
	"net/http"
	"strconv"
	"time"

	"chatting/domain"
)

// The codes of refusals that are HTTP's own. The codes of the domain are sent as they are.
const (
	BadRequest          domain.Code = "bad_request"            // 400: the request is malformed or ambiguous
	Forbidden           domain.Code = "forbidden"              // 403: the caller may not do this
	OriginNotAllowed    domain.Code = "origin_not_allowed"     // 403: pages of this origin may not open a socket
	NotFound            domain.Code = "not_found"              // 404: no route has the path
	MethodNotAllowed    domain.Code = "method_not_allowed"     // 405: the path has no such method
	RequestTimeout      domain.Code = "request_timeout"        // 408: the request did not arrive in time
	BodyTooLong         domain.Code = "body_too_long"          // 413: the body is above http.body_limit
	UnsupportedMedia    domain.Code = "unsupported_media_type" // 415: the body is neither JSON nor a form
	UpgradeRequired     domain.Code = "upgrade_required"       // 426: the path is for WebSocket connections
	HeadTooLong         domain.Code = "head_too_long"          // 431: the request line and headers are too long
	VersionNotSupported domain.Code = "version_not_supported"  // 505: neither HTTP/1.1 nor HTTP/1.0
)

// codes are the codes of statuses of which no more is known. Each code above but OriginNotAllowed is here.
var codes = map[int]domain.Code{
	http.StatusBadRequest:                  BadRequest,
	http.StatusUnauthorized:                domain.CodeUnauthenticated,
	http.StatusForbidden:                   Forbidden,
	http.StatusNotFound:                    NotFound,
	http.StatusMethodNotAllowed:            MethodNotAllowed,
	http.StatusRequestTimeout:              RequestTimeout,
	http.StatusRequestEntityTooLarge:       BodyTooLong,
	http.StatusUnsupportedMediaType:        UnsupportedMedia,
	http.StatusUpgradeRequired:             UpgradeRequired,
	http.StatusTooManyRequests:             domain.CodeRateLimited,
	http.StatusRequestHeaderFieldsTooLarge: HeadTooLong,
	http.StatusInternalServerError:         domain.CodeInternal,
	http.StatusServiceUnavailable:          domain.CodeUnavailable,
	http.StatusHTTPVersionNotSupported:     VersionNotSupported,
}

// CodeOf returns the code of a status of which no more is known: CodeInternal for an unknown status from 500 on, BadRequest for
// another.
func CodeOf(status int) domain.Code {
	if code, ok := codes[status]; ok {
		return code
	}
	if status >= http.StatusInternalServerError {
		return domain.CodeInternal
	}
	return BadRequest
}

// MediaType is that of Details.
const MediaType = "application/problem+json"

// Details are the body of a refusal. Type is about:blank: Code tells problems apart, and Title is the status's own. Detail is a
// sentence for people.
type Details struct {
	Type   string      `json:"type"`
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Code   domain.Code `json:"code"`
}

// Of returns the details of a refusal of which no more is known than its status.
func Of(status int, detail string) Details { return New(status, CodeOf(status), detail) }

// New returns the details of a refusal.
func New(status int, code domain.Code, detail string) Details {
	return Details{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// MediaType returns the media type of the details, and of a body that embeds them.
func (Details) MediaType() string { return MediaType }

// RetryAfter returns the value of a Retry-After header: whole seconds, rounded up.
func RetryAfter(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
