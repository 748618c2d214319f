package rest

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"chatting/adapters/rest/exchange"
	"chatting/application"
)

// row is a request and the answer that the contract has for it.
type row struct {
	name         string
	method, path string
	body         string
	headers      []string // asUser1 and asJSON where nil
	status       int
	want         string
}

func (r row) run(t *testing.T, w *world) {
	t.Helper()
	headers := r.headers
	if headers == nil {
		headers = []string{asUser1, asJSON}
	}
	got := w.call(t, r.method, r.path, r.body, headers...)
	if got.status != r.status || got.body != r.want {
		t.Errorf("%s: %s %s %s: answer is %d %s, want %d %s", r.name, r.method, r.path, r.body, got.status, got.body, r.status, r.want)
	}
	if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: headers are %v", r.name, got.header)
	}
	if got.body != "" && got.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: media type is %s", r.name, got.header.Get("Content-Type"))
	}
	if got.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%s: WWW-Authenticate is %q", r.name, got.header.Get("WWW-Authenticate"))
	}
}

const blockedPath, friendsPath, onlinePath = "/api/chatting/blockedusers/", "/api/chatting/friends/", "/api/chatting/is-online/"

func target(sentence string) string { return `{"target_id":["` + sentence + `"]}` }

// targetRows are the rows that POST and DELETE of blocked users and of friends share.
func targetRows(method, path string) []row {
	var rows []row
	add := func(name, body string, status int, want string, headers ...string) {
		rows = append(rows, row{name, method, path, body, headers, status, want})
	}
	const integer, never = "A valid integer is required.", "해당 id가 존재하지 않습니다."
	add("missing", `{}`, 400, target("This field is required."))
	add("missing beside others", `{"target":7}`, 400, target("This field is required."))
	add("another case", `{"TARGET_ID":7}`, 400, target("This field is required."))
	add("null", `{"target_id":null}`, 400, target("This field may not be null."))
	for _, wrong := range []string{
		`"abc"`, `1.5`, `true`, `false`, `[]`, `{}`, `""`, `" "`, `"7 7"`, `"1.5"`, `"7e0"`, `"0x7"`, `"."`, `"-"`, `"٧"`, `"7\u0000"`, `0.1`, `7.0000000000000000001`,
		`1e-999999999999999999999`, `[7]`, `{"id":7}`, `"\ud800"`,
	} {
		add("no integer", `{"target_id":`+wrong+`}`, 400, target(integer))
	}
	add("long text", `{"target_id":"`+strings.Repeat("7", 1001)+`"}`, 400, target("String value too large."))
	for _, never_ := range []string{
		`0`, `-1`, `-7.0`, `"-7"`, `"0"`, `-0.0`, `9223372036854775808`, `-9223372036854775809`, `"9223372036854775808"`, `1e30`, `1e999999999999999999999`,
		strings.Repeat("9", 5000),
	} {
		add("no user's", `{"target_id":`+never_+`}`, 400, target(never))
	}
	add("last of two", `{"target_id":7,"target_id":"abc"}`, 400, target(integer))
	add("list", `[]`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`)
	add("string", ` "x" `, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}`)
	add("null body", `null`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got NoneType."]}`)
	add("number", `7`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}`)
	add("fraction", `7.0`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got float."]}`)
	add("bool", `true`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got bool."]}`)
	add("empty", ``, 400, target("This field is required."))
	add("empty, of another type", ``, 400, target("This field is required."), asUser1, "Content-Type: text/plain")
	add("deep list", strings.Repeat("[", 9000)+strings.Repeat("]", 9000), 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`)
	add("form without", `x=7`, 400, target("This field is required."), asUser1, asForm)
	add("form, empty", `target_id=`, 400, target(integer), asUser1, asForm)
	add("form, malformed", `%zz=1&target_id=a;b`, 400, target("This field is required."), asUser1, asForm)
	add("media type", `{"target_id":7}`, 415, `{"detail":"Unsupported media type \"text/plain; x=1\" in request."}`, asUser1, "Content-Type: text/plain; x=1")
	add("no media type", `{"target_id":7}`, 415, `{"detail":"Unsupported media type \"\" in request."}`, asUser1)
	add("multipart", `{"target_id":7}`, 415, `{"detail":"Unsupported media type \"multipart/form-data; boundary=x\" in request."}`, asUser1, "Content-Type: multipart/form-data; boundary=x")
	add("packed", `{"target_id":7}`, 415, `{"detail":"Unsupported content encoding \"gzip\" in request."}`, asUser1, asJSON, "Content-Encoding: gzip")
	const invalid = `{"detail":"The token is not valid."}`
	add("bad token", `{"target_id":7}`, 401, invalid, asJSON, "Authorization: Bearer x")
	add("no token", `{"target_id":7}`, 401, `{"detail":"Authorization header is required"}`, asJSON)
	for _, header := range []string{"Basic token-1", "Bearer", "token-1", "Bearer a b", "Bearertoken-1"} {
		add(header, `{"target_id":7}`, 401, `{"detail":"The Authorization header holds no bearer token."}`, asJSON, "Authorization: "+header)
	}
	return rows
}

func TestTargetsAreReadAsTheOriginalReadsThem(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{blockedPath, friendsPath} {
		for _, method := range []string{"POST", "DELETE"} {
			for _, r := range targetRows(method, path) {
				r.run(t, w)
			}
		}
	}
}

func TestEverySpellingOfATargetIsTheSameUser(t *testing.T) {
	for _, path := range []string{blockedPath, friendsPath} {
		w := newWorld(t)
		for _, r := range []row{
			{body: `{"target_id":7}`}, {body: `{"target_id":"7"}`}, {body: `{"target_id":" 7 "}`}, {body: `{"target_id":7.0}`},
			{body: `{"target_id":"7.00 "}`}, {body: `{"target_id":"7."}`}, {body: `{"target_id":"+7"}`}, {body: `{"target_id":"007"}`}, {body: `{"target_id":0.7e1}`},
			{body: `{"target_id":700e-2}`}, {body: ` {"target\u005fid" : 7, "x":[{}], "message":"x"} `}, {body: `{"target_id":null,"target_id":7}`},
			{body: `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `,"target_id":7}`},
			{body: `target_id=7`, headers: []string{asUser1, asForm}}, {body: `target_id=x&target_id=+7.0`, headers: []string{asUser1, asForm}},
			{body: `{"target_id":7}`, headers: []string{"Authorization: bEARER   token-1", "Content-Type: Application/JSON ; charset=utf-8"}},
			{body: `{"target_id":7}`, headers: []string{asUser1, asJSON, "Content-Encoding: identity"}},
		} {
			r.method, r.path, r.status, r.want = "POST", path, 201, `{"target_id":7}`
			r.run(t, w)
			r.method, r.status, r.want = "DELETE", 200, ""
			r.run(t, w)
		}
	}
}

func TestIdsKeepTheirPrecision(t *testing.T) {
	w := newWorld(t)
	for _, literal := range []string{`9223372036854775807`, `9007199254740993.0`, `"9007199254740993.0"`, `900719925474099.3e1`} {
		got := w.call(t, "POST", friendsPath, `{"target_id":`+literal+`}`, asUser1, asJSON)
		want := `{"target_id":9007199254740993}`
		if strings.HasPrefix(literal, "922") {
			want = `{"target_id":9223372036854775807}`
		}
		got.mustBe(t, 201, want)
	}
}

func TestBrokenJSONIsAParseError(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{
		`{`, `{"target_id":7}x`, `{"target_id":7}{}`, `{'target_id':7}`, `{"target_id":07}`, `{"target_id":NaN}`, `{"target_id":7,}`, ` `, "\ufeff{}",
		"{\"target_id\":\"\xff\"}", "{\"a\":\"\n\"}", strings.Repeat("[", 20000), `{"target_id":"\u12"}`, `{"target_id":7}` + "\x00",
	} {
		for _, method := range []string{"POST", "DELETE"} {
			got := w.call(t, method, blockedPath, body, asUser1, asJSON)
			if got.status != 400 || !strings.HasPrefix(got.body, `{"detail":"JSON parse error - `) {
				t.Errorf("%.40q: answer is %d %s", body, got.status, got.body)
			}
		}
	}
}

// TestBlockedUsers is the story of one user's list; its rows depend on the order.
func TestBlockedUsers(t *testing.T) {
	w := newWorld(t)
	is := func(blocked string) string { return `{"is_blocked":` + blocked + `}` }
	for _, r := range []row{
		{"none yet", "GET", blockedPath, "", nil, 200, `[]`},
		{"block", "POST", blockedPath, `{"target_id":9}`, nil, 201, `{"target_id":9}`},
		{"block again", "POST", blockedPath, `{"target_id":9}`, nil, 201, `{"target_id":9}`},
		{"block another", "POST", blockedPath, `{"target_id":7}`, nil, 201, `{"target_id":7}`},
		{"ascending", "GET", blockedPath, "", nil, 200, `[{"id":7},{"id":9}]`},
		{"one", "GET", blockedPath + "?target_id=7", "", nil, 200, is("true")},
		{"last of two", "GET", blockedPath + "?target_id=7&target_id=1", "", nil, 200, is("false")},
		{"unblock", "DELETE", blockedPath, `{"target_id":7}`, nil, 200, ``},
		{"unblock again", "DELETE", blockedPath, `{"target_id":7}`, nil, 400, target("차단되지 않은 사용자입니다.")},
		{"unblock oneself", "DELETE", blockedPath, `{"target_id":1}`, nil, 400, target("차단되지 않은 사용자입니다.")},
		{"one, no more", "GET", blockedPath + "?target_id=7", "", nil, 200, is("false")},
		{"all, after that", "GET", blockedPath, "", nil, 200, `[{"id":9}]`},
		{"others' lists", "GET", blockedPath, "", []string{"Authorization: Bearer token-2"}, 200, `[]`},
		{"never seen", "POST", blockedPath, `{"target_id":3}`, nil, 400, target("해당 id가 존재하지 않습니다.")},
		{"never seen", "DELETE", blockedPath, `{"target_id":3}`, nil, 400, target("해당 id가 존재하지 않습니다.")},
		{"never seen", "GET", blockedPath + "?target_id=3", "", nil, 404, `{"detail":"Not found."}`},
		{"nobody", "GET", blockedPath + "?target_id=0", "", nil, 404, `{"detail":"Not found."}`},
		{"negative", "GET", blockedPath + "?target_id=-7", "", nil, 404, `{"detail":"Not found."}`},
		{"beyond 64 bits", "GET", blockedPath + "?target_id=99999999999999999999", "", nil, 404, `{"detail":"Not found."}`},
		{"no number", "GET", blockedPath + "?target_id=abc", "", nil, 400, target("A valid integer is required.")},
		{"empty", "GET", blockedPath + "?target_id=", "", nil, 400, target("A valid integer is required.")},
		{"oneself", "POST", blockedPath, `{"target_id":1}`, nil, 400, target("자기 자신은 차단할 수 없습니다.")},
		{"known by REST", "POST", blockedPath, `{"target_id":2}`, nil, 201, `{"target_id":2}`},
		{"bad token", "GET", blockedPath, "", []string{"Authorization: Bearer x"}, 401, `{"detail":"The token is not valid."}`},
	} {
		r.run(t, w)
	}
}

// TestFriends is the story of one user's list; its rows depend on the order.
func TestFriends(t *testing.T) {
	w := newWorld(t)
	for _, r := range []row{
		{"none yet", "GET", friendsPath, "", nil, 200, `[]`},
		{"add", "POST", friendsPath, `{"target_id":9}`, nil, 201, `{"target_id":9}`},
		{"add again", "POST", friendsPath, `{"target_id":9}`, nil, 201, `{"target_id":9}`},
		{"never seen", "POST", friendsPath, `{"target_id":3}`, nil, 201, `{"target_id":3}`},
		{"one direction", "GET", friendsPath, "", []string{"Authorization: Bearer token-9"}, 200, `[]`},
		{"ascending", "GET", friendsPath, "", nil, 200, `[{"id":3},{"id":9}]`},
		{"oneself", "POST", friendsPath, `{"target_id":1}`, nil, 400, target("자기 자신은 친구로 추가할 수 없습니다.")},
		{"no friend", "DELETE", friendsPath, `{"target_id":7}`, nil, 400, target("친구가 아닌 사용자입니다.")},
		{"third", "POST", friendsPath, `{"target_id":4}`, nil, 201, `{"target_id":4}`},
		{"full", "POST", friendsPath, `{"target_id":5}`, nil, 400, target("친구를 더 이상 추가할 수 없습니다.")},
		{"remove", "DELETE", friendsPath, `{"target_id":3}`, nil, 200, ``},
		{"removed", "GET", friendsPath, "", nil, 200, `[{"id":4},{"id":9}]`},
	} {
		r.run(t, w)
	}
}

func TestFriendsAreUnknownInDropInMode(t *testing.T) {
	w := newWorld(t, func(_ *world, _ *Options, d *Deps) { d.Friends = nil })
	for _, method := range []string{"GET", "POST", "DELETE", "PUT"} {
		if got := w.call(t, method, friendsPath, `{"target_id":7}`, asUser1, asJSON); got.status != 404 {
			t.Errorf("%s: answer is %d %s", method, got.status, got.body)
		}
	}
}

func TestIsOnline(t *testing.T) {
	w := newWorld(t)
	never, required, integer := `{"error":"User not found"}`, `{"error":"id parameter is required"}`, `{"error":"id must be an integer"}`
	noHeader := `{"error":"Authorization header is required"}`
	for _, r := range []row{
		{"online", "GET", onlinePath + "?id=7", "", nil, 200, `{"id":7,"is_online":true}`},
		{"offline", "GET", onlinePath + "?id=9", "", nil, 200, `{"id":9,"is_online":false}`},
		{"oneself", "GET", onlinePath + "?id=1", "", nil, 200, `{"id":1,"is_online":false}`},
		{"blanks", "GET", onlinePath + "?id=%207+", "", nil, 200, `{"id":7,"is_online":true}`},
		{"none", "GET", onlinePath, "", nil, 400, required},
		{"empty", "GET", onlinePath + "?id=", "", nil, 400, required},
		{"never seen", "GET", onlinePath + "?id=3", "", nil, 404, never},
		{"nobody", "GET", onlinePath + "?id=0", "", nil, 404, never},
		{"negative", "GET", onlinePath + "?id=-7", "", nil, 404, never},
		{"beyond 64 bits", "GET", onlinePath + "?id=9223372036854775808", "", nil, 404, never},
		{"no number", "GET", onlinePath + "?id=abc", "", nil, 400, integer},
		{"fraction", "GET", onlinePath + "?id=1.5", "", nil, 400, integer},
		{"bad UTF-8", "GET", onlinePath + "?id=%ff", "", nil, 400, integer},
		{"no header", "GET", onlinePath + "?id=7", "", []string{}, 401, noHeader},
		{"no header, no id", "GET", onlinePath, "", []string{}, 401, noHeader},
		{"bad token", "GET", onlinePath + "?id=7", "", []string{"Authorization: Bearer x"}, 401, `{"detail":"The token is not valid."}`},
		{"no bearer", "GET", onlinePath + "?id=7", "", []string{"Authorization: x"}, 401, `{"detail":"The Authorization header holds no bearer token."}`},
	} {
		r.run(t, w)
	}
}

func TestEveryPathAnswersWithAndWithoutItsSlash(t *testing.T) {
	w := newWorld(t)
	for _, r := range []row{
		{path: blockedPath, status: 200, want: "[]"}, {path: friendsPath, status: 200, want: "[]"}, {path: onlinePath, status: 400, want: `{"error":"id parameter is required"}`},
		{path: "/healthz/", status: 200, want: `{"status":"ok"}`}, {path: "/readyz/", status: 200, want: `{"status":"ok","checks":{}}`},
	} {
		r.method = "GET"
		r.run(t, w)
		r.path = strings.TrimSuffix(r.path, "/")
		r.run(t, w)
		head := w.call(t, "HEAD", r.path, "", asUser1)
		if get := w.call(t, "GET", r.path, "", asUser1); head.status != get.status || head.body != "" ||
			head.header.Get("Content-Length") != get.header.Get("Content-Length") || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			t.Errorf("HEAD %s: %+v, GET: %+v", r.path, head, get)
		}
	}
	for _, path := range []string{"/s2sapi/system-message/", "/s2sapi/system-message"} {
		if got := w.call(t, "POST", path, `{"target_id":7,"message":"x"}`, asJSON); got.status != 200 {
			t.Errorf("%s: answer is %d %s", path, got.status, got.body)
		}
	}
}

func TestOtherMethodsAreNotAllowed(t *testing.T) {
	w := newWorld(t)
	for path, allowed := range map[string]string{
		blockedPath: "GET, HEAD, POST, DELETE", friendsPath: "GET, HEAD, POST, DELETE", onlinePath: "GET, HEAD", "/s2sapi/system-message/": "POST",
		"/healthz": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "FOO", "get"} {
			if strings.Contains(allowed, method) {
				continue
			}
			got := w.call(t, method, path, "", asUser1)
			want := `{"detail":"Method \"` + method + `\" not allowed."}`
			if path == "/healthz" || path == "/readyz" { // not in the contract
				want = `{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"Method \"` + method + `\" not allowed.","code":"method_not_allowed"}`
			}
			got.mustBe(t, 405, want)
			if got.header.Get("Allow") != allowed {
				t.Errorf("%s %s: Allow is %q, want %q", method, path, got.header.Get("Allow"), allowed)
			}
		}
	}
}

func TestWorkEndsWithTheTimeForTheRequest(t *testing.T) {
	w := newWorld(t, func(w *world, o *Options, _ *Deps) {
		w.appendHangs = true
		o.RequestTimeout = 20 * time.Millisecond
	})
	got := w.call(t, "POST", "/s2sapi/system-message/", `{"target_id":7,"message":"x"}`, asJSON)
	got.mustBe(t, 503, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The append could not be confirmed.","code":"unconfirmed"}`)
	if got.header.Get("Retry-After") != exchange.RetryAfter || got.header.Get("Content-Type") != problemType {
		t.Errorf("headers are %v", got.header)
	}
}

// deadlines is an Authenticator that tells how much time it is given.
type deadlines chan time.Duration

func (d deadlines) Execute(ctx context.Context, _ string) (application.Identity, error) {
	deadline, _ := ctx.Deadline()
	d <- time.Until(deadline)
	return application.Identity{User: 1}, nil
}

func TestTimeForARequestIsTheConfiguredOne(t *testing.T) {
	given := make(deadlines, 1)
	w := newWorld(t, func(_ *world, o *Options, d *Deps) {
		o.RequestTimeout = time.Hour
		d.Authenticate = given
	})
	w.call(t, "GET", blockedPath, "", asUser1)
	if left := <-given; left > time.Hour || left < time.Hour/2 {
		t.Errorf("given %v", left)
	}
}
