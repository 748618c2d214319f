package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"chatting/test/harness"
)

// asks calls a path of the platform, and reads the answer of a status into a value.
func (s *server) asks(method, path, body string, want int, into any, headers ...string) string {
	s.t.Helper()
	status, answer := s.rest(method, "/s2sapi/moderation/"+path, "", body, headers...)
	if status != want || into != nil && json.Unmarshal(answer, into) != nil {
		s.t.Fatalf("%s %s %s: %d %s, want %d", method, path, body, status, answer, want)
	}
	return string(answer)
}

// auditOf returns the events of a type in the audit.
func (s *server) auditOf(kind string) (events []string) {
	s.t.Helper()
	for _, r := range harness.ReadTopic(waiting(s.t), s.t, s.Kafka, "chatting.audit") {
		if strings.Contains(string(r.Value), `"type":"chatting.`+kind+`.v1"`) {
			events = append(events, string(r.Value))
		}
	}
	return events
}

func TestThePlatformSeesWhereAUserIsConnected(t *testing.T) {
	s := startServer(t, t.TempDir())
	first, err := harness.ConnectWith(s.HTTP, map[string]any{"token": s.token(1), "features": []string{"resume", "invites", "unknown"}})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second := mustConnect(t, s.HTTP, s.token(1))
	var answer struct {
		User        int `json:"user_id"`
		Connections []struct {
			Node, Incarnation, Address, Since string
			Features                          []string
		}
		More       bool
		Unanswered []json.RawMessage
	}
	text := s.asks(http.MethodGet, "connections/?user_id=1", "", http.StatusOK, &answer)
	if answer.User != 1 || len(answer.Connections) != 2 || answer.More || len(answer.Unanswered) != 0 {
		t.Fatal(text)
	}
	oldest := answer.Connections[0]
	if oldest.Node == "" || oldest.Incarnation == "" || oldest.Address != "127.0.0.1" || oldest.Since == "" ||
		!slices.Equal(oldest.Features, []string{"invites", "resume"}) || answer.Connections[1].Features == nil {
		t.Errorf("the connections are %s", text)
	}
	second.Close()
	harness.Until(waiting(t), t, "one connection is left", func() bool {
		s.asks(http.MethodGet, "connections/?user_id=1", "", http.StatusOK, &answer)
		return len(answer.Connections) == 1
	})
	s.asks(http.MethodGet, "connections/?user_id=x", "", http.StatusBadRequest, nil)
	for _, r := range harness.ReadTopic(waiting(t), t, s.Kafka, "chatting.sessions") {
		if strings.Contains(string(r.Value), "127.0.0.1") {
			t.Errorf("the log has an address: %s", r.Value)
		}
	}
}

func TestAnAnnouncementReachesAllWhoAreOnlineOnce(t *testing.T) {
	s := startServer(t, t.TempDir())
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	const body = `{"to":"online","message":"noon <b>","actor":"alice","reason":"planned"}`
	first := s.asks(http.MethodPost, "announcements/", body, http.StatusOK, nil, "Idempotency-Key: k1")
	if again := s.asks(http.MethodPost, "announcements/", body, http.StatusOK, nil, "Idempotency-Key: k1"); again != first {
		t.Errorf("the second answer is %s, the first was %s", again, first)
	}
	s.asks(http.MethodPost, "announcements/", strings.Replace(body, "noon", "one", 1), http.StatusUnprocessableEntity, nil, "Idempotency-Key: k1")
	s.asks(http.MethodPost, "announcements/", `{"to":"online","message":"last","actor":"alice"}`, http.StatusOK, nil)
	for _, c := range []*client{one, two} {
		for _, want := range []string{"noon <b>", "last"} {
			f, err := c.next()
			if err != nil || f.Type != "system_message" || f.From != 0 || f.Message != want {
				t.Fatalf("got %+v, %v; want %s", f, err, want)
			}
		}
	}
	// It is kept for nobody.
	later := mustConnect(t, s.HTTP, s.token(3))
	later.says(t, 1, "to somebody", "")
	one.mustHear(t, "to somebody")
	audit := s.auditOf("announcement")
	if len(audit) != 2 || !strings.Contains(audit[0], `"actor":"alice"`) || !strings.Contains(audit[0], `"reason":"planned"`) {
		t.Errorf("the audit has %q", audit)
	}
	for _, wrong := range []string{
		`{}`, `{"message":"noon","actor":"alice"}`, `{"to":"all","message":"noon","actor":"alice"}`, `{"to":"online","actor":"alice"}`,
		`{"to":"online","user_ids":[1],"message":"noon","actor":"alice"}`, `{"to":"online","message":"noon"}`,
		`{"user_ids":[],"message":"noon","actor":"alice"}`, `{"user_ids":[0],"message":"noon","actor":"alice"}`,
		`{"to":"online","message":"noon","actor":"alice","reason":"a\nb"}`,
	} {
		s.asks(http.MethodPost, "announcements/", wrong, http.StatusBadRequest, nil)
	}
	for i := 0; ; i++ {
		status, answer := s.rest(http.MethodPost, "/s2sapi/moderation/announcements/", "", `{"to":"online","message":"again","actor":"alice"}`)
		if status == http.StatusTooManyRequests {
			break
		}
		if status != http.StatusOK || i > 100 {
			t.Fatalf("announcement %d: %d %s", i, status, answer)
		}
	}
}

func TestAnAnnouncementToAListIsAMessageToEach(t *testing.T) {
	s := startServer(t, t.TempDir())
	one := mustConnect(t, s.HTTP, s.token(1))
	two := mustConnect(t, s.HTTP, s.token(2))
	var answer struct {
		Users   []int `json:"user_ids"`
		Offline []int `json:"offline_ids"`
	}
	text := s.asks(http.MethodPost, "announcements/", `{"user_ids":[99,1,1],"message":"you won","actor":"alice"}`, http.StatusOK, &answer)
	if !slices.Equal(answer.Users, []int{1, 99}) || !slices.Equal(answer.Offline, []int{99}) {
		t.Errorf("the answer is %s", text)
	}
	one.mustHear(t, "you won")
	two.says(t, 1, "next", "")
	one.mustHear(t, "next")
	if got := s.texts(s.token(1), 0, 1); got != "you won" {
		t.Errorf("the history has %q", got)
	}
}

func TestThePlatformSeesWhatAUserDidAndTextsOnlyWithAWordInTheAudit(t *testing.T) {
	s := startServer(t, t.TempDir())
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	for i := range 3 {
		one.says(t, 2, fmt.Sprintf("secret %d", i), "")
		two.mustHear(t, fmt.Sprintf("secret %d", i))
	}
	s.act(1, "mute", `,"reason":"spam"`)
	if status, body := s.rest(http.MethodPost, "/api/chatting/blockedusers/", s.token(2), `{"target_id":1}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	type event struct{ Type, ID, Message string }
	var answer struct {
		Online, Muted, Banned bool
		BlockedBy             int    `json:"blocked_by"`
		FirstSeen             string `json:"first_seen"`
		Lately                struct{ Messages int }
		Acts                  []json.RawMessage
		Events                []event
		Next                  *string
	}
	harness.Until(waiting(t), t, "the history has all", func() bool {
		s.asks(http.MethodGet, "activity/?user_id=1", "", http.StatusOK, &answer)
		return len(answer.Events) == 3
	})
	if !answer.Online || !answer.Muted || answer.Banned || answer.BlockedBy != 1 || answer.FirstSeen == "" || answer.Lately.Messages != 3 ||
		len(answer.Acts) != 1 || answer.Next != nil {
		t.Errorf("the answer is %+v", answer)
	}
	all := slices.Clone(answer.Events) // the next answers are read into the same list
	if all[0].Message != "" || all[0].Type != "chat_message" {
		t.Errorf("without being asked for texts, the answer is %+v", all)
	}
	var paged []event
	for before := ""; ; {
		s.asks(http.MethodGet, "activity/?user_id=1&limit=2"+before, "", http.StatusOK, &answer)
		paged = append(paged, answer.Events...)
		if answer.Next == nil {
			break
		}
		before = "&before=" + *answer.Next
	}
	if !slices.Equal(paged, all) {
		t.Errorf("in pages, the events are %v, want %v", paged, all)
	}
	if audit := s.auditOf("texts_read"); len(audit) != 0 {
		t.Errorf("the audit has %q", audit)
	}
	for _, wrong := range []string{"", "&actor=alice", "&reason=why", "&actor=alice&reason=%20", "&actor=alice&reason=a%0Ab"} {
		s.asks(http.MethodGet, "activity/?user_id=1&texts=true"+wrong, "", http.StatusBadRequest, nil)
	}
	s.asks(http.MethodGet, "activity/?user_id=1&texts=true&actor=alice&reason=a+report", "", http.StatusOK, &answer)
	if answer.Events[0].Message != "secret 2" {
		t.Errorf("the texts are %+v", answer.Events)
	}
	audit := s.auditOf("texts_read")
	if len(audit) != 1 || !strings.Contains(audit[0], `"user_id":1,"reason":"a report","actor":"alice"`) {
		t.Errorf("the audit has %q", audit)
	}
}
