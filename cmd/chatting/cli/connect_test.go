package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"go.uber.org/goleak"

	"chatting/adapters/auth"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/talk"
	"chatting/configs"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// fakeServer is the other end of connect: talk has the socket after the login frame, calls notes the REST calls.
type fakeServer struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []string
	logins []string
	// closed gets the close code of each connection once talk has returned and the client has left.
	closed chan int
}

// newFakeServer runs talk on every socket after its login frame came. After talk it reads until the client leaves.
func newFakeServer(t *testing.T, talk func(conn *websocket.Conn)) *fakeServer {
	t.Helper()
	f := &fakeServer{closed: make(chan int, 10)}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws/chatting/", func(w http.ResponseWriter, r *http.Request) {
		conn, err := (&websocket.Upgrader{}).Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		_, login, err := conn.ReadMessage()
		if err != nil {
			t.Error(err)
			return
		}
		f.note(&f.logins, string(login))
		talk(conn)
		for err == nil {
			_, _, err = conn.ReadMessage()
		}
		code := -1
		var closeError *websocket.CloseError
		if errors.As(err, &closeError) {
			code = closeError.Code
		}
		f.closed <- code
	})
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.note(&f.calls, strings.TrimSpace(strings.Join([]string{r.Method, r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body)}, " ")))
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"from":"the server`+"\x1b"+`"}`)
	})
	f.Server = httptest.NewServer(mux)
	return f
}

func (f *fakeServer) note(list *[]string, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, text)
}

func (f *fakeServer) noted(list *[]string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), *list...)
}

func (f *fakeServer) socketURL() string {
	return "ws" + strings.TrimPrefix(f.URL, "http") + talk.SocketPath
}

// closeCode returns with what code the client left.
func (f *fakeServer) closeCode(t *testing.T) int {
	t.Helper()
	select {
	case code := <-f.closed:
		return code
	case <-time.After(patience):
		t.Fatal("the client did not leave")
		return 0
	}
}

// connect runs the command with the token "tok" until it ends.
func (f *fakeServer) connect(ctx context.Context, in io.Reader, args ...string) outcome {
	var out, stderr bytes.Buffer
	args = append([]string{"connect", "--token", "tok", "--url", f.socketURL()}, args...)
	code := Run(ctx, args, Process{In: in, Out: &out, Err: &stderr})
	return outcome{code, out.String(), stderr.String()}
}

// verifyNoLeak checks at the end of a test that every goroutine has ended.
func verifyNoLeak(t *testing.T, but ...goleak.Option) {
	t.Helper()
	but = append(but, goleak.IgnoreCurrent())
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, but...)
	})
}

func write(conn *websocket.Conn, frame string) {
	_ = conn.WriteMessage(websocket.TextMessage, []byte(frame))
}

func TestPastedLinesAreSentAndEveryAnswerIsShown(t *testing.T) {
	verifyNoLeak(t)
	var got []string
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{"login":true}`)
		for range 4 {
			_, frame, err := conn.ReadMessage()
			if err != nil {
				t.Error(err)
				return
			}
			got = append(got, string(frame))
			write(conn, `{"echo":`+string(frame)+`}`)
		}
	})
	defer server.Close()
	o := server.connect(t.Context(), strings.NewReader("202 hello <there>\n\n/invite 202\r\n {\"raw\":1} \n/cancel 9"), "--linger", "2s")
	want := []string{`{"target_id":202,"message":"hello <there>"}`, `{"target_id":202,"type":"invite_game","status":"invite"}`, `{"raw":1}`,
		`{"target_id":9,"type":"invite_game","status":"cancel"}`}
	if o.code != 0 || o.err != "" {
		t.Errorf("%+v", o)
	}
	if code := server.closeCode(t); code != websocket.CloseNormalClosure {
		t.Error(code)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	shown := `{"login":true}` + "\n"
	for _, frame := range want {
		shown += `{"echo":` + frame + "}\n"
	}
	if o.out != shown {
		t.Errorf("%q", o.out)
	}
	if logins := server.noted(&server.logins); !reflect.DeepEqual(logins, []string{`{"token":"tok","features":["invites"]}`}) {
		t.Error(logins)
	}
}

func TestSlashCommandsCallTheRESTAPI(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) { write(conn, `{}`) })
	defer server.Close()
	o := server.connect(t.Context(), strings.NewReader("/block 202\n/unblock 202\n/friend 3\n/unfriend 3\n/online 4\n/quit\n"), "--linger", "1h")
	const json = " Bearer tok application/json "
	want := []string{
		"POST /api/chatting/blockedusers/" + json + `{"target_id":202}`, "DELETE /api/chatting/blockedusers/" + json + `{"target_id":202}`,
		"POST /api/chatting/friends/" + json + `{"target_id":3}`, "DELETE /api/chatting/friends/" + json + `{"target_id":3}`,
		"GET /api/chatting/is-online/?id=4 Bearer tok",
	}
	if calls := server.noted(&server.calls); !reflect.DeepEqual(calls, want) {
		t.Errorf("%q", calls)
	}
	if o.code != 0 || o.out != "{}\n" || !strings.HasPrefix(o.err, `POST /api/chatting/blockedusers/: 201 Created {"from":"the server\u001b"}`+"\n") {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
}

func TestNothingIsSentBeforeTheLoginIsAnswered(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) {
		deadline := websocket.FormatCloseMessage(3401, "")
		_ = conn.WriteControl(websocket.CloseMessage, deadline, time.Now().Add(patience))
	})
	defer server.Close()
	in := strings.NewReader("/block 1\n202 x\n")
	o := server.connect(t.Context(), in)
	o.complains(t, "the server closed the connection: 3401 (not authenticated")
	if calls := server.noted(&server.calls); len(calls) > 0 || in.Len() == 0 {
		t.Errorf("%v, %d bytes of input left", calls, in.Len())
	}
	server.closeCode(t)
}

// TestARefusedTokenThatWasMadeHereNamesItsSecret: it is that of another server, as a rule.
func TestARefusedTokenThatWasMadeHereNamesItsSecret(t *testing.T) {
	server := newFakeServer(t, func(conn *websocket.Conn) {
		_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(3401, ""), time.Now().Add(patience))
	})
	defer server.Close()
	dir := t.TempDir()
	if _, err := auth.LoadOrCreateSecret(dir); err != nil {
		t.Fatal(err)
	}
	for environ, want := range map[string]string{
		"CHATTING_DATA_DIR=" + dir:                        "the token was made with the secret in the data directory " + dir + ": name the server's own with --data-dir",
		"CHATTING_JWT_SECRET=" + strings.Repeat("s3", 16): "the token was made with jwt.secret of this configuration",
	} {
		command(t, []string{environ}, "connect", "--user", "7", "--url", server.socketURL()).complains(t, want)
	}
	if o := server.connect(t.Context(), strings.NewReader("")); strings.Contains(o.err, "was made with") {
		t.Errorf("of a token that was given: %s", o.err)
	}
}

func TestTheTokenThatConnectMakesIsGoodForAnEvening(t *testing.T) {
	server := newFakeServer(t, func(conn *websocket.Conn) { write(conn, `{}`) })
	defer server.Close()
	const secret = "0123456789abcdef0123456789abcdef"
	if o := command(t, []string{"CHATTING_JWT_SECRET=" + secret}, "connect", "--user", "7", "--linger", "0s", "--url", server.socketURL()); o.code != 0 {
		t.Fatalf("%+v", o)
	}
	server.closeCode(t)
	var login struct{ Token string }
	if err := json.Unmarshal([]byte(server.noted(&server.logins)[0]), &login); err != nil {
		t.Fatal(err)
	}
	accepted(t, []byte(secret), login.Token, 7, 12*time.Hour)
}

func TestALongLineIsSentAndOneThatIsTooLongIsSaidToBe(t *testing.T) {
	verifyNoLeak(t)
	var got []byte
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{}`)
		_, got, _ = conn.ReadMessage()
	})
	defer server.Close()
	long := strings.Repeat("x", 200<<10)
	o := server.connect(t.Context(), strings.NewReader("202 "+long+"\n202 "+strings.Repeat(long, 6)+"\n"), "--linger", "1h")
	if o.code != 1 || o.err != "chatting: reading the input: bufio.Scanner: token too long\n" {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
	if want := `{"target_id":202,"message":"` + long + `"}`; string(got) != want {
		t.Errorf("%d bytes came of %d", len(got), len(want))
	}
}

func TestAServerThatClosesOtherwiseWhileTheClientLeavesIsHeard(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) {
		conn.SetCloseHandler(func(int, string) error {
			return conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(1011, ""), time.Now().Add(patience))
		})
		write(conn, `{}`)
	})
	defer server.Close()
	o := server.connect(t.Context(), strings.NewReader("/quit\n"), "--linger", "1h")
	if o.code != int(exit.Unavailable) || !strings.HasPrefix(o.err, "chatting: the server closed the connection: 1011") {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
}

func TestAFrameWithoutEndIsNotKept(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{}`)
		write(conn, strings.Repeat("x", 16<<20+1))
	})
	defer server.Close()
	o := server.connect(t.Context(), strings.NewReader(""), "--linger", "1h")
	if o.code != int(exit.Unavailable) || o.out != "{}\n" || !strings.Contains(o.err, "read limit") {
		t.Errorf("code %d, %d bytes shown, err %q", o.code, len(o.out), o.err)
	}
	server.closeCode(t)
}

func TestMistypedLinesAreExplainedAndTheChatGoesOn(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) { write(conn, `{}`) })
	defer server.Close()
	o := server.connect(t.Context(), strings.NewReader("hello\n/blok 7\n/help\n/quit\n"), "--linger", "1h")
	want := `chatting: "hello" is no message: write 202 hello there, or /help` + "\n" +
		`chatting: unknown command "/blok": /help lists them` + "\n" + talk.Help
	if o.code != 0 || o.err != want {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
}

// endSignal is an input that tells when its end was read.
type endSignal struct {
	io.Reader
	once sync.Once
	read chan struct{}
}

func (e *endSignal) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF {
		e.once.Do(func() { close(e.read) })
	}
	return n, err
}

func TestAfterPipedInputTheClientStaysForAnswers(t *testing.T) {
	verifyNoLeak(t)
	ctx, interrupt := context.WithCancel(t.Context())
	in := &endSignal{Reader: strings.NewReader("202 hi\n"), read: make(chan struct{})}
	server := newFakeServer(t, func(conn *websocket.Conn) {
		defer interrupt()
		pongs := make(chan struct{}, 1)
		conn.SetPongHandler(func(string) error { pongs <- struct{}{}; return nil })
		write(conn, `{}`)
		if _, _, err := conn.ReadMessage(); err != nil {
			t.Error(err)
		}
		<-in.read
		go func() { // the pongs are handled while reading; its end is that of the socket
			for range 50 {
				_ = conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience))
				select {
				case <-pongs:
				case <-time.After(patience):
					t.Error("a client that has left answers no ping")
				}
			}
			write(conn, `{"late":true}`)
			write(conn, `{"last":true}`)
			interrupt()
		}()
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			t.Error(err)
		}
	})
	defer server.Close()
	o := server.connect(ctx, in, "--linger", "1h")
	if o.code != 0 || o.out != "{}\n{\"late\":true}\n{\"last\":true}\n" {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
}

func TestCtrlCLeavesWith1000(t *testing.T) {
	verifyNoLeak(t)
	ctx, interrupt := context.WithCancel(t.Context())
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{"n":1}`)
		interrupt()
	})
	defer server.Close()
	in, keepOpen := io.Pipe()
	defer keepOpen.Close()
	o := server.connect(ctx, in)
	if code := server.closeCode(t); o.code != 0 || o.err != "" || code != websocket.CloseNormalClosure {
		t.Errorf("%+v, close %d", o, code)
	}
}

func TestAClosedConnectionIsToldPlainly(t *testing.T) {
	verifyNoLeak(t)
	for _, row := range []struct {
		code int
		text string
		exit exit.Code
		want string
	}{
		{1012, "", exit.Unavailable, "the server closed the connection: 1012 (the server restarts or missed something: connect again)"},
		{1013, "slow\x1b[2J", exit.Unavailable, `the server closed the connection: 1013 (too slow or too many: connect again later) slow\u001b[2J`},
		{3409, "", exit.Refused, "the server closed the connection: 3409 (the user has too many connections, and this was the oldest)"},
		{4000, "", exit.Refused, "the server closed the connection: 4000"},
	} {
		server := newFakeServer(t, func(conn *websocket.Conn) {
			write(conn, `{}`)
			_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(row.code, row.text), time.Now().Add(patience))
		})
		in, keepOpen := io.Pipe()
		o := server.connect(t.Context(), in)
		keepOpen.Close()
		if o.code != int(row.exit) || o.out != "{}\n" || o.err != "chatting: "+row.want+"\n" {
			t.Errorf("%d: %+v", row.code, o)
		}
		server.closeCode(t)
		server.Close()
	}
}

func TestALostConnectionIsAnError(t *testing.T) {
	verifyNoLeak(t)
	server := newFakeServer(t, func(conn *websocket.Conn) {
		write(conn, `{}`)
		_ = conn.NetConn().Close()
	})
	defer server.Close()
	in, keepOpen := io.Pipe()
	defer keepOpen.Close()
	if o := server.connect(t.Context(), in); o.code != int(exit.Unavailable) || !strings.HasPrefix(o.err, "chatting: the ") || strings.Count(o.err, "\n") != 1 {
		t.Errorf("%+v", o)
	}
	server.closeCode(t)
}

func TestWhatIsNoChatServerIsSaidToBeSo(t *testing.T) {
	verifyNoLeak(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this origin\nmay not", http.StatusForbidden)
	}))
	defer server.Close()
	url := "ws" + strings.TrimPrefix(server.URL, "http") + "/"
	command(t, nil, "connect", "--token", "x", "--url", url).complains(t, url+` opened no socket but answered 403 Forbidden this origin\u000amay not`)
}

func TestConnectFindsTheServerOfItsConfiguration(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:8000": "ws://127.0.0.1:8000/ws/chatting/", ":81": "ws://127.0.0.1:81/ws/chatting/", "0.0.0.0:81": "ws://127.0.0.1:81/ws/chatting/",
		"[::]:81": "ws://127.0.0.1:81/ws/chatting/", "[::1]:81": "ws://[::1]:81/ws/chatting/", "chat.local:81": "ws://chat.local:81/ws/chatting/",
	} {
		cfg, err := configs.Load(configs.Sources{Environ: []string{"CHATTING_HTTP_ADDR=" + address}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := defaultSocket(cfg); err != nil || got != want {
			t.Errorf("%s: %s %v", address, got, err)
		}
	}
}
