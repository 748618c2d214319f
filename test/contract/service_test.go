package contract

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// userManagement is the platform's service as the original server asks it: who a token belongs to, whom a user added, who
// added a user. Rows may make it misbehave, a user at a time.
type userManagement struct {
	url     string
	closing chan struct{} // ends the questions that hang

	mu       sync.Mutex
	tokens   map[string]string // what stands as id in the answer
	friends  map[int64][]int64 // whom a user added, in this order
	told     map[string]told   // by question
	answered map[string]int    // how often, by question
	changed  chan struct{}     // closed and replaced whenever answered changes
}

// told is how to answer a question: hangs, drops, or with a status and a body.
type told struct {
	how    string
	status int
	body   string
}

const servicePath = "/s2sapi/user-management/"

// startUserManagement serves on addr, of which port 0 is a free one, until the test ends.
func startUserManagement(t *testing.T, addr string) *userManagement {
	t.Helper()
	u := &userManagement{
		closing: make(chan struct{}), tokens: map[string]string{}, friends: map[int64][]int64{},
		told: map[string]told{}, answered: map[string]int{}, changed: make(chan struct{}),
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+servicePath+"user-api/verify/", u.verify)
	mux.HandleFunc("GET "+servicePath+"friends/{$}", u.listFriends)
	mux.HandleFunc("GET "+servicePath+"friends/friendaddme/{$}", u.listAdders)
	server := httptest.NewUnstartedServer(mux)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(func() {
		close(u.closing)
		server.Close()
	})
	u.url = server.URL
	return u
}

// register makes a token good for what stands in the answer as id, and returns it.
func (u *userManagement) register(id string) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	token := fmt.Sprintf("token-%d", len(u.tokens)+1)
	u.tokens[token] = id
	return token
}

// watches puts friends on user's list, at its end.
func (u *userManagement) watches(user int64, friends ...int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.friends[user] = append(u.friends[user], friends...)
}

// question names what is asked: verify or friends, of a user.
func question(kind string, user string) string { return kind + " " + user }

func (u *userManagement) tell(question string, how told) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.told[question] = how
}

// awaitAnswers waits until a question has been answered n times more.
func (u *userManagement) awaitAnswers(question string, n int) error {
	late := time.After(patience)
	u.mu.Lock()
	defer u.mu.Unlock()
	for until := u.answered[question] + n; u.answered[question] < until; {
		changed := u.changed
		u.mu.Unlock()
		select {
		case <-changed:
			u.mu.Lock()
		case <-late:
			u.mu.Lock()
			return fmt.Errorf("%q was not answered %d times within %s", question, n, patience)
		}
	}
	return nil
}

func (u *userManagement) verify(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	// As careless as services are: what cannot be of a token ends it.
	if end := strings.IndexFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }); end >= 0 {
		token = token[:end]
	}
	u.mu.Lock()
	id, good := u.tokens[token]
	u.mu.Unlock()
	status, body := http.StatusOK, `{"id":`+id+`}`
	if !good {
		status, body = http.StatusUnauthorized, `{"detail":"no"}`
	}
	u.answer(w, r, question("verify", id), status, body)
}

func (u *userManagement) listFriends(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseInt(r.FormValue("id"), 10, 64)
	u.mu.Lock()
	list := u.friends[id]
	u.mu.Unlock()
	u.answer(w, r, question("friends", r.FormValue("id")), http.StatusOK, idList(list))
}

func (u *userManagement) listAdders(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.ParseInt(r.FormValue("id"), 10, 64)
	var adders []int64
	u.mu.Lock()
	for user, friends := range u.friends {
		for _, friend := range friends {
			if friend == id {
				adders = append(adders, user)
			}
		}
	}
	u.mu.Unlock()
	u.answer(w, r, question("friendaddme", r.FormValue("id")), http.StatusOK, idList(adders))
}

func idList(ids []int64) string {
	type entry struct {
		ID int64 `json:"id"`
	}
	list := make([]entry, len(ids))
	for i, id := range ids {
		list[i].ID = id
	}
	data, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// answer answers as told, or with status and body.
func (u *userManagement) answer(w http.ResponseWriter, r *http.Request, question string, status int, body string) {
	u.mu.Lock()
	how, isTold := u.told[question]
	u.mu.Unlock()
	switch {
	case how.how == "hangs":
		select {
		case <-r.Context().Done():
		case <-u.closing:
		}
		return
	case how.how == "drops":
		panic(http.ErrAbortHandler)
	case isTold:
		status, body = how.status, how.body
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // a server that asks no more has no interest in it
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.told[question] != how {
		return // told otherwise meanwhile: who waits wants answers of the new kind
	}
	u.answered[question]++
	close(u.changed)
	u.changed = make(chan struct{})
}
