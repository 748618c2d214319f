package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/domain"
)

const systemPath = "/s2sapi/system-message/"

const offlineBody = `{"detail":"No User or Offline"}`

func (w *world) system(t testing.TB, body string, headers ...string) reply {
	t.Helper()
	return w.call(t, "POST", systemPath, body, append(headers, asJSON)...)
}

// fieldsOf returns the fields of a frame, without those that differ each time.
func fieldsOf(t testing.TB, body string) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	delete(fields, "time")
	delete(fields, "id")
	return fields
}

func TestSystemMessageAnswersWithTheFrameThatTheTargetGets(t *testing.T) {
	long := strings.Repeat("x", domain.MaxTextBytes)
	for body, want := range map[string]string{
		`{"target_id":7,"message":"round 2 starts"}`:                                                      `{"message":"round 2 starts"}`,
		`{"target_id":"7","message":" \u001c <b>&\u00a0\ud83d\ude00 \n","x":1}`:                           `{"message":"<b>&\u00a0😀"}`,
		`{"target_id":7.0,"message":5}`:                                                                   `{"message":"5"}`,
		`{"target_id":7,"message":-1.50}`:                                                                 `{"message":"-1.50"}`,
		`{"target_id":7,"message":"\\ud800"}`:                                                             `{"message":"\\ud800"}`,
		`{"target_id":7,"message":"` + long + `"}`:                                                        `{"message":"` + long + `"}`,
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`:                `{"message":"m","room_id":"r","opponent_id":8}`,
		`{"target_id":7,"message":"m","type":"invite_game","room_id":" r ","opponent_id":"8"}`:            `{"message":"m","room_id":"r","opponent_id":8}`,
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"r"}`:                                `{"message":"m","room_id":"r"}`,
		`{"target_id":7,"message":"m","type":"invite_game","opponent_id":8}`:                              `{"message":"m"}`,
		`{"target_id":7,"message":"m","type":"invite_game"}`:                                              `{"message":"m"}`,
		`{"target_id":7,"message":"m","type":"chat","room_id":"r","opponent_id":8}`:                       `{"message":"m"}`,
		`{"target_id":7,"message":"m","room_id":[],"opponent_id":null}`:                                   `{"message":"m"}`,
		`{"target_id":7,"message":"m","type":null}`:                                                       `{"message":"m"}`,
		`{"target_id":7,"message":"m","type":["invite_game"],"room_id":"r"}`:                              `{"message":"m"}`,
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"` + strings.Repeat("방", 255) + `"}`: `{"message":"m","room_id":"` + strings.Repeat("방", 255) + `"}`,
	} {
		w := newWorld(t)
		got := w.system(t, body)
		if got.status != 200 || got.header.Get("Content-Type") != exchange.JSONType {
			t.Errorf("%.100s: answer is %d %s", body, got.status, got.body)
			continue
		}
		var expected map[string]any
		if err := json.Unmarshal([]byte(want), &expected); err != nil {
			t.Fatal(err)
		}
		expected["type"], expected["from"], expected["to_id"] = "system_message", "admin", 7.0
		if a, b := asText(t, fieldsOf(t, got.body)), asText(t, expected); a != b {
			t.Errorf("%.100s: frame is %.200s, want %.200s", body, a, b)
		}
		events := w.appended()
		if len(events) != 1 {
			t.Fatalf("%.100s: %d events", body, len(events))
		}
		if encoded, err := wire.EncodeEvent(events[0]); err != nil || string(encoded) != got.body {
			t.Errorf("%.100s: the log has %s (%v), the answer is %s", body, encoded, err, got.body)
		}
	}
}

func asText(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSystemMessageAcceptsForms(t *testing.T) {
	w := newWorld(t)
	got := w.call(t, "POST", systemPath, "target_id=7&message=+a%20b%ff&type=invite_game&room_id=r&opponent_id=8", asForm)
	if want := `{"from":"admin","message":"a b�","opponent_id":8,"room_id":"r","to_id":7,"type":"system_message"}`; asText(t, fieldsOf(t, got.body)) != want {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
}

func TestAnOptionalFieldThatIsNullIsAbsent(t *testing.T) {
	const all = `{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`
	for _, field := range []string{"type", "room_id", "opponent_id", "x"} {
		var body map[string]any
		if err := json.Unmarshal([]byte(all), &body); err != nil {
			t.Fatal(err)
		}
		delete(body, field)
		want := newWorld(t).system(t, asText(t, body))
		body[field] = nil
		got := newWorld(t).system(t, asText(t, body))
		if got.status != 200 || asText(t, fieldsOf(t, got.body)) != asText(t, fieldsOf(t, want.body)) {
			t.Errorf("%s null: %d %s, without it: %s", field, got.status, got.body, want.body)
		}
	}
}

func TestEveryWrongFieldIsNamed(t *testing.T) {
	w := newWorld(t)
	said := func(sentence string) string { return `{"message":["` + sentence + `"]}` }
	const required, null, invite = "This field is required.", "This field may not be null.", `{"target_id":7,"message":"m","type":"invite_game",`
	for body, want := range map[string]string{
		`{}`:                                `{"message":["` + required + `"],"target_id":["` + required + `"]}`,
		``:                                  `{"message":["` + required + `"],"target_id":["` + required + `"]}`,
		`{"target_id":null,"message":null}`: `{"message":["` + null + `"],"target_id":["` + null + `"]}`,
		`{"target_id":"x","message":""}`:    `{"message":["This field may not be blank."],"target_id":["A valid integer is required."]}`,
		`{"target_id":7,"message":" \t\n\u001f\u3000"}`:                                 said("This field may not be blank."),
		`{"target_id":7,"message":true}`:                                                said("Not a valid string."),
		`{"target_id":7,"message":[]}`:                                                  said("Not a valid string."),
		`{"target_id":7,"message":{}}`:                                                  said("Not a valid string."),
		`{"target_id":7,"message":"a\u0000b"}`:                                          said("Null characters are not allowed."),
		`{"target_id":7,"message":"\u0000"}`:                                            said("Null characters are not allowed."),
		`{"target_id":7,"message":"\ud800"}`:                                            said("Surrogate characters are not allowed: U+D800."),
		`{"target_id":7,"message":"\\\udc00"}`:                                          said("Surrogate characters are not allowed: U+DC00."),
		`{"target_id":7,"message":"\ud83d\ud83d\ude00"}`:                                said("Surrogate characters are not allowed: U+D83D."),
		`{"target_id":7,"message":"\uD83Dx\uDE00"}`:                                     said("Surrogate characters are not allowed: U+D83D."),
		`{"target_id":7,"message":"` + strings.Repeat("x", domain.MaxTextBytes) + `y"}`: said("Ensure this field has no more than 65536 bytes."),
		invite + `"room_id":"","opponent_id":"x"}`:                                      `{"opponent_id":["A valid integer is required."],"room_id":["This field may not be blank."]}`,
		invite + `"room_id":[],"opponent_id":0}`:                                        `{"opponent_id":["해당 id가 존재하지 않습니다."],"room_id":["Not a valid string."]}`,
		invite + `"room_id":"` + strings.Repeat("방", 256) + `"}`:                        `{"room_id":["Ensure this field has no more than 255 characters."]}`,
		`[]`: `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`,
	} {
		if got := w.system(t, body); got.status != 400 || got.body != want {
			t.Errorf("%.100s: answer is %d %s, want %s", body, got.status, got.body, want)
		}
	}
	if events := w.appended(); len(events) != 0 {
		t.Errorf("appended %v", events)
	}
}

func TestOfflineAndImpossibleTargetsAreNotFound(t *testing.T) {
	w := newWorld(t)
	for _, target := range []string{"9", "3", "0", "-1", "9223372036854775808", `"0"`} {
		w.system(t, `{"target_id":`+target+`,"message":"m"}`).mustBe(t, 404, offlineBody)
	}
}

func TestUnconfirmedAppendsAreUnavailableForNow(t *testing.T) {
	for code, cause := range map[domain.Code]string{domain.CodeUnavailable: "secret1", domain.CodeUnconfirmed: "secret2"} {
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) {
			w.appendErr = domain.WrapError(code, "Later.", errors.New(cause))
		})
		got := w.system(t, `{"target_id":7,"message":"confidential"}`)
		got.mustBe(t, 503, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Later.","code":"`+string(code)+`"}`)
		if got.header.Get("Retry-After") == "" || got.header.Get("Content-Type") != problemType {
			t.Errorf("headers are %v", got.header)
		}
		logs := w.logs.String()
		if strings.Count(logs, "level=ERROR") != 1 || !strings.Contains(logs, cause) || strings.Contains(logs, "confidential") {
			t.Errorf("log is %s", logs)
		}
	}
}

func TestServersWithoutTokenMustBeOnThisMachine(t *testing.T) {
	w := newWorld(t)
	const body = `{"target_id":7,"message":"m"}`
	if got := w.system(t, body); got.status != 200 {
		t.Errorf("loopback peer: %d %s", got.status, got.body)
	}
	for _, header := range []string{
		"Origin: http://127.0.0.1", "Origin: null", "Origin: ", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: ", "X-Forwarded-For: 127.0.0.1", "x-forwarded-for: ",
		"Forwarded: for=127.0.0.1", "Referer: http://127.0.0.1/", "Cookie: a=b", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty",
		"Via: 1.1 x", "X-Forwarded-Host: localhost", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /", "X-Forwarded: a",
		"X-Real-IP: 127.0.0.1", "x_real_ip: 127.0.0.1", "CF-Connecting-IP: 127.0.0.1", "CF-Ray: a", "True-Client-IP: 127.0.0.1",
		"X-Client-IP: 127.0.0.1", "X-Cluster-Client-IP: 127.0.0.1", "Fastly-Client-IP: 127.0.0.1", "X-Original-URI: /", "X-Original-Forwarded-For: a",
		"X-Envoy-External-Address: 127.0.0.1", "X-Appengine-User-IP: 127.0.0.1", "X-Azure-SocketIP: a", "CDN-Loop: a", "X-Rewrite-URL: /",
		"Proxy-Connection: close", "WL-Proxy-Client-IP: a", "X-Remote-Addr: a",
	} {
		got := w.system(t, body, header)
		got.mustBe(t, 403, `{"type":"about:blank","title":"Forbidden","status":403,"detail":"Without a token only servers on this machine may do this.","code":"forbidden"}`)
		if logs := w.logs.String(); !strings.Contains(logs, "only servers on this machine may do this\" address=127.0.0.1") {
			t.Errorf("the refusal is not logged: %s", logs)
		}
		if logs := w.logs.String(); !strings.Contains(logs, `reason="browsers or proxies send its header origin"`) {
			t.Errorf("the refusal of the first header is not explained: %s", logs)
		}
		if got.header.Get("Content-Type") != problemType {
			t.Errorf("media type is %s", got.header.Get("Content-Type"))
		}
	}
}

// A page whose own host name leads to 127.0.0.1 is a loopback peer, and sends no header that gives it away with a plain form.
func TestServersWithoutTokenCallThisMachineByALoopbackName(t *testing.T) {
	w := newWorld(t, onPlainListener)
	request := func(target, host string) int {
		got, _ := w.raw(t, "POST "+target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n"+
			`{"target_id":7,"message":"m"}`)
		return got.status
	}
	for host, want := range map[string]int{
		"localhost": 200, "LocalHost:8000": 200, "chat.localhost:1": 200, "127.0.0.1": 200, "127.9.9.9:1": 200, "[::1]": 200, "[::1]:80": 200,
		"[::ffff:127.0.0.1]:80": 200,
		"evil.example":          403, "evil.example:8000": 403, "localhost.evil.example": 403, "notlocalhost": 403, "127.0.0.1.evil.example": 403, "192.0.2.1": 403,
		"[::2]:80": 403, "0.0.0.0": 403, "[::]": 403, "localhost:80:80": 400, "2130706433": 403, "127.1": 403, "": 400,
	} {
		if got := request(systemPath, host); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
	if got := request("http://evil.example"+systemPath, "localhost"); got != 403 {
		t.Errorf("another host in the target: %d", got)
	}
	if got := request("http://localhost"+systemPath, "evil.example"); got != 403 {
		t.Errorf("another host beside the target: %d", got)
	}
}

func TestATokenIsGoodBesideTrust(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.S2SToken, o.TrustLoopback = "s2s-token", true })
	const body = `{"target_id":7,"message":"m"}`
	for _, row := range []struct {
		headers []string
		want    int
	}{
		{nil, 200}, {[]string{"Via: 1.1 x"}, 401}, {[]string{"Via: 1.1 x", "Authorization: Bearer s2s-token"}, 200}, {[]string{"Via: 1.1 x", "Authorization: Bearer x"}, 401},
	} {
		if got := w.system(t, body, row.headers...); got.status != row.want {
			t.Errorf("%q: %d %s, want %d", row.headers, got.status, got.body, row.want)
		}
	}
}

func TestWithoutATokenAndWithoutTrustNobodyMayCall(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.TrustLoopback = false })
	for _, header := range []string{"X-Y: z", "Authorization: Bearer ", "Authorization: Bearer x"} {
		if got := w.system(t, `{"target_id":7,"message":"m"}`, header); got.status != 401 {
			t.Errorf("%s: %d", header, got.status)
		}
	}
}

// Behind nginx's "location /s2sapi/ { return 403; }" the first of these erased user 5.
func TestThePathThatIsRoutedIsTheOneThatWasSent(t *testing.T) {
	w := newWorld(t, onPlainListener)
	for target, want := range map[string]int{
		"//x/s2sapi/users/?user_id=5&://":               400,
		"//x/s2sapi/users/?user_id=5":                   404,
		"//s2sapi/users/?user_id=5":                     404,
		"http://127.0.0.1//s2sapi/users/?user_id=5":     404,
		"s2sapi/users/?user_id=5":                       400,
		"x://127.0.0.1/healthz?a=/s2sapi/users/":        405,
		"/x/../s2sapi/users/?user_id=5":                 404,
		"/%732sapi/users/?user_id=5":                    404,
		"/S2SAPI/users/?user_id=5":                      404,
		"http://127.0.0.1/s2sapi/nothing/?user_id=5":    404,
		"http://127.0.0.1/healthz?x=http://y/s2sapi/":   405,
		"/s2sapi/system-message/?x=://y/s2sapi/users/":  405,
		"/s2sapi/system-message/#://y/s2sapi/users/?a=": 405,
	} {
		got, _ := w.raw(t, "DELETE "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
		if got.status != want {
			t.Errorf("%s: %d %s, want %d", target, got.status, got.body, want)
		}
	}
	if n := len(w.events); n > 0 {
		t.Errorf("%d events", n)
	}
}

func TestServersElsewhereNeedTheToken(t *testing.T) {
	const body = `{"target_id":7,"message":"m"}`
	for peer, here := range map[net.Addr]bool{
		&net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}:           true,
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1).To4()}:     true,
		&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}:  true,
		&net.TCPAddr{IP: net.IPv6loopback}:                 true,
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}:           false,
		&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}:  false,
		&net.TCPAddr{IP: net.ParseIP("2001:db8::1")}:       false,
		&net.TCPAddr{IP: net.IPv4zero}:                     false,
		&net.TCPAddr{}:                                     false,
		&net.UnixAddr{Name: "/tmp/127.0.0.1", Net: "unix"}: false,
	} {
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.peer = peer })
		if got := w.system(t, body); (got.status == 200) != here || (got.status == 403) == here {
			t.Errorf("%v: answer is %d %s", peer, got.status, got.body)
		}
		w = newWorld(t, func(w *world, o *Options, _ *Deps) { w.peer, o.S2SToken, o.TrustLoopback = peer, "s2s-token", false })
		if got := w.system(t, body, "Authorization: Bearer s2s-token"); got.status != 200 {
			t.Errorf("%v with token: answer is %d %s", peer, got.status, got.body)
		}
		if got := w.system(t, body); got.status != 401 {
			t.Errorf("%v without token: answer is %d %s", peer, got.status, got.body)
		}
	}
}

func TestServersWithTokenMayBeAnywhere(t *testing.T) {
	w := newWorld(t, func(_ *world, o *Options, _ *Deps) { o.S2SToken, o.TrustLoopback = "s2s-token", false })
	const body = `{"target_id":7,"message":"m"}`
	for _, header := range []string{
		"X-Y: z", "Authorization: Bearer wrong", "Authorization: Bearer ", "Authorization: Basic s2s-token", "Authorization: Bearer token-7",
		"Authorization: Bearer s2s-token2", "Authorization: Bearer s2s-toke",
	} {
		got := w.system(t, body, header)
		got.mustBe(t, 401, `{"detail":"The token of the platform's servers is required."}`)
		if got.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("headers are %v", got.header)
		}
	}
	if log := w.logs.String(); !strings.Contains(log, "not the token of the platform's servers") || strings.Contains(log, "s2s-token") {
		t.Errorf("the log: %s", log)
	}
	for _, header := range []string{"X-Forwarded-For: 192.0.2.1", "Origin: https://a.example"} {
		if got := w.system(t, body, header, "Authorization: bearer s2s-token"); got.status != 200 {
			t.Errorf("%s: answer is %d %s", header, got.status, got.body)
		}
	}
}

func TestIdempotencyKeyCarriesARequestOutOnce(t *testing.T) {
	w := newWorld(t)
	const body = `{"target_id":7,"message":"m"}`
	first := w.system(t, body, `Idempotency-Key: "k 1"`)
	if first.status != 200 {
		t.Fatalf("first: %d %s", first.status, first.body)
	}
	w.system(t, body, `Idempotency-Key: "k 1"`).mustBe(t, 200, first.body)
	w.system(t, `{"message":" m ","target_id":"7","x":1}`, `Idempotency-Key: "k 1"`).mustBe(t, 200, first.body)
	other := w.system(t, `{"target_id":7,"message":"n"}`, `Idempotency-Key: "k 1"`)
	other.mustBe(t, 422, `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"The key belongs to another request.","code":"idempotency_key_reused"}`)
	if events := w.appended(); len(events) != 1 {
		t.Errorf("%d events", len(events))
	}
}

func TestQuotedAndBareKeysAreTheSame(t *testing.T) {
	w := newWorld(t)
	const body, bare = `{"target_id":7,"message":"m"}`, "8e03978e-40d5-43e8-bc93-6894a57f9324"
	first := w.system(t, body, `Idempotency-Key: "`+bare+`"`)
	w.system(t, body, "Idempotency-Key: "+bare).mustBe(t, 200, first.body)
}

func TestARequestHasOneKey(t *testing.T) {
	w := newWorld(t)
	for _, headers := range [][]string{{`Idempotency-Key: "`}, {"Idempotency-Key: "}, {"Idempotency-Key: a", "Idempotency-Key: a"}} {
		if got := w.system(t, `{"target_id":7,"message":"m"}`, headers...); got.status != 400 || got.header.Get("Content-Type") != problemType {
			t.Errorf("%v: %d %s", headers, got.status, got.body)
		}
	}
	if events := w.appended(); len(events) != 0 {
		t.Errorf("%d events", len(events))
	}
}

func TestRepetitionWhileTheFirstIsUnderWayIsAConflict(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(w *world, _ *Options, d *Deps) { d.Platform.SystemMessage.Log = gate{w, began, release} })
	const body, key = `{"target_id":7,"message":"m"}`, "Idempotency-Key: k"
	var first reply
	var done sync.WaitGroup
	done.Go(func() { first = w.system(t, body, key) })
	<-began
	got := w.system(t, body, key)
	got.mustBe(t, 409, `{"type":"about:blank","title":"Conflict","status":409,"detail":"The first request is under way.","code":"idempotency_key_in_progress"}`)
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(release)
	done.Wait()
	w.system(t, body, key).mustBe(t, 200, first.body)
}

// gate is a log that lets an append through when it is released.
type gate struct {
	log            *world
	began, release chan struct{}
}

func (g gate) Append(event domain.Event, done func(error)) {
	close(g.began)
	<-g.release
	g.log.Append(event, done)
}

func TestFailuresFreeTheirKeyAndRepetitionsAreTheSameEvent(t *testing.T) {
	const body, key = `{"target_id":7,"message":"m"}`, "Idempotency-Key: k"
	failing := domain.NewError(domain.CodeUnconfirmed, "Unknown.")
	var ids []domain.EventID
	for range 2 { // two nodes, each with an earlier failure
		w := newWorld(t, func(w *world, _ *Options, _ *Deps) { w.appendErr = failing })
		if got := w.system(t, body, key); got.status != 503 {
			t.Errorf("unconfirmed: %d %s", got.status, got.body)
		}
		if names := w.keyNames(); len(names) != 0 {
			t.Errorf("keys %v are held", names)
		}
		w.mu.Lock()
		w.appendErr = nil
		w.mu.Unlock()
		if got := w.system(t, body, key); got.status != 200 {
			t.Errorf("repeated: %d %s", got.status, got.body)
		}
		ids = append(ids, w.appended()[0].ID)
	}
	if ids[0] != ids[1] || ids[0] == (domain.EventID{}) {
		t.Errorf("ids are %v", ids)
	}
	w := newWorld(t)
	if w.system(t, `{"target_id":7,"message":"other"}`, key); w.appended()[0].ID == ids[0] {
		t.Error("another message under the key is the same event")
	}
}

func TestOfflineTargetsFreeTheKey(t *testing.T) {
	w := newWorld(t)
	const body, key = `{"target_id":9,"message":"m"}`, "Idempotency-Key: k"
	w.system(t, body, key).mustBe(t, 404, offlineBody)
	w.mu.Lock()
	w.online[9] = true
	w.mu.Unlock()
	if got := w.system(t, body, key); got.status != 200 {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
}

func TestKeyIsFreedWhenTheTimeForTheRequestIsOver(t *testing.T) {
	w := newWorld(t, func(w *world, o *Options, _ *Deps) {
		w.appendHangs = true
		o.RequestTimeout = 20 * time.Millisecond
	})
	if got := w.system(t, `{"target_id":7,"message":"m"}`, "Idempotency-Key: k"); got.status != 503 {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
	if names, logs := w.keyNames(), w.logs.String(); len(names) != 0 || strings.Contains(logs, "not settled") {
		t.Errorf("keys %v are held; log: %s", names, logs)
	}
}

func TestKeyIsFreedByAPanic(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, d *Deps) { d.Platform.SystemMessage.Log = bomb{} })
	if got := w.system(t, `{"target_id":7,"message":"m"}`, "Idempotency-Key: k"); got.status != 500 {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
	if names := w.keyNames(); len(names) != 0 {
		t.Errorf("keys %v are held", names)
	}
}

type bomb struct{}

func (bomb) Append(domain.Event, func(error)) { panic("boom") }

// brokenKeys is a store that fails after the work.
type brokenKeys struct{ *world }

func (brokenKeys) Complete(context.Context, string, int, []byte) error { return http.ErrServerClosed }

func TestAnswerStandsWhenItCannotBeStored(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Options, d *Deps) { d.Platform.Idempotency = brokenKeys{w} })
	if got := w.system(t, `{"target_id":7,"message":"m"}`, "Idempotency-Key: k"); got.status != 200 {
		t.Errorf("answer is %d %s", got.status, got.body)
	}
	if logs := w.logs.String(); strings.Count(logs, "level=WARN") != 1 {
		t.Errorf("log is %s", logs)
	}
}
