package texthook

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/questions"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is a timeout that only a broken test reaches; short is one that a test waits for.
const (
	patient = time.Minute
	short   = 50 * time.Millisecond
)

const (
	secretText  = "the text of the message"
	secretToken = "the-token-of-the-hook"
)

// lines are what a client logs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), line)
}

func newClient(t testing.TB, handler http.HandlerFunc, o Options) (*Client, *lines) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	log := &lines{}
	o.URL, o.Now, o.Notices = server.URL+"/check?key=1", testTime, notice.NewLog(slog.New(slog.NewTextHandler(log, nil)), time.Now)
	o.Timeout, o.Concurrency = cmp.Or(o.Timeout, patient), cmp.Or(o.Concurrency, 64)
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, log
}

func testTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC) }

func said(text string, name domain.ClientMessageID) messaging.ChatCommand {
	words, err := domain.NewText(text)
	if err != nil {
		panic(err)
	}
	return messaging.ChatCommand{Sender: 1, Target: 2, Text: words, ClientMessageID: name}
}

func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, body)
	}
}

func TestTheHookIsAskedAsDocumented(t *testing.T) {
	type seen struct{ method, uri, token, kind, body string }
	var got []seen
	c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, seen{r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)})
		if _, sent := r.Header["Idempotency-Key"]; sent {
			t.Error("a header is sent that is for net/http alone")
		}
		answer(`{"action":"pass"}`)(w, r)
	}, Options{Token: secretToken})
	for _, command := range []messaging.ChatCommand{said("hello <b>\n", ""), said("hello <b>\n", "m1")} {
		if text, err := c.Ask(t.Context(), command); err != nil || text != command.Text {
			t.Fatalf("got %q, %v", text, err)
		}
	}
	const rest = `"from":1,"to":2,"text":"hello <b>\n","at":"2026-01-02T03:04:05.678Z"}`
	want := seen{"POST", "/check?key=1", "Bearer " + secretToken, "application/json", `{` + rest}
	named := want
	named.body = `{"id":"` + domain.MessageID(1, 2, "m1").String() + `",` + rest
	if len(got) != 2 || got[0] != want || got[1] != named {
		t.Errorf("got %q\nwant %q and %q", got, want, named)
	}
}

func TestWithoutATokenNoneIsSent(t *testing.T) {
	c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Authorization"]; sent {
			t.Error("an Authorization was sent")
		}
		answer(`{"action":"pass"}`)(w, r)
	}, Options{})
	if _, err := c.Ask(t.Context(), said(secretText, "")); err != nil {
		t.Error(err)
	}
}

func TestAGoodAnswerDecides(t *testing.T) {
	long := strings.Repeat("x", domain.MaxTextBytes)
	for body, want := range map[string]struct {
		text   string
		reason string // of a refusal
	}{
		`{"action":"pass"}`: {text: secretText},
		`{"action":"pass","text":"other","reason":1,"more":{"x":[1]}}`:                        {text: secretText},
		` {"action":"rewrite","text":"other"} `:                                               {text: "other"},
		`{"action":"rewrite","text":""}`:                                                      {text: ""},
		`{"action":"rewrite","text":"\u00e9\ud83d\ude00\n<"}`:                                 {text: "é😀\n<"},
		`{"action":"rewrite","text":"` + long + `"}`:                                          {text: long},
		`{"action":"rewrite","text":"` + strings.Repeat(`\u0078`, domain.MaxTextBytes) + `"}`: {text: long},
		`{"action":"refuse"}`:                                                                 {reason: defaultReason},
		`{"action":"refuse","reason":"No swearing, 안녕."}`:                                     {reason: "No swearing, 안녕."},
		`{"action":"refuse","reason":null,"text":null}`:                                       {reason: defaultReason},
		`{"action":"refuse","reason":7}`:                                                      {reason: defaultReason},
		`{"action":"refuse","reason":""}`:                                                     {reason: defaultReason},
		`{"action":"refuse","reason":"a\u0007b"}`:                                             {reason: defaultReason},
		`{"action":"refuse","reason":"\ud83d"}`:                                               {reason: defaultReason},
		`{"action":"refuse","reason":"` + long[:maxReasonBytes+1] + `"}`:                      {reason: defaultReason},
		`{"action":"refuse","reason":"` + long[:maxReasonBytes] + `"}`:                        {reason: long[:maxReasonBytes]},
	} {
		c, _ := newClient(t, answer(body), Options{})
		text, err := c.Ask(t.Context(), said(secretText, ""))
		var refused *domain.Error
		switch {
		case want.reason != "":
			if !errors.As(err, &refused) || refused.Code != domain.CodeTextRefused || refused.Message != want.reason {
				t.Errorf("%.80s: got %.40q, %v", body, text, err)
			}
		case err != nil || text.String() != want.text:
			t.Errorf("%.80s: got %.40q, %v", body, text, err)
		}
	}
}

// reply answers with a status, a type and a body.
func reply(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const pass = `{"action":"pass"}`

// misbehaving are hooks whose answers count as none.
var misbehaving = map[string]http.HandlerFunc{
	"500": reply(500, "application/json", pass),
	"404": reply(404, "application/json", pass),
	"201": reply(201, "application/json", pass),
	"204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	"a redirect": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	},
	"HTML":            reply(200, "text/html", pass),
	"a bad type":      reply(200, "application/json; charset", pass),
	"nothing":         answer(``),
	"no object":       answer(`["pass"]`),
	"cut JSON":        answer(`{"action":"pass"`),
	"two answers":     answer(pass + pass),
	"no action":       answer(`{"text":"x"}`),
	"unknown action":  answer(`{"action":"Pass"}`),
	"action 1":        answer(`{"action":1}`),
	"two actions":     answer(`{"action":"refuse","action":"pass"}`),
	"another case":    answer(`{"Action":"pass","action":"refuse"}`),
	"no text":         answer(`{"action":"rewrite"}`),
	"text null":       answer(`{"action":"rewrite","text":null}`),
	"text 1":          answer(`{"action":"rewrite","text":1}`),
	"half a pair":     answer(`{"action":"rewrite","text":"\ud83d"}`),
	"no UTF-8":        answer("{\"action\":\"rewrite\",\"text\":\"\xff\"}"),
	"too long a text": answer(`{"action":"rewrite","text":"` + strings.Repeat("x", domain.MaxTextBytes+1) + `"}`),
	"nested":          answer(`{"action":` + strings.Repeat("[", 100_000)),
	"a huge answer":   answer(pass + strings.Repeat(" ", maxAnswerBytes)),
	"a huge header": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*questions.MaxHeaderBytes))
		answer(pass)(w, r)
	},
	"the text itself":  func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) },
	"a cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"a cut answer": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		answer(pass)(w, r)
	},
	"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := w.(http.Hijacker).Hijack()
		io.WriteString(connection, secretText+"\r\n\r\n")
		connection.Close()
	},
	"an answer without end": func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
				return
			}
		}
	},
}

func TestAnyOtherAnswerCountsAsNone(t *testing.T) {
	for name, handler := range misbehaving {
		var followed atomic.Bool
		c, _ := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				followed.Store(true)
			}
			handler(w, r)
		}, Options{Token: secretToken})
		isUnavailable(t, name, c)
		if followed.Load() {
			t.Errorf("%s: the text went elsewhere", name)
		}
	}
}

func TestAHookThatTakesTooLongGivesNoAnswer(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
		"stalls": func(w http.ResponseWriter, r *http.Request) {
			answer(`{"action":`)(w, r)
			w.(http.Flusher).Flush()
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	} {
		c, _ := newClient(t, handler, Options{Timeout: short, Token: secretToken})
		isUnavailable(t, name, c)
	}
}

func TestAHookThatIsNotThereGivesNoAnswer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	c, err := New(Options{URL: "http://" + listener.Addr().String(), Timeout: patient, Concurrency: 1, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	isUnavailable(t, "not there", c)
}

// isUnavailable asks, and wants an error that tells nothing of what was asked.
func isUnavailable(t *testing.T, name string, c *Client) {
	t.Helper()
	text, err := c.Ask(t.Context(), said(secretText, "m1"))
	if domain.CodeOf(err) != domain.CodeUnavailable || text != (domain.Text{}) {
		t.Errorf("%s: got %q, %v", name, text, err)
		return
	}
	for _, secret := range []string{secretText, secretToken, "key=1", "rewrite\""} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	good := Options{URL: "https://texts.example/check?key=1", Timeout: patient, Concurrency: 1}
	for _, change := range []func(*Options){
		func(o *Options) { o.URL = "" },
		func(o *Options) { o.URL = "texts.example" },
		func(o *Options) { o.URL = "ftp://texts.example" },
		func(o *Options) { o.URL = "https://user:pass@texts.example" },
		func(o *Options) { o.URL = "https://texts.example/#x" },
		func(o *Options) { o.URL = "https://texts.example/%zz" },
		func(o *Options) { o.Timeout = 0 },
		func(o *Options) { o.Concurrency = 0 },
		func(o *Options) { o.Pause = -1 },
	} {
		bad := good
		change(&bad)
		if c, err := New(bad); err == nil {
			c.Close()
			t.Errorf("%+v is taken", bad)
		} else if strings.Contains(err.Error(), "texts.example") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	c, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
