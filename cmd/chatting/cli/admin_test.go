package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"chatting/cmd/chatting/exit"
)

// platform is a server that answers everything with one answer, and takes down what it is asked.
type platform struct {
	*httptest.Server

	status int
	answer string
	asked  []string // method, path, token, key and body of each request
}

func newPlatform(t *testing.T) *platform {
	t.Helper()
	p := &platform{status: http.StatusOK, answer: "{}"}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.asked = append(p.asked, strings.Join([]string{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), string(body)}, " "))
		w.WriteHeader(p.status)
		_, _ = io.WriteString(w, p.answer)
	}))
	t.Cleanup(p.Close)
	return p
}

// runs calls chatting admin.
func (p *platform) runs(t *testing.T, args ...string) outcome {
	t.Helper()
	args = append(append([]string{"admin"}, args...), "--url", "ws"+strings.TrimPrefix(p.URL, "http")+"/ws/chatting/")
	return command(t, []string{"CHATTING_S2S_TOKEN=0123456789abcdef", "LOGNAME=carol"}, args...)
}

func TestAdminAsksTheServer(t *testing.T) {
	p := newPlatform(t)
	const as = " Bearer 0123456789abcdef "
	for line, want := range map[string]string{
		"mute 201 --reason spam":              "POST /s2sapi/moderation/" + as + ` {"act":"mute","user_id":201,"reason":"spam","actor":"carol"}`,
		"ban 201 --actor bob":                 "POST /s2sapi/moderation/" + as + ` {"act":"ban","user_id":201,"actor":"bob"}`,
		"unmute 201":                          "POST /s2sapi/moderation/" + as + ` {"act":"unmute","user_id":201,"actor":"carol"}`,
		"unban 201":                           "POST /s2sapi/moderation/" + as + ` {"act":"unban","user_id":201,"actor":"carol"}`,
		"end 201":                             "POST /s2sapi/moderation/" + as + ` {"act":"end","user_id":201,"actor":"carol"}`,
		"revoke 201":                          "POST /s2sapi/moderation/" + as + ` {"act":"revoke","user_id":201,"actor":"carol"}`,
		"acts 201":                            "GET /s2sapi/moderation/?user_id=201" + as + " ",
		"connections 201":                     "GET /s2sapi/moderation/connections/?user_id=201" + as + " ",
		"activity 201 --limit 5 --before 1_x": "GET /s2sapi/moderation/activity/?before=1_x&limit=5&user_id=201" + as + " ",
		"activity 201 --texts --reason why":   "GET /s2sapi/moderation/activity/?actor=carol&limit=20&reason=why&texts=true&user_id=201" + as + " ",
		"announce --online --key k1 noon":     "POST /s2sapi/moderation/announcements/" + as + `k1 {"to":"online","message":"noon","actor":"carol"}`,
		"announce --to 201,202 --reason r --key k1 --json noon": "POST /s2sapi/moderation/announcements/" + as + `k1 {"user_ids":[201,202],"message":"noon","reason":"r","actor":"carol"}`,
	} {
		p.asked = nil
		if o := p.runs(t, strings.Fields(line)...); o.code != 0 || len(p.asked) != 1 || p.asked[0] != want {
			t.Errorf("%s: asked %q, want %q; %+v", line, p.asked, want, o)
		}
	}
	p.asked = nil
	p.runs(t, "mute", "201", "--for", "1h")
	var body struct{ Until string }
	if _, text, _ := strings.Cut(p.asked[0], "{"); json.Unmarshal([]byte("{"+text), &body) != nil || body.Until == "" {
		t.Errorf("asked %q", p.asked)
	}
}

func TestAdminPrintsWhatTheServerAnswers(t *testing.T) {
	for _, row := range []struct {
		line, answer, want string
		code               exit.Code
	}{
		{"mute 201", `{"act":"mute","user_id":201,"until":"U","reason":"spam\u202e","actor":"bob","time":"T"}`, "T mute user 201 until U by bob: spam\\u202e\n", exit.Done},
		{"acts 201", `{"muted":true,"banned":false,"acts":[{"act":"mute","user_id":201,"time":"T"}]}`, "user 201: muted\nT mute user 201\n", exit.Done},
		{"connections 201", `{"connections":[{"node":"a","incarnation":"i","address":"192.0.2.7","since":"S","features":["invites","resume"]}],"unanswered":[]}`,
			"a since S from 192.0.2.7 invites,resume\nuser 201 has 1 connections\n", exit.Done},
		{"connections 201", `{"connections":[],"more":true,"unanswered":[{"node":"b"},{"incarnation":"i"}]}`, "user 201 has 0 or more connections\n", exit.Findings},
		{"activity 201", `{"first_seen":"F","online":true,"banned":true,"friends":1,"blocks":2,"blocked_by":3,"lately":{"messages":4,"invites":5},
			"acts":[],"events":[{"type":"chat_message","to_id":202,"time":"T","message":"hi\n"}],"next":"N"}`,
			"user 201: online, banned, first seen F\n1 friends, blocks 2, blocked by 3\nwithin a day: 4 messages, 5 invites\nT chat_message -> 202 hi\\n\nearlier: --before N\n", exit.Done},
		{"announce --online noon", `{"to":"online","id":"I"}`, "announced to all who are online: I\n", exit.Done},
		{"announce --to 201,202 noon", `{"user_ids":[201,202],"offline_ids":[202],"id":"I"}`, "announced to 1 of 2 users: I\noffline: 202\n", exit.Done},
		{"acts 201 --json", `{"muted":true}`, `{"muted":true}` + "\n", exit.Done},
		{"acts 201", `nonsense`, "", exit.Failed},
	} {
		p := newPlatform(t)
		p.answer = row.answer
		if o := p.runs(t, strings.Fields(row.line)...); o.out != row.want || o.code != int(row.code) {
			t.Errorf("%s: %q, code %d, want %q, %d (%s)", row.line, o.out, o.code, row.want, row.code, o.err)
		}
	}
}

func TestAdminSaysByItsExitCodeWhatCameOfIt(t *testing.T) {
	for _, row := range []struct {
		line   string
		status int
		answer string
		want   exit.Code
	}{
		{"unmute 201", 400, `{"act":["There is nothing in force to end."]}`, exit.Refused},
		{"mute 201", 503, `{"code":"unavailable"}`, exit.Unavailable},
		{"mute 201", 503, `{"code":"unconfirmed"}`, exit.Unconfirmed},
		{"announce --online noon", 429, `{"code":"rate_limited"}`, exit.Unavailable},
		{"announce --online noon", 409, `{"code":"idempotency_key_in_progress"}`, exit.Unavailable},
		{"acts 201", 401, `{}`, exit.Refused},
		{"acts 201", 302, ``, exit.Failed},
		{"acts", 200, `{}`, exit.Usage},
		{"acts x", 200, `{}`, exit.Usage},
		{"acts 0", 200, `{}`, exit.Usage},
		{"mute 201 --for -1h", 200, `{}`, exit.Usage},
		{"activity 201 --texts", 200, `{}`, exit.Usage},
		{"announce noon", 200, `{}`, exit.Usage},
		{"announce --online --to 7 noon", 200, `{}`, exit.Usage},
		{"announce --to 7,x noon", 200, `{}`, exit.Usage},
		{"announce --online", 200, `{}`, exit.Usage},
	} {
		p := newPlatform(t)
		p.status, p.answer = row.status, row.answer
		if o := p.runs(t, strings.Fields(row.line)...); o.code != int(row.want) {
			t.Errorf("%s, answered with %d %s: %+v, want %d", row.line, row.status, row.answer, o, row.want)
		}
	}
	p := newPlatform(t)
	p.Close()
	if o := p.runs(t, "mute", "201"); o.code != int(exit.Unavailable) {
		t.Errorf("without a server: %+v", o)
	}
	if o := command(t, []string{"CHATTING_S2S_TOKEN=0123456789abcdef"}, "admin", "mute", "201"); o.code != int(exit.Usage) || !strings.Contains(o.err, "--actor") {
		t.Errorf("without an actor: %+v", o)
	}
}
