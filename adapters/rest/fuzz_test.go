package rest

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"chatting/adapters/rest/exchange"
	"chatting/domain"
)

// post passes a request to the app's handler without a network between.
func (w *world) post(handler fasthttp.RequestHandler, path, mediaType string, body []byte) *fasthttp.RequestCtx {
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI(path)
	ctx.Request.Header.SetContentType(mediaType)
	ctx.Request.Header.Set(fiber.HeaderAuthorization, "Bearer token-1")
	ctx.Request.SetBody(body)
	handler(&ctx)
	return &ctx
}

// mustBeAnAnswer fails the test for anything but a documented answer of valid JSON.
func mustBeAnAnswer(t *testing.T, ctx *fasthttp.RequestCtx, statuses ...int) {
	t.Helper()
	body := ctx.Response.Body()
	if !json.Valid(body) || !utf8.Valid(body) {
		t.Errorf("answer is no JSON: %q", body)
	}
	for _, status := range statuses {
		if ctx.Response.StatusCode() == status {
			return
		}
	}
	t.Errorf("answer is %d %s", ctx.Response.StatusCode(), body)
}

func FuzzBlockBody(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":7}`, `{"target_id":" 7.0 "}`, `{"target_id":7e0,"target_id":null}`, `{"target_id":9223372036854775808}`, `{"target_id":-1.5e-3}`, `{"target_id":[{}]}`,
		`[]`, `null`, ``, ` `, `{`, `target_id=7&x=%ff`, `{"target_id":"\ud800"}`, "\xff", `{"target_id":1E400}`, `{"target_id":0.000e999999999999}`, `{"target_id":100e-2}`,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	w := newWorld(f)
	handler := w.api.App().Handler()
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		mediaType := exchange.JSONType
		if form {
			mediaType = fiber.MIMEApplicationForm
		}
		ctx := w.post(handler, blockedPath, mediaType, body)
		mustBeAnAnswer(t, ctx, 201, 400)
		// Whom JSON with a number blocks is that number, by another's arithmetic.
		var sent struct {
			Target json.RawMessage `json:"target_id"`
		}
		if form || ctx.Response.StatusCode() != 201 || json.Unmarshal(body, &sent) != nil || len(sent.Target) == 0 || len(sent.Target) > 50 || sent.Target[0] == '"' ||
			strings.Count(strings.ToLower(string(body)), "target_id") != 1 {
			return
		}
		want, ok := new(big.Rat).SetString(string(sent.Target))
		var got struct {
			Target json.Number `json:"target_id"`
		}
		if err := json.Unmarshal(ctx.Response.Body(), &got); err != nil {
			t.Fatal(err)
		}
		if !ok || !want.IsInt() || want.Num().String() != got.Target.String() {
			t.Errorf("%q blocks %s", body, got.Target)
		}
	})
}

// trimmed tells whether r is taken off both ends of a message.
func trimmed(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func FuzzSystemMessageBody(f *testing.F) {
	for _, seed := range []string{
		`{"target_id":7,"message":"m"}`, `{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`, `{"target_id":7,"message":5}`,
		`{"target_id":"x","message":" "}`, `{"target_id":7,"message":"\ud83d\ude00\ud83d"}`, `{"target_id":7,"message":"\u0000"}`, `{"message":[]}`, `{"target_id":0,"message":"m"}`,
		`target_id=7&message=m%ff`, `{"target_id":7,"message":"\\ud800"}`, `null`, ``,
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	w := newWorld(f, func(_ *world, o *Options, _ *Deps) { o.S2SToken = "token-1" })
	handler := w.api.App().Handler()
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		mediaType := exchange.JSONType
		if form {
			mediaType = fiber.MIMEApplicationForm
		}
		ctx := w.post(handler, systemPath, mediaType, body)
		mustBeAnAnswer(t, ctx, 200, 400, 404)
		if ctx.Response.StatusCode() != 200 {
			return
		}
		events := w.appended()
		w.mu.Lock()
		w.events = nil
		w.mu.Unlock()
		message, ok := events[0].Body.(domain.SystemMessage)
		if !ok || len(events) != 1 {
			t.Fatalf("events are %v", events)
		}
		for _, s := range []string{message.Text.String(), string(message.Room)} {
			if !utf8.ValidString(s) || strings.ContainsRune(s, 0) || strings.TrimFunc(s, trimmed) != s {
				t.Errorf("%q is in the log", s)
			}
		}
		if message.Text.String() == "" || message.To != 7 || message.Opponent < 0 || message.Opponent > 0 && message.Room == "" {
			t.Errorf("%+v is in the log", message)
		}
	})
}
