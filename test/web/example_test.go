package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"chatting/test/harness"
)

// servePage serves pages and scripts as another host would, and returns its origin.
func servePage(t *testing.T, read func(name string) (string, error)) string {
	t.Helper()
	page := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		name := filepath.Base(request.URL.Path)
		if name == "/" {
			name = "index.html"
		}
		content, err := read(name)
		if err != nil {
			answer.WriteHeader(http.StatusNoContent) // the browser asks for an icon
			return
		}
		if filepath.Ext(name) == ".js" {
			answer.Header().Set("Content-Type", "text/javascript")
		}
		_, _ = answer.Write([]byte(content))
	}))
	t.Cleanup(page.Close)
	return page.URL
}

// startFor starts a server for pages of another host.
func startFor(t *testing.T, origin string) *served {
	t.Helper()
	return startServer(t, "CHATTING_CHAT_OFFLINE=store", "CHATTING_WEBSOCKET_ALLOWED_ORIGINS="+origin, "CHATTING_HTTP_CORS_ORIGINS="+origin)
}

// The lines of the README make a chat of an empty page.
func TestTheLinesOfTheReadmeChat(t *testing.T) {
	b := startBrowser(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(readme), "```html\n")
	lines, _, _ = strings.Cut(lines, "```")
	var s *served
	origin := servePage(t, func(name string) (string, error) {
		if name != "index.html" {
			return "", os.ErrNotExist
		}
		return strings.NewReplacer("127.0.0.1:8000", s.HTTP, "TOKEN", s.token("1")).Replace(lines), nil
	})
	s = startFor(t, origin)
	two, err := harness.Connect(s.HTTP, s.token("2"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(two.Close)
	one := b.open("one", origin, s.HTTP)
	one.until("it shows what it has sent", `document.body.innerText.trim() === "1: hello"`)
}

// The example is a page of another host, as those of users are: it loads the client from the server, and talks to it.
func TestTheExampleForBrowsersTalks(t *testing.T) {
	b := startBrowser(t)
	var s *served
	origin := servePage(t, func(name string) (string, error) {
		content, err := os.ReadFile(filepath.Join("..", "..", "docs", "examples", "browser", name))
		return strings.ReplaceAll(string(content), "127.0.0.1:8000", s.HTTP), err
	})
	s = startFor(t, origin)
	one := b.open("one", origin+"/#"+s.token("1"), s.HTTP)
	two := b.open("two", origin+"/#"+s.token("2"), s.HTTP)
	for _, w := range []*window{one, two} {
		w.until("it is online", `document.querySelector("#state").textContent === "online"`)
	}
	say := func(w *window, to, text string) {
		t.Helper()
		w.run("saying "+text, chromedp.SendKeys(chromedp.CSS("#to"), to), chromedp.SendKeys(chromedp.CSS("#text"), text+kb.Enter))
	}
	say(one, "2", "<b>hello</b>")
	shows := func(w *window, lines string) {
		t.Helper()
		w.until("it shows "+lines, `[...document.querySelectorAll("#messages li")].map((item) => item.textContent).join("|") === "`+lines+`"`)
	}
	shows(one, "to 2: <b>hello</b>")
	shows(two, "1: <b>hello</b>")

	// Another page, and back: the page takes up where it stopped. What came meanwhile is there, once, and nothing else.
	two.run("leaving", chromedp.Navigate("about:blank"))
	say(one, "", "are you there?")
	shows(one, "to 2: <b>hello</b>|to 2: are you there?")
	two.run("coming back", chromedp.Navigate(origin+"/#"+s.token("2")))
	shows(two, "1: are you there?")
}
