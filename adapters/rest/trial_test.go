package rest

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/limits"
	"chatting/application"
	"chatting/domain"
)

const trialPath = "/trial/users"

// newcomers gives out 1, 2, 3, …
type newcomers struct {
	mu   sync.Mutex
	last domain.UserID
	life time.Duration // of the last token
	err  error
}

func (n *newcomers) New(context.Context) (domain.UserID, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	return n.last, n.err
}

// onTrial is a change for newWorld: the server is a trial server.
func onTrial(users *newcomers) func(*world, *Options, *Deps) {
	return func(_ *world, _ *Options, d *Deps) {
		d.TrialUsers = &application.MakeTrialUser{Users: users, NewToken: func(user domain.UserID, life time.Duration) (string, error) {
			users.mu.Lock()
			defer users.mu.Unlock()
			users.life = life
			return "token-" + user.String(), nil
		}}
	}
}

func TestATrialServerMakesUsers(t *testing.T) {
	w := newWorld(t, onTrial(&newcomers{}))
	for i, path := range []string{trialPath, trialPath + "/"} {
		got := w.call(t, "POST", path, "{}", asJSON)
		var user trialUser
		if err := json.Unmarshal([]byte(got.body), &user); err != nil || got.status != 201 || user.User != domain.UserID(i+1) {
			t.Fatalf("%s: %d %s, %v", path, got.status, got.body, err)
		}
		if got := w.call(t, "GET", blockedPath, "", "Authorization: Bearer "+user.Token); got.status != 200 {
			t.Errorf("the token of the new user: %d %s", got.status, got.body)
		}
	}
	if got := w.call(t, "GET", trialPath, ""); got.status != 405 {
		t.Errorf("GET: %d %s", got.status, got.body)
	}
}

func TestOtherServersMakeNoUsers(t *testing.T) {
	w := newWorld(t)
	got := w.call(t, "POST", trialPath, "{}", asJSON)
	got.mustBe(t, 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"Not found.","code":"not_found"}`)
}

func TestOnlyThePageOfATrialServerMakesUsers(t *testing.T) {
	users := &newcomers{}
	w := newWorld(t, onTrial(users))
	own := strings.TrimPrefix(w.url, "http://")
	post := func(host string, headers ...string) int {
		t.Helper()
		request := "POST " + trialPath + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\nContent-Type: application/json\r\n" +
			strings.Join(append(headers, ""), "\r\n") + "\r\n{}"
		got, _ := w.raw(t, request)
		return got.status
	}
	for _, headers := range [][]string{
		nil,
		{"Origin: http://" + own, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-CH-UA: x", "Cookie: of=another-port", "Referer: http://" + own + "/"},
		{"Sec-Fetch-Site: none"},
	} {
		if status := post(own, headers...); status != 201 {
			t.Errorf("%q: %d", headers, status)
		}
	}
	for host, origin := range map[string]string{"localhost:1": "http://localhost:1", "[::1]:8000": "http://[::1]:8000", "chat.localhost": "http://chat.localhost"} {
		if status := post(host, "Origin: "+origin); status != 201 {
			t.Errorf("at %s: %d", host, status)
		}
	}
	made := users.last
	for _, headers := range [][]string{
		{"Origin: https://evil.example"}, {"Origin: null"}, {"Origin: "}, {"Origin: http://localhost:3000"}, {"Origin: http://127.0.0.1"}, {"Origin: file://"},
		{"Origin: http://" + own, "Origin: https://evil.example"}, {"Origin: http://" + own + ".evil.example"},
		{"Sec-Fetch-Site: cross-site"}, {"Sec-Fetch-Site: same-site"}, {"Sec-Fetch-Site: x"}, {"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"},
		{"X-Forwarded-For: 127.0.0.1"}, {"Forwarded: for=127.0.0.1"}, {"Via: 1.1 x"}, {"X-Real-IP: 127.0.0.1"}, {"CF-Ray: 1"}, {"X_Forwarded_Host: localhost"},
	} {
		if status := post(own, headers...); status != 404 {
			t.Errorf("%q: %d", headers, status)
		}
	}
	// A page whose own host name leads here is of the same origin for its browser.
	for _, host := range []string{"evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "localhostx"} {
		if status := post(host, "Origin: http://"+host, "Sec-Fetch-Site: same-origin"); status != 404 {
			t.Errorf("at %s: %d", host, status)
		}
	}
	if users.last != made {
		t.Errorf("%d users were made", users.last-made)
	}
	if logs := w.logs.String(); !strings.Contains(logs, "no trial user was made: only this machine may ask for one") || strings.Contains(logs, "evil") {
		t.Errorf("the log is %s", logs)
	}
}

func TestATrialUserIsNotMadeForOtherMachines(t *testing.T) {
	users := &newcomers{}
	for _, peer := range []net.Addr{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, &net.UnixAddr{Name: "/tmp/x", Net: "unix"}} {
		w := newWorld(t, onTrial(users), func(w *world, _ *Options, _ *Deps) { w.peer = peer })
		if got := w.call(t, "POST", trialPath, "{}", asJSON); got.status != 404 || users.last != 0 {
			t.Errorf("%v: %d %s", peer, got.status, got.body)
		}
	}
}

// What a form or a simple request of another page can send is refused, whatever the browser says of where it comes from.
func TestATrialUserIsAskedForWithJSON(t *testing.T) {
	users := &newcomers{}
	w := newWorld(t, onTrial(users))
	for _, header := range []string{asForm, "Content-Type: text/plain", "Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json2", "X-None: 1"} {
		if got := w.call(t, "POST", trialPath, "{}", header); got.status != 415 || users.last != 0 {
			t.Errorf("%s: %d %s", header, got.status, got.body)
		}
	}
	if got := w.call(t, "POST", trialPath, "", "Content-Type: Application/JSON; charset=utf-8"); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, body := range []string{"[]", "{", "1", `"x"`} {
		if got := w.call(t, "POST", trialPath, body, asJSON); got.status != 400 || users.last != 1 {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
}

func TestATrialTokenLivesAsLongAsAskedFor(t *testing.T) {
	users := &newcomers{}
	w := newWorld(t, onTrial(users))
	for body, want := range map[string]time.Duration{
		"{}": application.MaxTrialTokenLife, `{"expires_in":null}`: application.MaxTrialTokenLife, `{"expires_in":60}`: time.Minute, `{"expires_in":1}`: time.Second,
		`{"expires_in":2592000,"x":1}`: application.MaxTrialTokenLife,
	} {
		if got := w.call(t, "POST", trialPath, body, asJSON); got.status != 201 || users.life != want {
			t.Errorf("%s: %d %s, for %s", body, got.status, got.body, users.life)
		}
	}
	for _, wrong := range []string{"0", "-1", "2592001", "1.5", `"x"`, "[]", "99999999999999999999", "true"} {
		if got := w.call(t, "POST", trialPath, `{"expires_in":`+wrong+`}`, asJSON); got.status != 400 || !strings.HasPrefix(got.body, `{"expires_in":[`) {
			t.Errorf("%s: %d %s", wrong, got.status, got.body)
		}
	}
}

// oneTrial lets two users be made in an hour.
type oneTrial struct{ *limits.Rate[int] }

func (r oneTrial) Take(n int) time.Duration { return r.Rate.Take(0, n) }

func TestTrialUsersAreMadeAtABoundedRate(t *testing.T) {
	users := &newcomers{}
	w := newWorld(t, onTrial(users), func(_ *world, _ *Options, d *Deps) { d.Trials = oneTrial{onceIn[int](time.Hour, 2)} })
	w.call(t, "POST", trialPath, "{}", asJSON, "Origin: https://evil.example") // counts for nothing
	var statuses []int
	for range 3 {
		got := w.call(t, "POST", trialPath, "{}", asJSON)
		statuses = append(statuses, got.status)
		if got.status == 429 && (got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"rate_limited"`)) {
			t.Errorf("the refusal is %v %s", got.header, got.body)
		}
	}
	if statuses[0] != 201 || statuses[1] != 201 || statuses[2] != http.StatusTooManyRequests || users.last != 2 {
		t.Errorf("the answers are %v", statuses)
	}
}

func TestATrialUserThatCannotBeMadeIsAFault(t *testing.T) {
	w := newWorld(t, onTrial(&newcomers{err: domain.NewError(domain.CodeUnavailable, "The database is not available.")}))
	if got := w.call(t, "POST", trialPath, "{}", asJSON); got.status != 503 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
