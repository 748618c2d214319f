// Package asset sends files that do not change while the program runs: with entity tags, so that a browser downloads a file
// once, and compressed for clients that take it so. Adapters that serve pages and documents share it.
package asset

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
)

// File is a file as it is sent. It does not change.
type File struct {
	mediaType    string
	headers      map[string]string
	plain        []byte
	compressed   func() []byte // made when the first client asks for it
	tag, gzipTag string        // strong entity tags, with their quotes; the bytes differ, so they do
}

// New returns a file. Each answer has the headers, and some that hold for every file: its type is not guessed, its address is
// passed to nobody. Neither content nor headers may be changed afterwards.
func New(content []byte, mediaType string, headers map[string]string) *File {
	sum := sha256.Sum256(content)
	name := base64.RawURLEncoding.EncodeToString(sum[:12])
	return &File{
		mediaType: mediaType, headers: headers, plain: content,
		compressed: sync.OnceValue(func() []byte { return compress(content) }),
		tag:        `"` + name + `"`, gzipTag: `"` + name + `-gzip"`,
	}
}

// compress returns content in the coding gzip. Writing to memory does not fail.
func compress(content []byte) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is a good one
	_, _ = w.Write(content)
	_ = w.Close()
	return out.Bytes()
}

// Serve answers a GET or HEAD. Browsers ask each time whether their copy is good, so that a new version of the server is seen at
// once; a good copy costs no body.
func (f *File) Serve(c *fiber.Ctx) error {
	zipped, tag := acceptsGzip(c.Request().Header.PeekAll(fiber.HeaderAcceptEncoding)), f.tag
	if zipped {
		tag = f.gzipTag
	}
	c.Set(fiber.HeaderVary, "Accept-Encoding, Origin") // Origin for the CORS headers, which are added later
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set(fiber.HeaderETag, tag)
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	for name, value := range f.headers {
		c.Set(name, value)
	}
	if knows(c.Request().Header.PeekAll(fiber.HeaderIfNoneMatch), f.tag, f.gzipTag) {
		return c.Status(http.StatusNotModified).Send(nil)
	}
	c.Response().Header.SetContentType(f.mediaType)
	body := f.plain
	if zipped {
		c.Set(fiber.HeaderContentEncoding, "gzip")
		body = f.compressed()
	}
	c.Response().SetBodyRaw(body) // not copied: many clients may read it slowly
	return nil
}

// knows tells whether If-None-Match headers name one of the tags (RFC 9110 §13.1.2). The comparison is the weak one, and both
// forms of a file have the same content, so either will do.
func knows(lines [][]byte, tags ...string) bool {
	for _, line := range lines {
		for named := range strings.SplitSeq(string(line), ",") {
			named = strings.TrimPrefix(strings.Trim(named, " \t"), "W/")
			if named == "*" {
				return true
			}
			for _, tag := range tags {
				if named == tag {
					return true
				}
			}
		}
	}
	return false
}

// acceptsGzip tells whether Accept-Encoding headers name gzip (or any coding), and do not refuse it with a weight of 0.
func acceptsGzip(lines [][]byte) bool {
	anything := false
	for _, line := range lines {
		for entry := range strings.SplitSeq(string(line), ",") {
			coding, parameters, _ := strings.Cut(entry, ";")
			accepted := !isZero(parameters)
			switch strings.ToLower(strings.Trim(coding, " \t")) {
			case "gzip", "x-gzip":
				return accepted
			case "*":
				anything = accepted
			}
		}
	}
	return anything
}

// isZero tells whether the parameters of an entry say q=0, with up to three decimals.
func isZero(parameters string) bool {
	name, weight, _ := strings.Cut(strings.Trim(parameters, " \t"), "=")
	return strings.EqualFold(name, "q") && strings.HasPrefix(weight, "0") && strings.Trim(weight, "0.") == ""
}
