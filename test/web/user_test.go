package web

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"chatting/test/harness"
)

// served is a server with everything inside.
type served struct {
	*harness.Node

	t        *testing.T
	page     string // its address
	settings []string
}

// startServer starts a server: a trial server, unless there are more settings that say otherwise.
func startServer(t *testing.T, more ...string) *served {
	t.Helper()
	dir := t.TempDir()
	settings := append([]string{"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + dir}, more...)
	node := harness.StartNode(t, dir, settings...)
	return &served{Node: node, t: t, page: "http://" + node.HTTP + "/", settings: settings}
}

// token returns a token of a user.
func (s *served) token(user string) string {
	s.t.Helper()
	return token(s.t, s.settings, user)
}

// become makes the window a new user of a trial server, and returns the user's number.
func (w *window) become() string {
	w.b.t.Helper()
	w.click("#become")
	return w.connected()
}

// openAs opens a window of a person who has a token, and signs in with it.
func (b *browser) openAs(name, page, token string) *window {
	b.t.Helper()
	w := b.open(name, page+"#token="+token)
	w.click("#ask-yes")
	return w
}

// asks waits until the page asks whether to use the token in its address, with the focus on the button that does.
func (w *window) asks(question string) {
	w.b.t.Helper()
	w.until("it asks "+question, fmt.Sprintf(`document.querySelector("#ask").open && document.querySelector("#ask-title").textContent === %q && document.activeElement.id === "ask-yes"`, question))
}

// connected waits until the page is logged in, and returns the user's number.
func (w *window) connected() string {
	w.b.t.Helper()
	w.until("it is connected", `document.querySelector("#state-text").textContent === "Connected"`)
	return strings.TrimPrefix(w.text("#me"), "User ")
}

// begin opens the chat with a user by number.
func (w *window) begin(user string) {
	w.b.t.Helper()
	w.click("#tab-chats")
	w.submit(user)
	w.until("the chat is open", fmt.Sprintf(`document.querySelector("#partner").textContent === "User %s"`, user))
}

// submit types a number into the form above the lists and sends it.
func (w *window) submit(user string) {
	w.b.t.Helper()
	w.run("typing a number", chromedp.Evaluate[chromedp.Void](`document.querySelector("#start-id").value = ""`), chromedp.SendKeys(chromedp.CSS("#start-id"), user+kb.Enter))
}

// say writes a message and sends it with the enter key.
func (w *window) say(text string) {
	w.b.t.Helper()
	w.run("writing", chromedp.SendKeys(chromedp.CSS("#text"), text), pressEnter)
}

// pressEnter presses the key as browsers tell it: without the text of a key whose default was prevented.
var pressEnter = command(input.DispatchKeyEvent, input.DispatchKeyEventParams{
	Type: input.DispatchKeyEventTypeKeyDown, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13, Text: "\r",
})

// messages returns the texts of the messages in the open chat.
func (w *window) messages() []string {
	w.b.t.Helper()
	return eval[[]string](w, `[...document.querySelectorAll("#messages .msg .bubble:not(.offer)")].map(b => b.textContent)`)
}

// sees waits until the open chat shows a message so many times.
func (w *window) sees(text string, times int) {
	w.b.t.Helper()
	wanted, err := json.Marshal(text)
	if err != nil {
		w.b.t.Fatal(err)
	}
	w.until(fmt.Sprintf("%q is shown %d times", text, times),
		fmt.Sprintf(`[...document.querySelectorAll("#messages .msg .bubble")].filter(b => b.textContent === %s).length === %d`, wanted, times))
}

// accessible fails the test if axe-core finds anything.
func (w *window) accessible(view string) {
	w.b.t.Helper()
	file := os.Getenv("CHATTING_TEST_AXE")
	if file == "" {
		w.b.t.Skip("CHATTING_TEST_AXE is not set: this needs axe-core (test/web/install)")
	}
	script, err := os.ReadFile(file)
	if err != nil {
		w.b.t.Fatal(err)
	}
	w.run("loading axe-core", chromedp.Evaluate[chromedp.Void](string(script)+"; 0"))
	for _, found := range eval[[]string](w, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
		.then(result => result.violations.flatMap(v => v.nodes.map(n => v.id + ": " + v.help + "\n  " + n.html + "\n  " + n.failureSummary)))`) {
		w.b.t.Errorf("%s, %s: %s", w.name, view, found)
	}
	if width := eval[int](w, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); width > 0 {
		w.b.t.Errorf("%s, %s: it is %d pixels too wide", w.name, view, width)
	}
}
