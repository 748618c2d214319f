package rest

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"
)

// shortBody is how long a body may always be: several times what users send, which are numbers and ids.
const shortBody = 16 << 10

// longBodies bounds the memory of all long bodies together. The HTTP server allocates a body as soon as its length is announced,
// and nothing tells when it frees it. But no body lives longer than its reading, its work and its answer may take. So it is
// enough to bound how many bytes are begun within that time.
//
// The platform's servers, whose system messages may be long, have one half for themselves: nobody without a token can keep
// them out.
type longBodies struct {
	platform, others *rate.Limiter // nil for no bound
	token            s2sToken
	longest          int
	refused          atomic.Uint64
}

func newLongBodies(o Options, token s2sToken) *longBodies {
	l := &longBodies{token: token, longest: o.BodyLimit}
	if o.InboundBytes > 0 {
		life := o.ReadTimeout + o.RequestTimeout + o.WriteTimeout
		share := max(o.InboundBytes/2, o.BodyLimit)
		perSecond := rate.Limit(float64(share) / life.Seconds())
		l.platform, l.others = rate.NewLimiter(perSecond, share), rate.NewLimiter(perSecond, share)
	}
	return l
}

// configure is called for each request between its head and its body. A long body for which there is no room is refused as too
// long: see refusedForRoom.
func (l *longBodies) configure(header *fasthttp.RequestHeader) fasthttp.RequestConfig {
	length := header.ContentLength()
	if length == chunked {
		length = l.longest // unknown, until it was read
	}
	if length <= shortBody || length > l.longest {
		return fasthttp.RequestConfig{MaxRequestBodySize: min(max(length, shortBody), l.longest)}
	}
	limiter := l.others
	if l.fromPlatform(header) {
		limiter = l.platform
	}
	if limiter == nil || limiter.AllowN(time.Now(), length) {
		return fasthttp.RequestConfig{MaxRequestBodySize: l.longest}
	}
	l.refused.Add(1)
	return fasthttp.RequestConfig{MaxRequestBodySize: min(shortBody, l.longest)}
}

// chunked is what fasthttp returns for an unknown length.
const chunked = -1

// refusedForRoom tells whether a body that was refused as too long had an allowed length, but no room.
func (l *longBodies) refusedForRoom(header *fasthttp.RequestHeader) bool {
	length := header.ContentLength()
	return length > shortBody && length <= l.longest
}

// fromPlatform tells, by its path and its token, whether a request is from the platform's servers. If no token is configured, the
// path is enough: see serverGate.
func (l *longBodies) fromPlatform(header *fasthttp.RequestHeader) bool {
	if !bytes.HasPrefix(header.RequestURI(), []byte("/s2sapi/")) {
		return false
	}
	return !l.token.isSet || l.token.isIn(string(header.Peek(fiber.HeaderAuthorization)))
}
