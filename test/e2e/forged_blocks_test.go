package e2e

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// Anybody who may write the log can write that somebody has blocked somebody else. Only the database gives out versions.
func TestAForgedBlockHidesNothingAndAForgedUnblockShowsNothing(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	one, two := mustConnect(t, s.HTTP, ann), mustConnect(t, s.HTTP, bob)
	producer := harness.Dial(t, s.Kafka)
	forge := func(kind string, version int64) {
		t.Helper()
		id := uuid.NewString()
		value := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/chatting","type":"chatting.%s.v1","subject":"2",`+
			`"time":"2026-01-02T03:04:05.678Z","datacontenttype":"application/json","data":{"type":%[2]q,"from_id":2,"to_id":1,`+
			`"version":%d,"time":"2026-01-02T03:04:05.678Z","id":%[1]q}}`, id, kind, version)
		record := &kgo.Record{
			Topic: "chatting.conversations", Key: []byte("1:2"), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		}
		if err := producer.ProduceSync(waiting(t), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	says := func(text string, shown bool) {
		t.Helper()
		if err := one.Send(2, text); err != nil {
			t.Fatal(err)
		}
		if f, err := one.next(); err != nil || f.Message != text {
			t.Fatalf("the echo is %+v, %v", f, err)
		}
		if shown {
			if f, err := two.next(); err != nil || f.Message != text {
				t.Fatalf("got %+v, %v; want %q", f, err, text)
			}
		}
	}
	says("first", true)
	forge("user_blocked", math.MaxInt64)
	forge("user_blocked", 1)
	says("second", true)
	if status, body := s.rest(http.MethodPost, "/api/chatting/blockedusers/", bob, `{"target_id":1}`); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	forge("user_unblocked", 2)
	forge("user_unblocked", math.MaxInt64-1)
	says("hidden", false)
	if status, body := s.rest(http.MethodDelete, "/api/chatting/blockedusers/", bob, `{"target_id":1}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	says("third", true)
	check := func() {
		t.Helper()
		var texts []string
		for _, f := range s.page(bob, 1, 3) {
			texts = append(texts, f.Message)
		}
		if got := strings.Join(texts, " "); got != "third second first" {
			t.Errorf("the history says %q", got)
		}
	}
	check()
	if said := s.chatting("history", "rebuild", "--wait"); !strings.Contains(said, "\nprojected again: ") {
		t.Errorf("rebuild said %s", said)
	}
	check()
}
