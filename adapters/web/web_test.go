package web

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"

	"chatting/test/apptest"
)

// get asks an app with the page for a path; headers are "Name: value".
func get(t *testing.T, app *fiber.App, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	return apptest.Ask(t, app, method, path, headers...)
}

func newApp(t *testing.T, options Options) *fiber.App {
	t.Helper()
	site, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true, ReduceMemoryUsage: true})
	site.Mount(app)
	return app
}

func TestEveryFileIsServedAsItIs(t *testing.T) {
	app := newApp(t, Options{})
	for _, entry := range served {
		want, err := fs.ReadFile(files, entry.file)
		if err != nil {
			t.Fatal(err)
		}
		response, body := get(t, app, "GET", entry.path)
		if response.StatusCode != 200 || body != string(want) || response.Header.Get("Content-Type") != entry.mediaType || response.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %v, %d bytes", entry.path, response.StatusCode, response.Header, len(body))
		}
		for name, value := range map[string]string{
			"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Vary": "Accept-Encoding, Origin",
		} {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q, want %q", entry.path, name, got, value)
			}
		}
		response, body = get(t, app, "HEAD", entry.path)
		if response.StatusCode != 200 || body != "" || response.ContentLength != int64(len(want)) {
			t.Errorf("HEAD %s: %d, %d bytes announced", entry.path, response.StatusCode, response.ContentLength)
		}
	}
}

func TestEveryFileInThePageFolderIsServed(t *testing.T) {
	listed := map[string]bool{}
	for _, entry := range served {
		listed[entry.file] = true
	}
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !listed[path] {
			t.Errorf("%s is not served", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestThePageRunsNothingButItsOwnScript(t *testing.T) {
	response, body := get(t, newApp(t, Options{}), "GET", "/")
	policy := response.Header.Get("Content-Security-Policy")
	for _, part := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "base-uri 'none'",
		"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
	} {
		if !strings.Contains(policy+";", part+";") {
			t.Errorf("the policy lacks %q: %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %s", policy)
	}
	for name, value := range map[string]string{"X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin"} {
		if got := response.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if !strings.Contains(response.Header.Get("Permissions-Policy"), "camera=()") {
		t.Error("the page may ask for a camera")
	}
	if found := regexp.MustCompile(`<script>|<style|\son\w+=|\sstyle=|javascript:|https?://`).FindString(body); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// What makes HTML or code of text has no place in a page that shows what strangers write.
func TestNoScriptMakesHTMLOrCodeOfText(t *testing.T) {
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|createContextualFragment|setHTML|srcdoc|https?://[^\s"]*\.`)
	for _, entry := range served {
		if !strings.HasSuffix(entry.file, ".js") {
			continue
		}
		content, err := fs.ReadFile(files, entry.file)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(content), "\n") {
			if comment := strings.HasPrefix(strings.TrimSpace(line), "*") || strings.HasPrefix(strings.TrimSpace(line), "//"); comment {
				continue
			}
			if found := forbidden.FindString(line); found != "" {
				t.Errorf("%s:%d has %q", entry.file, number+1, found)
			}
		}
	}
}

func TestOtherFilesRunNothingWhenTheyAreOpened(t *testing.T) {
	for _, path := range []string{"/favicon.svg", "/client.js", "/client.d.ts"} {
		response, _ := get(t, newApp(t, Options{}), "GET", path)
		if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "sandbox") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
	}
}

func TestThePageKnowsWhetherItMayMakeUsers(t *testing.T) {
	for _, trial := range []bool{false, true} {
		_, body := get(t, newApp(t, Options{Trial: trial}), "GET", "/")
		if got := strings.Contains(body, "<html data-trial lang="); got != trial {
			t.Errorf("trial is %t, and the page says %t", trial, got)
		}
	}
}

func TestWhatIsNotServedIsUnknown(t *testing.T) {
	app := newApp(t, Options{})
	for _, path := range []string{"/page", "/page/", "/page/index.html", "/page/../page/page.js/x", "/client", "/client/client.js", "/client/package.json", "/web.go"} {
		if response, _ := get(t, app, "GET", path); response.StatusCode != 404 {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
	}
	if response, _ := get(t, app, "POST", "/"); response.StatusCode != 405 {
		t.Errorf("POST /: %d", response.StatusCode)
	}
}

// maxTransfer is what a first visit may cost, compressed as every browser asks for it.
const maxTransfer = 60_000

func TestThePageIsSmall(t *testing.T) {
	app := newApp(t, Options{Trial: true})
	transfer, plain := 0, 0
	for _, f := range served {
		if !strings.HasSuffix(f.path, ".d.ts") { // no page loads it
			_, zipped := get(t, app, "GET", f.path, "Accept-Encoding: gzip")
			_, whole := get(t, app, "GET", f.path)
			transfer, plain = transfer+len(zipped), plain+len(whole)
		}
	}
	t.Logf("a first visit transfers %d bytes, which are %d", transfer, plain)
	if transfer > maxTransfer {
		t.Errorf("a first visit transfers %d bytes, at most %d are wanted", transfer, maxTransfer)
	}
}
