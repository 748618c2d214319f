package asset

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"chatting/test/apptest"
)

var content = strings.Repeat("A file that does not change. ", 100)

// newApp returns an app that serves content.
func newApp() *fiber.App {
	app := fiber.New()
	app.Get("/file", New([]byte(content), "text/plain; charset=utf-8", map[string]string{"X-Frame-Options": "DENY"}).Serve)
	return app
}

// ask asks an app for the file; headers are "Name: value".
func ask(t *testing.T, app *fiber.App, method string, headers ...string) (*http.Response, string) {
	t.Helper()
	return apptest.Ask(t, app, method, "/file", headers...)
}

func TestEachAnswerHasTheHeaders(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		response, body := ask(t, newApp(), method)
		for name, want := range map[string]string{
			"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Vary": "Accept-Encoding, Origin",
		} {
			if got := response.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", method, name, got)
			}
		}
		if (body == content) != (method == http.MethodGet) || response.ContentLength != int64(len(content)) {
			t.Errorf("%s: %d bytes of %d", method, len(body), response.ContentLength)
		}
	}
}

func TestACopyThatIsGoodIsNotSentAgain(t *testing.T) {
	app := newApp()
	plain, _ := ask(t, app, http.MethodGet)
	zipped, _ := ask(t, app, http.MethodGet, "Accept-Encoding: gzip")
	tag, zippedTag := plain.Header.Get("ETag"), zipped.Header.Get("ETag")
	if tag == "" || tag == zippedTag {
		t.Fatalf("the tags are %s and %s", tag, zippedTag)
	}
	for header, want := range map[string]int{
		tag: 304, zippedTag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304,
		`"x"`: 200, strings.Trim(tag, `"`): 200, "": 200, ",": 200, tag[:5]: 200,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			response, body := ask(t, app, method, "If-None-Match: "+header)
			if response.StatusCode != want || (want == 200 && method == http.MethodGet) != (body != "") ||
				response.Header.Get("ETag") != tag || response.Header.Get("X-Frame-Options") == "" {
				t.Errorf("%s, If-None-Match %s: %d with %d bytes, %v", method, header, response.StatusCode, len(body), response.Header)
			}
			if want == 304 && (response.Header.Get("Content-Type") != "" || response.Header.Get("Content-Encoding") != "") {
				t.Errorf("If-None-Match %s: an answer without a body says %v of it", header, response.Header)
			}
		}
	}
	// Two lines are one list.
	if response, _ := ask(t, app, http.MethodGet, `If-None-Match: "x"`, "If-None-Match: "+tag); response.StatusCode != 304 {
		t.Errorf("on a second line: %d", response.StatusCode)
	}
}

func TestAFileIsCompressedForWhoeverAsksForIt(t *testing.T) {
	app := newApp()
	for header, zipped := range map[string]bool{
		"gzip": true, "GZIP": true, "br, gzip;q=0.5": true, "*": true, "x-gzip": true, "gzip;q=1.0": true, "identity;q=0, *;q=0.1": true,
		"gzip ; q=0.001": true,
		"":               false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false, "*;q=0": false, "*, gzip;q=0": false, "gzipped": false,
		"identity": false, ";;q,,": false,
	} {
		response, body := ask(t, app, http.MethodGet, "Accept-Encoding: "+header)
		if got := response.Header.Get("Content-Encoding"); (got == "gzip") != zipped {
			t.Errorf("%q: the encoding is %q", header, got)
			continue
		}
		if zipped {
			reader, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Errorf("%q: %v", header, err)
				continue
			}
			unzipped, err := io.ReadAll(reader)
			if err != nil || len(body) > len(unzipped)/2 {
				t.Errorf("%d bytes become %d: %v", len(unzipped), len(body), err)
			}
			body = string(unzipped)
		}
		if body != content {
			t.Errorf("%q: another content, of %d bytes", header, len(body))
		}
	}
}

func FuzzHeadersOfRequests(f *testing.F) {
	for _, seed := range []string{"gzip", "gzip;q=0", "*;q=0.5, br", `"a", W/"b"`, "*", ";;,,", "q=0", `W/W/"tag"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		lines := [][]byte{[]byte(header)}
		lower := strings.ToLower(header)
		if acceptsGzip(lines) && !strings.Contains(lower, "gzip") && !strings.Contains(lower, "*") {
			t.Errorf("%q accepts gzip", header)
		}
		if knows(lines, `"tag"`) && !strings.Contains(header, `"tag"`) && !strings.Contains(header, "*") {
			t.Errorf("%q knows the tag", header)
		}
		if !knows(append(lines, []byte(`"tag"`)), `"tag"`) {
			t.Errorf("%q with the tag behind it does not know it", header)
		}
	})
}
