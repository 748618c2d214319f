package ws

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/adapters/ws/socket"
	"chatting/adapters/ws/throttle"
	"chatting/application"
	"chatting/application/port"
	"chatting/domain"
)

func TestEchoAndDeliveryOfAMessage(t *testing.T) {
	f := serve(t, Options{}, newChat())
	a, b := f.login(t, 7), f.login(t, 8)
	a.send(`{"target_id":8,"message":"hello","client_msg_id":"m-1"}`)
	echo, got := a.next(), b.next()
	if echo["message"] != "hello" || echo["client_msg_id"] != "m-1" || echo["from_id"] != 7.0 {
		t.Errorf("the echo is %v", echo)
	}
	if _, told := got["client_msg_id"]; told || got["message"] != "hello" || got["to_id"] != 8.0 {
		t.Errorf("the target got %v", got)
	}
}

func TestFirstFrameThatIsNoLogin(t *testing.T) {
	for _, test := range []struct {
		name string
		kind int
		data string
	}{
		{"bad token", websocket.TextMessage, `{"token":"nobody"}`},
		{"empty token", websocket.TextMessage, `{"token":""}`},
		{"no token", websocket.TextMessage, `{"x":1}`},
		{"list", websocket.TextMessage, `["token"]`},
		{"string", websocket.TextMessage, `"token"`},
		{"null", websocket.TextMessage, `null`},
		{"number", websocket.TextMessage, `5`},
		{"token null", websocket.TextMessage, `{"token":null}`},
		{"token number", websocket.TextMessage, `{"token":7}`},
		{"token list", websocket.TextMessage, `{"token":["user-7"]}`},
		{"two tokens", websocket.TextMessage, `{"token":"user-7","token":"user-7"}`},
		{"key of another case", websocket.TextMessage, `{"Token":"user-7"}`},
		{"no JSON", websocket.TextMessage, `token`},
		{"nothing", websocket.TextMessage, ``},
		{"binary", websocket.BinaryMessage, `{"token":"user-7"}`},
		{"bad UTF-8", websocket.TextMessage, "{\"token\":\"user-7\xff\"}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, Options{}, newChat()).dial(t)
			if err := c.WriteMessage(test.kind, []byte(test.data)); err != nil {
				t.Fatal(err)
			}
			if code := c.closed(); code != 3401 {
				t.Errorf("closed with %d", code)
			}
		})
	}
}

func TestSocketThatSaysNothingIsClosedAtTheLoginDeadline(t *testing.T) {
	f := serve(t, Options{Times: Times{FirstFrame: 50 * time.Millisecond}}, newChat())
	if code := f.dial(t).closed(); code != 3401 {
		t.Errorf("closed with %d", code)
	}
}

func TestPartsOfAFirstFrameDoNotExtendTheLoginDeadline(t *testing.T) {
	f := serve(t, Options{Times: Times{FirstFrame: 50 * time.Millisecond}}, newChat())
	conn := f.raw(t)
	reply := replyTo(t, conn, upgradeHead+"\r\n"+masked(opText, `{"tok`))
	if !strings.HasSuffix(reply, string(closeFrame(closeNoLogin))) {
		t.Errorf("the reply ends %q", reply[max(0, len(reply)-20):])
	}
}

func TestLoginErrorsMapToCloseCodes(t *testing.T) {
	for code, want := range map[domain.Code]string{
		domain.CodeUnauthenticated: "3401 bad_token", domain.CodeUnavailable: "1013 unavailable", domain.CodeUnconfirmed: "1013 unavailable",
		domain.CodeRateLimited: "1013 login_rate", domain.CodeInternal: "1011 server_error",
	} {
		t.Run(string(code), func(t *testing.T) {
			chat := newChat()
			chat.logIn = func(context.Context, string) error { return domain.NewError(code, "No.") }
			c := serve(t, Options{}, chat).dial(t)
			c.send(`{"token":"user-7"}`)
			if got := c.ended(); got != want {
				t.Errorf("closed with %s, want %s", got, want)
			}
		})
	}
}

func TestLoginThatHangsEndsAtItsDeadline(t *testing.T) {
	chat := newChat()
	chat.logIn = func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return domain.WrapError(domain.CodeUnconfirmed, "Not now.", ctx.Err())
	}
	c := serve(t, Options{Times: Times{Login: 50 * time.Millisecond}}, chat).dial(t)
	c.send(`{"token":"user-7"}`)
	if got := c.closed(); got != 1013 {
		t.Errorf("closed with %d", got)
	}
}

func TestFramesSentBehindTheLoginAreKeptInOrder(t *testing.T) {
	chat := newChat()
	proceed := make(chan struct{})
	chat.logIn = func(context.Context, string) error { <-proceed; return nil }
	c := serve(t, Options{}, chat).dial(t)
	c.send(`{"token":"user-7"}`)
	const n = 100
	for i := range n {
		c.send(fmt.Sprintf(`{"target_id":7,"message":"%d"}`, i))
	}
	close(proceed)
	c.next()
	for i := range n {
		if got := c.next()["message"]; got != fmt.Sprint(i) {
			t.Fatalf("message %d is %v", i, got)
		}
	}
}

func TestTokenAloneRenewsTheSession(t *testing.T) {
	chat := newChat()
	expiring := time.Now().Add(time.Hour)
	chat.expires = func() time.Time { return expiring }
	chat.renewed = func(token string) (application.Identity, error) {
		switch token {
		case "short":
			return application.Identity{User: 7, Expires: time.Now()}, nil
		case "later":
			return application.Identity{}, domain.NewError(domain.CodeUnavailable, "Try again later.")
		default:
			return application.Identity{}, domain.NewError(domain.CodeUnauthenticated, "Bad.")
		}
	}
	f := serve(t, Options{}, chat)
	for token, want := range map[string]int{`"short"`: 3401, `"other"`: 3401, `null`: 3401, `""`: 3401} {
		c := f.login(t, 7)
		c.send(`{"token":` + token + `}`)
		if code := c.closed(); code != want {
			t.Errorf("after token %s closed with %d", token, code)
		}
	}
	c := f.login(t, 7)
	c.send(`{"token":"later"}`)
	if got := c.next(); got["code"] != "unavailable" {
		t.Errorf("got %v", got)
	}
	c.send(`{"token":"x","target_id":7,"message":"still here"}`)
	if got := c.next(); got["message"] != "still here" {
		t.Errorf("got %v", got)
	}
}

func TestExpiryOfTheTokenClosesTheConnection(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	f.chat.connectionOf(t, 7).TokenExpires(time.Now()) // once the login is answered, however long that takes
	if code := c.closed(); code != 3401 {
		t.Errorf("closed with %d", code)
	}
}

func TestErrorFramesNameTargetAndMessage(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	for _, test := range []struct{ sent, code, from, name string }{
		{`{"target_id":"99","message":"x"}`, "no_user_or_offline", `99`, ""},
		{`{"target_id":null,"message":"x","client_msg_id":"a"}`, "no_user_or_offline", `<nil>`, "a"},
		{`{"target_id":1.5,"message":"x","client_msg_id":"b"}`, "bad_target", `1.5`, "b"},
		{`{"target_id":7,"message":5}`, "bad_message", `7`, ""},
		{`{"message":"x"}`, "bad_target", ``, ""},
		{`[]`, "bad_frame", ``, ""},
		{`nonsense`, "bad_json", ``, ""},
	} {
		c.send(test.sent)
		got := c.next()
		from := ""
		if id, there := got["from_id"]; there {
			from = fmt.Sprint(id)
		}
		name, _ := got["client_msg_id"].(string)
		if got["code"] != test.code || from != test.from || name != test.name || got["to_id"] != 7.0 {
			t.Errorf("%s was answered by %v", test.sent, got)
		}
	}
}

func TestOutcomeOfAnAppendComesAsAnErrorFrame(t *testing.T) {
	for _, code := range []domain.Code{domain.CodeUnavailable, domain.CodeUnconfirmed} {
		chat := newChat()
		chat.append = func(_ func(), done func(error)) { go done(domain.NewError(code, "Not now.")) }
		c := serve(t, Options{}, chat).login(t, 7)
		c.send(`{"target_id":" 7 ","message":"x","client_msg_id":"n"}`)
		got := c.next()
		if got["code"] != string(code) || got["error"] != "Not now." || got["from_id"] != " 7 " || got["client_msg_id"] != "n" {
			t.Errorf("got %v", got)
		}
	}
}

func TestInviteReachesItsUseCase(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	c.send(`{"target_id":7,"type":"invite_game","status":"cancel"}`)
	if got := c.next(); got["type"] != "invite_game" || got["status"] != "cancel" {
		t.Errorf("got %v", got)
	}
}

func TestTenBadFramesInARowCloseTheConnection(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	for range 2 {
		for range maxBadJSON - 1 {
			c.send(`{`)
			if got := c.next(); got["code"] != "bad_json" {
				t.Fatalf("got %v", got)
			}
		}
		c.send(`{"target_id":7,"message":"good"}`)
		c.next()
	}
	for range maxBadJSON {
		c.send(`{`)
	}
	if end := c.ended(); end != "1008 bad_json" {
		t.Errorf("closed with %s", end)
	}
}

func TestViolationsCloseWithTheirCodes(t *testing.T) {
	for _, test := range []struct {
		name, sent, want string
	}{
		{"binary", masked(finalBit|0x2, "x"), "1003 binary_message"},
		{"bad UTF-8", textFrame("\xff"), "1007 invalid_utf8"},
		{"too long", textFrame(strings.Repeat("x", 64<<10+1)), "1009 frame_too_long"},
		{"too long in fragments", masked(opText, strings.Repeat("x", 40<<10)) + masked(finalBit, strings.Repeat("x", 40<<10)), "1009 frame_too_long"},
		{"much too long", textFrame(strings.Repeat("x", 3<<20)), "1009 frame_too_long"},
		{"binary and much behind it", masked(finalBit|0x2, "x") + strings.Repeat("x", 3<<20), "1003 binary_message"},
		{"not masked", "\x81\x01x", "1002 protocol_error"},
		{"reserved bit", masked(finalBit|0x40|opText, "x"), "1002 protocol_error"},
		{"bad close code", masked(finalBit|opClose, "\x03\xed"), "1002 protocol_error"},
		{"empty fragments for ever", masked(opText, "x") + strings.Repeat(masked(0, ""), 200_000), "1008 fragments"},
		{"close", masked(finalBit|opClose, "\x03\xe8"), "1000 client_closed"},
		{"close with another code", masked(finalBit|opClose, "\x0f\xa0bye"), "1000 client_closed"},
		{"close without a code", masked(finalBit|opClose, ""), "1000 client_closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, Options{}, newChat()).login(t, 7)
			// All of it is taken, or else the peer would see a reset instead of the code.
			if _, err := c.NetConn().Write([]byte(test.sent)); err != nil {
				t.Error(err)
			}
			if got := c.ended(); got != test.want {
				t.Errorf("closed with %s, want %s", got, test.want)
			}
		})
	}
}

func TestLongestMessageIsAccepted(t *testing.T) {
	c := serve(t, Options{}, newChat()).login(t, 7)
	frame := `{"target_id":7,"message":""}`
	text := strings.Repeat("x", 64<<10-len(frame))
	c.send(`{"target_id":7,"message":"` + text + `"}`)
	if got := c.next()["message"]; got != text {
		t.Errorf("got %d bytes", len(fmt.Sprint(got)))
	}
}

func TestFragmentsWithPingsBetweenThem(t *testing.T) {
	c := serve(t, Options{}, newChat()).login(t, 7)
	pongs := make(chan string, 10)
	c.SetPongHandler(func(data string) error { pongs <- data; return nil })
	sent := masked(opText, `{"target_id":7,`) + masked(finalBit|opPing, "one") + masked(0, `"mess`) + masked(0, "") +
		masked(finalBit, `age":"whole"}`) + masked(finalBit|opPing, "two")
	if _, err := c.NetConn().Write([]byte(sent)); err != nil {
		t.Fatal(err)
	}
	if got := c.next()["message"]; got != "whole" {
		t.Errorf("got %v", got)
	}
	c.send(`{"target_id":7,"message":"after"}`)
	c.next()
	last := ""
	for len(pongs) > 0 {
		last = <-pongs
	}
	if last != "two" {
		t.Errorf("the last pong is %q", last)
	}
}

func TestSilentPeerIsPingedThenClosed(t *testing.T) {
	f := serve(t, Options{Times: Times{Silence: 50 * time.Millisecond, Pong: 100 * time.Millisecond}}, newChat())
	c := f.login(t, 7)
	pinged := false
	c.SetPingHandler(func(string) error { pinged = true; return nil })
	if code := c.closed(); code != 1001 || !pinged {
		t.Errorf("closed with %d, pinged: %t", code, pinged)
	}
}

func TestPeerThatAnswersPingsStays(t *testing.T) {
	f := serve(t, Options{Times: Times{Silence: 20 * time.Millisecond, Pong: patience}}, newChat())
	c := f.login(t, 7)
	pings := 0
	answer := c.PingHandler()
	c.SetPingHandler(func(data string) error {
		if pings++; pings == 5 {
			f.chat.connectionOf(t, 7).Close(port.CloseHole)
		}
		return answer(data)
	})
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
}

func TestFramesAboveTheRateAreRefused(t *testing.T) {
	c := serve(t, Options{FramesPerSecond: 1}, newChat()).login(t, 7)
	for range 20 {
		c.send(`{"target_id":7,"message":"x","client_msg_id":"n"}`)
	}
	refused := 0
	for range 20 {
		if got := c.next(); got["code"] == "rate_limited" {
			refused++
			if got["from_id"] != 7.0 || got["client_msg_id"] != "n" {
				t.Fatalf("got %v", got)
			}
		}
	}
	if refused < 10 {
		t.Errorf("%d of 20 frames were refused", refused)
	}
	for range 100 {
		if err := c.WriteControl(websocket.PingMessage, nil, time.Now().Add(patience)); err != nil {
			break
		}
	}
	if end := c.ended(); end != "1008 control_frames" {
		t.Errorf("closed with %s", end)
	}
}

func TestManyAppendsUnderWayHoldTheReaderBack(t *testing.T) {
	chat := newChat()
	var waiting []func()
	chat.append = func(deliver func(), done func(error)) {
		chat.mu.Lock()
		defer chat.mu.Unlock()
		waiting = append(waiting, func() { deliver(); done(nil) })
	}
	c := serve(t, Options{}, chat).login(t, 7)
	const n = socket.MaxUnderWay + 50
	for i := range n {
		c.send(fmt.Sprintf(`{"target_id":7,"message":"%d"}`, i))
	}
	count := func() int {
		chat.mu.Lock()
		defer chat.mu.Unlock()
		return len(waiting)
	}
	eventually(t, "the bound is reached", func() bool { return count() == socket.MaxUnderWay })
	for i := range n {
		eventually(t, "the next one is taken", func() bool { return count() > i })
		if got := count(); got > i+socket.MaxUnderWay {
			t.Fatalf("%d appends are under way", got-i)
		}
		chat.mu.Lock()
		finish := waiting[i]
		chat.mu.Unlock()
		finish()
		if got := c.next()["message"]; got != fmt.Sprint(i) {
			t.Fatalf("message %d is %v", i, got)
		}
	}
}

func TestPanicInAUseCaseClosesThatConnectionOnly(t *testing.T) {
	chat := newChat()
	chat.logIn = func(_ context.Context, token string) error {
		if token == "user-13" {
			panic("the secret value")
		}
		return nil
	}
	f := serve(t, Options{}, chat)
	other := f.login(t, 7)
	c := f.dial(t)
	c.send(`{"token":"user-13"}`)
	_, _, err := c.ReadMessage()
	if !websocket.IsCloseError(err, 1011) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	other.send(`{"target_id":7,"message":"x"}`)
	other.next()
	if logs := f.logs.text(); !strings.Contains(logs, "panic in a WebSocket connection") || strings.Contains(logs, "secret value") {
		t.Errorf("the log says %s", logs)
	}
}

func TestEveryEndThatAUseCaseAsksForHasItsCodeAndReason(t *testing.T) {
	for reason, want := range map[port.CloseReason]websocket.CloseError{
		port.CloseSlow: {Code: 1013, Text: "slow_reader"}, port.CloseHole: {Code: 1012, Text: "log_hole"},
		port.CloseRestart: {Code: 1012, Text: "restart"}, port.CloseReplaced: {Code: 3409, Text: "replaced"},
		port.CloseCut:     {Code: 1006, Text: io.ErrUnexpectedEOF.Error()}, // there is no close frame
		port.CloseExpired: {Code: 3401, Text: "token_expired"}, port.CloseRevoked: {Code: 3401, Text: "token_revoked"},
		port.CloseErased: {Code: 3401, Text: "user_erased"}, port.CloseTryLater: {Code: 1013, Text: "unavailable"},
		"unheard": {Code: 1011, Text: "server_error"},
	} {
		f := serve(t, Options{}, newChat())
		c := f.login(t, 7)
		f.chat.connectionOf(t, 7).Close(reason)
		if end := c.end(); end != want {
			t.Errorf("%s closed with %v, want %v", reason, end, want)
		}
	}
}

func TestQueuedFramesComeBeforeTheCloseFrame(t *testing.T) {
	f := serve(t, Options{}, newChat())
	c := f.login(t, 7)
	conn := f.chat.connectionOf(t, 7)
	for range 100 {
		conn.Deliver([]byte(`{"message":"last"}`), "")
	}
	conn.Close(port.CloseRestart)
	conn.Deliver([]byte(`{"message":"too late"}`), "")
	for range 100 {
		if got := c.next()["message"]; got != "last" {
			t.Fatalf("got %v", got)
		}
	}
	if code := c.closed(); code != 1012 {
		t.Errorf("closed with %d", code)
	}
}

func TestAPingIsAnsweredByAPongWithTheTimeOfTheServer(t *testing.T) {
	c := serve(t, Options{}, newChat()).login(t, 7)
	before := time.Now().Truncate(time.Millisecond)
	c.send(`{"type":"ping","target_id":null,"message":null}`)
	got := c.next()
	at, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(got["time"]))
	if got["type"] != "pong" || len(got) != 2 || err != nil || at.Before(before) || at.After(time.Now()) {
		t.Errorf("after %v: %v (%v)", before, got, err)
	}
}

func TestAPingCostsAsMuchAsAnyFrame(t *testing.T) {
	for name, at := range map[string]struct {
		perConnection int
		rates         throttle.Rates
	}{"connection": {1, throttle.Rates{}}, "user": {1000, throttle.Rates{Frames: usersAt(rareRefills, 2)}}} {
		c := serveAtRates(t, Options{FramesPerSecond: at.perConnection}, newChat(), at.rates).login(t, 7)
		const sent = 10
		pongs := 0
		for range sent {
			c.send(`{"type":"ping"}`)
			switch got := c.next(); {
			case got["type"] == "pong":
				pongs++
			case got["code"] != "rate_limited":
				t.Fatalf("%s: got %v", name, got)
			}
		}
		if pongs == 0 || pongs == sent {
			t.Errorf("%s: of %d pings, %d were answered", name, sent, pongs)
		}
	}
}

func TestAPingIsNoLogin(t *testing.T) {
	c := serve(t, Options{}, newChat()).dial(t)
	c.send(`{"type":"ping"}`)
	if code := c.closed(); code != 3401 {
		t.Errorf("closed with %d", code)
	}
}
