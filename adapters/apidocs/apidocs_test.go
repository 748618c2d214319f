package apidocs

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"

	"chatting/docs"
	"chatting/test/apptest"
)

// served are the paths with the files that they serve and their content types.
var served = map[string][2]string{
	"/docs":          {"api.html", "text/html; charset=utf-8"},
	"/docs/":         {"api.html", "text/html; charset=utf-8"},
	"/openapi.yaml":  {"openapi.yaml", "application/yaml"},
	"/asyncapi.yaml": {"asyncapi.yaml", "application/yaml"},
	"/clients.md":    {"clients.md", "text/plain; charset=utf-8"},
	"/protocol.md":   {"protocol.md", "text/plain; charset=utf-8"},
	"/events.md":     {"events.md", "text/plain; charset=utf-8"},
	"/schemas/chat_message.v1.json": {
		"schemas/chat_message.v1.json", "application/schema+json",
	},
	"/schemas/cloudevent.json": {"schemas/cloudevent.json", "application/schema+json"},
}

// mounted returns the app that all tests ask.
var mounted = sync.OnceValues(func() (*fiber.App, error) {
	app := fiber.New()
	return app, Mount(app)
})

// ask makes a request and returns the answer with its whole body.
func ask(t *testing.T, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	app, err := mounted()
	if err != nil {
		t.Fatal(err)
	}
	return apptest.Ask(t, app, method, path, headers...)
}

func fileOf(t *testing.T, name string) string {
	t.Helper()
	content, err := docs.Files.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestEachDocumentIsServedAsItIs(t *testing.T) {
	for path, want := range served {
		response, body := ask(t, http.MethodGet, path)
		if response.StatusCode != http.StatusOK || body != fileOf(t, want[0]) || response.Header.Get("Content-Type") != want[1] {
			t.Errorf("%s: %d, %d bytes of %s", path, response.StatusCode, len(body), response.Header.Get("Content-Type"))
		}
		if got := response.Header.Get("Content-Encoding"); got != "" {
			t.Errorf("%s: encoded as %s, which nobody asked for", path, got)
		}
		head, none := ask(t, http.MethodHead, path)
		if head.StatusCode != http.StatusOK || none != "" || head.ContentLength != int64(len(body)) {
			t.Errorf("HEAD %s: %d, %q, %d bytes announced of %d", path, head.StatusCode, none, head.ContentLength, len(body))
		}
		for _, name := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control", "Vary", "Etag"} {
			if response.Header.Get(name) == "" || response.Header.Get(name) != head.Header.Get(name) {
				t.Errorf("%s: %s is %q, and for HEAD %q", path, name, response.Header.Get(name), head.Header.Get(name))
			}
		}
	}
}

func TestASchemaIsServedByItsIDAndSoAreThoseItRefersTo(t *testing.T) {
	schemas, err := docs.Files.ReadDir("schemas")
	if err != nil {
		t.Fatal(err)
	}
	for _, schema := range schemas {
		response, body := ask(t, http.MethodGet, "/schemas/"+schema.Name())
		var content struct {
			ID string `json:"$id"`
		}
		if err := json.Unmarshal([]byte(body), &content); err != nil || response.StatusCode != http.StatusOK {
			t.Errorf("%s: %d, %v", schema.Name(), response.StatusCode, err)
		}
		if content.ID != schema.Name() {
			t.Errorf("%s: its $id, which counts from its own address, leads to %s", schema.Name(), content.ID)
		}
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, path := range []string{"/", "/api.html", "/docs/api.html", "/schemas", "/schemas/", "/schemas/x.json", "/schemas/../openapi.yaml", "/embed.go", "/schemas/examples"} {
		if response, _ := ask(t, http.MethodGet, path); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
	if response, _ := ask(t, http.MethodPost, "/docs"); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", response.StatusCode)
	}
}

func TestThePolicyAllowsThePagesOwnStyleAndNothingElse(t *testing.T) {
	response, body := ask(t, http.MethodGet, "/docs")
	_, rest, _ := strings.Cut(body, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	digest := sha256.Sum256([]byte(style))
	want := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'sha256-" +
		base64.StdEncoding.EncodeToString(digest[:]) + "'"
	if got := response.Header.Get("Content-Security-Policy"); got != want || style == "" {
		t.Errorf("the policy is %q", got)
	}
	if strings.Count(body, "<style") != 1 {
		t.Error("the page has several style sheets, and the policy allows one")
	}
}
