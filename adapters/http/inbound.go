package rest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"golang.org/x/time/rate"
)

// shortBody is how long a body may be without any condition: several times what users send, which are numbers and ids.
const shortBody = 16 << 10

// longBodies bounds the memory of long bodies in sum. The HTTP server allocates a body as soon as its length is announced,
// and nothing tells when it is done with it. But no body lives longer than its reading, its work and its answer may take. So
// it is enough to bound how many bytes are begun within that time.
//
// The platform's servers, whose system messages may be long, have one half for themselves. So nobody who has no token can
// keep them out.
type longBodies struct {
	platform, others *rate.Limiter // nil for no bound
	token            [sha256.Size]byte
	anyToken         bool // none is configured: see fromServers
	longest          int
}

func newLongBodies(o Options) *longBodies {
	l := &longBodies{token: sha256.Sum256([]byte(o.S2SToken)), anyToken: o.S2SToken == "", longest: o.BodyLimit}
	if o.InboundBytes > 0 {
		life := o.ReadTimeout + o.RequestTimeout + o.WriteTimeout
		share := max(o.InboundBytes/2, o.BodyLimit)
		perSecond := rate.Limit(float64(share) / life.Seconds())
		l.platform, l.others = rate.NewLimiter(perSecond, share), rate.NewLimiter(perSecond, share)
	}
	return l
}

// configure is called for each request once its head was read, before its body is. A long body for which there is no room is
// refused as too long for now: see refusedForRoom.
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
	return fasthttp.RequestConfig{MaxRequestBodySize: min(shortBody, l.longest)}
}

// chunked is the length that fasthttp gives a body of which it does not know it.
const chunked = -1

// refusedForRoom tells why a body was refused as too long: because there was no room, if its announced length is allowed.
func (l *longBodies) refusedForRoom(header *fasthttp.RequestHeader) bool {
	length := header.ContentLength()
	return length > shortBody && length <= l.longest
}

// fromPlatform tells whether a request is one of the platform's servers, by its path and its token.
func (l *longBodies) fromPlatform(header *fasthttp.RequestHeader) bool {
	if !bytes.HasPrefix(header.RequestURI(), []byte("/s2sapi/")) {
		return false
	}
	token, _ := bearer(string(header.Peek(fiber.HeaderAuthorization)))
	got := sha256.Sum256([]byte(token))
	return l.anyToken || subtle.ConstantTimeCompare(got[:], l.token[:]) == 1
}
