package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"chatting/test/harness"
)

const hookToken = "the-token-of-the-hook"

// textHook is a platform that decides about texts: what begins with "no" is refused, "bad" becomes "***", the rest passes.
type textHook struct {
	addr string
	held chan struct{} // until it is closed, "slow" has no answer
	came chan struct{} // gets one for each "slow"

	mu    sync.Mutex
	asked []string
	stern bool // refuses everything
}

func startHook(t *testing.T) *textHook {
	t.Helper()
	h := &textHook{held: make(chan struct{}), came: make(chan struct{}, 100)}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.addr = server.URL
	return h
}

func (h *textHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var question struct {
		ID, Text, At string
		From, To     int64
	}
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &question) != nil || question.At == "" || r.Header.Get("Authorization") != "Bearer "+hookToken {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	h.asked = append(h.asked, fmt.Sprint(question.From, " to ", question.To, ": ", question.Text))
	stern := h.stern
	h.mu.Unlock()
	if question.Text == "slow" {
		h.came <- struct{}{}
		select {
		case <-h.held:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	switch {
	case stern || strings.HasPrefix(question.Text, "no"):
		io.WriteString(w, `{"action":"refuse","reason":"Not here."}`)
	case strings.Contains(question.Text, "bad"):
		json.NewEncoder(w).Encode(map[string]string{"action": "rewrite", "text": strings.ReplaceAll(question.Text, "bad", "***")})
	default:
		io.WriteString(w, `{"action":"pass"}`)
	}
}

func (h *textHook) wasAsked() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.asked, "\n")
}

func (h *textHook) refuseAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stern = true
}

// startHooked starts a server that asks a hook, and waits for it longer than a test may take.
func startHooked(t *testing.T, dir, hook string, more ...string) *server {
	t.Helper()
	return startStoring(t, dir, append([]string{
		"CHATTING_HOOK_URL=" + hook, "CHATTING_HOOK_TOKEN=" + hookToken, "CHATTING_HOOK_TIMEOUT=10s",
	}, more...)...)
}

// gets wants the next frame to be a message of a user.
func (c *client) gets(t *testing.T, from int, text, name string) {
	t.Helper()
	if f, err := c.next(); err != nil || f.From != from || f.Message != text || f.Name != name {
		t.Fatalf("user %d got %+v, %v, not %q", c.User, f, err, text)
	}
}

// isRefused wants the next frame to be an error.
func (c *client) isRefused(t *testing.T, code, sentence, name string) {
	t.Helper()
	if f, err := c.next(); err != nil || f.Code != code || f.Error != sentence || f.Name != name {
		t.Fatalf("got %+v, %v, not %s", f, err, code)
	}
}

func (c *client) named(t *testing.T, target int, text, name string) {
	t.Helper()
	if err := c.SendNamed(target, text, name); err != nil {
		t.Fatal(err)
	}
}

func TestThePlatformDecidesAboutTexts(t *testing.T) {
	hook := startHook(t)
	s := startHooked(t, t.TempDir(), hook.addr)
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	one.named(t, 2, "hello", "m1")
	one.gets(t, 1, "hello", "m1")
	one.named(t, 2, "no way", "m2")
	one.isRefused(t, "text_refused", "Not here.", "m2")
	one.named(t, 2, "a bad <b>", "m3")
	one.gets(t, 1, "a *** <b>", "m3")
	two.gets(t, 1, "hello", "")
	two.gets(t, 1, "a *** <b>", "")
	if status := s.system(2, "bad news from the platform"); status != http.StatusOK {
		t.Fatalf("the system message was answered with %d", status)
	}
	if f, err := two.next(); err != nil || f.Message != "bad news from the platform" {
		t.Errorf("got %+v, %v", f, err)
	}
	if got := hook.wasAsked(); got != "1 to 2: hello\n1 to 2: no way\n1 to 2: a bad <b>" {
		t.Errorf("the hook was asked\n%s", got)
	}
}

// Also on a node that knows nothing of the first time, and asks a hook that has changed its mind. A connection is shown an event
// once, so each time is on a connection of its own.
func TestAMessageThatWasShownComesOutTheSameWhenItIsSentAgain(t *testing.T) {
	const was = "a *** &lt;b&gt;"
	hook, dir := startHook(t), t.TempDir()
	s := startHooked(t, dir, hook.addr, "CHATTING_CHAT_HTML_ESCAPE=true")
	tokens := []string{s.token(1), s.token(2)}
	two := mustConnect(t, s.HTTP, tokens[1])
	says := func(text, name string) *client {
		one := mustConnect(t, s.HTTP, tokens[0])
		one.named(t, 2, text, name)
		return one
	}
	says("a bad <b>", "m1").gets(t, 1, was, "m1")
	two.gets(t, 1, was, "")
	hook.refuseAll()
	says("a bad <b>", "m1").gets(t, 1, was, "m1")
	s.page(tokens[0], 2, 1) // the history has it
	s.stop()

	s = startHooked(t, dir, hook.addr, "CHATTING_CHAT_HTML_ESCAPE=true")
	says("a bad <b>", "m1").gets(t, 1, was, "m1")
	says("something else", "m1").gets(t, 1, was, "m1")
	says("something else", "m2").isRefused(t, "text_refused", "Not here.", "m2")
	if page := s.page(tokens[0], 2, 1); len(page) != 1 || page[0].Message != was {
		t.Errorf("the history has %+v", page)
	}
}

func TestASlowAnswerHoldsUpOnlyItsConnection(t *testing.T) {
	hook := startHook(t)
	s := startHooked(t, t.TempDir(), hook.addr)
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	one.named(t, 2, "slow", "m1")
	one.named(t, 2, "behind it", "m2")
	<-hook.came
	for n := range 10 {
		two.named(t, 2, fmt.Sprint(n), fmt.Sprint(n))
		two.gets(t, 2, fmt.Sprint(n), fmt.Sprint(n))
	}
	close(hook.held)
	one.gets(t, 1, "slow", "m1")
	one.gets(t, 1, "behind it", "m2")
	two.gets(t, 1, "slow", "")
	two.gets(t, 1, "behind it", "")
}

func TestWithoutAnAnswerTheConfigurationDecides(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(broken.Close)
	for name, hook := range map[string]string{"not there": gone.URL, "broken": broken.URL} {
		for _, failure := range []string{"open", "closed"} {
			t.Run(name+", "+failure, func(t *testing.T) {
				s := startHooked(t, t.TempDir(), hook, "CHATTING_HOOK_ON_FAILURE="+failure)
				one := mustConnect(t, s.HTTP, s.token(1))
				for n := range 12 { // enough for the hook to be left alone
					one.named(t, 1, "a very private text", fmt.Sprint(n))
					if failure == "open" {
						one.gets(t, 1, "a very private text", fmt.Sprint(n))
					} else {
						one.isRefused(t, "unavailable", "The message cannot be checked now.", fmt.Sprint(n))
					}
				}
				s.stop()
				warnings := s.Warnings()
				if !strings.Contains(warnings, "the text hook did not answer") || !strings.Contains(warnings, "it is not asked for a while") ||
					strings.Contains(warnings, "private") || strings.Contains(warnings, hookToken) {
					t.Errorf("the log has %s", warnings)
				}
			})
		}
	}
}

func TestAMessageThatIsCheckedWhenTheServerLeavesIsStillSent(t *testing.T) {
	hook := startHook(t)
	s := startHooked(t, t.TempDir(), hook.addr)
	one := mustConnect(t, s.HTTP, s.token(1))
	one.named(t, 1, "slow", "m1")
	<-hook.came
	s.Signal(syscall.SIGTERM)
	harness.Until(t.Context(), t, "the server leaves", func() bool {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.HTTP+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode != http.StatusOK
	})
	close(hook.held)
	one.gets(t, 1, "slow", "m1")
	if code, err := s.AwaitEnd(waiting(t)); err != nil || code != 0 {
		t.Errorf("the server ended with %d, %v", code, err)
	}
}

// The example of docs/hook.md.
func TestTheExampleOfATextHookDecides(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	example := harness.StartScript(t.Context(), t, "../../docs/examples/text_hook", python, "hook.py", "0", hookToken)
	var port int
	if line := example.Line(); !scanned(line, "serving on %d", &port) {
		t.Fatalf("the example says %q", line)
	}
	s := startHooked(t, t.TempDir(), fmt.Sprintf("http://127.0.0.1:%d/", port), "CHATTING_HOOK_ON_FAILURE=closed")
	one := mustConnect(t, s.HTTP, s.token(1))
	one.named(t, 1, "hello", "m1")
	one.gets(t, 1, "hello", "m1")
	one.named(t, 1, "BUY NOW: coins", "m2")
	one.isRefused(t, "text_refused", "No advertising, please.", "m2")
	one.named(t, 1, "damn, 안녕 <b>", "m3")
	one.gets(t, 1, "****, 안녕 <b>", "m3")
}

func scanned(line, format string, into ...any) bool {
	_, err := fmt.Sscanf(line, format, into...)
	return err == nil
}
