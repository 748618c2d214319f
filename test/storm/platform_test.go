package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/storm/check"
)

// node answers a moderator. It has an act in force for each user, takes every second request, and of those that it refuses it has
// carried out the first.
type node struct {
	t     *testing.T
	asked int
	force map[int64]string // the act that is in force
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+platformToken {
		n.t.Errorf("the request has %q", r.Header.Get("Authorization"))
	}
	if r.Method == http.MethodGet {
		act := n.force[7]
		_ = json.NewEncoder(w).Encode(map[string]any{"user_id": 7, "muted": act == check.Mute, "banned": act == check.Ban})
		return
	}
	var act struct {
		Act  string
		User int64 `json:"user_id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&act); err != nil || r.URL.Path != "/s2sapi/moderation/" {
		n.t.Errorf("%s: %v", r.URL.Path, err)
	}
	n.asked++
	if n.asked%2 == 1 && n.asked > 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if n.force[act.User] = act.Act; n.asked == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": "id of " + act.Act})
}

// What had no answer may be in force: it is ended all the same, and noted as what is not known.
func TestTheModeratorEndsWhatMayBeInForce(t *testing.T) {
	n := &node{t: t, force: make(map[int64]string)}
	server := httptest.NewServer(n)
	defer server.Close()
	p := newPlatform(newRESTClient(func() string { return strings.TrimPrefix(server.URL, "http://") }, func(int64) string { return platformToken }))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	p.forAWhile(ended, check.Mute, check.Unmute, 7) // the faults end before anything was asked
	if err := p.act(t.Context(), check.Ban, 7); err == nil {
		t.Error("a refusal is a success")
	}
	if err := p.lift(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.force[7] != check.Unban {
		t.Errorf("in force is %q", n.force[7])
	}
	if err := p.ban(t.Context(), 7); err != nil || !p.isBanned(7) || p.isBanned(8) {
		t.Errorf("the ban for good: %v", err)
	}
	var kinds []string
	for _, request := range p.requests() {
		kinds = append(kinds, request.Kind)
		if confirmed := request.ID != ""; request.User != 7 || request.Asked.IsZero() || confirmed != !request.Confirmed.IsZero() ||
			confirmed && request.ID != "id of "+request.Kind {
			t.Errorf("noted is %+v", request)
		}
	}
	if want := []string{check.Mute, check.Ban, check.Unban, check.Ban, check.Ban}; !slices.Equal(kinds, want) {
		t.Errorf("asked was for %v, want %v", kinds, want)
	}
}

// The examples are what the server writes: other tests hold them against it.
func TestTheReaderTellsActsFromWhatUsersSay(t *testing.T) {
	example := func(name string) []byte {
		value, err := os.ReadFile(filepath.Join("..", "..", "docs", "schemas", "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	acts, err := filepath.Glob(filepath.Join("..", "..", "docs", "schemas", "examples", "moderation.v1", "*.json"))
	if err != nil || len(acts) == 0 {
		t.Fatal(acts, err)
	}
	reader := &logReader{next: make(map[int32]int64)}
	written := time.Unix(1_000_000, 0)
	for i, path := range acts {
		reader.add(&kgo.Record{Partition: 3, Offset: int64(i), Timestamp: written, Value: example(filepath.Join("moderation.v1", filepath.Base(path)))})
	}
	reader.add(&kgo.Record{Partition: 3, Offset: 9, Timestamp: written, Value: example("chat_message.v1/acts.json")})
	if reader.err != nil || len(reader.acts) != len(acts) || len(reader.records) != 1 || reader.next[3] != 10 {
		t.Fatalf("read are %+v and %+v, %v", reader.acts, reader.records, reader.err)
	}
	for i, act := range reader.acts {
		if act.ID == "" || act.Kind == "" || act.User != 201 || act.Version != 1767323045678 || act.Time.IsZero() || act.Partition != 3 || act.Offset != int64(i) {
			t.Errorf("an act is read as %+v", act)
		}
	}
	if e := reader.records[0]; e.Type != check.Chat || e.Login != 1767323045678 || !e.Written.Equal(written) || e.ID == "" || e.Text == "" {
		t.Errorf("a message is read as %+v", e)
	}
}
