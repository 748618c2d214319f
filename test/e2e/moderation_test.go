package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// act has the platform carry out an act on a user.
func (s *server) act(user int, kind, more string) {
	s.t.Helper()
	body := fmt.Sprintf(`{"user_id":%d,"act":%q,"actor":"alice"%s}`, user, kind, more)
	if status, answer := s.rest(http.MethodPost, "/s2sapi/moderation/", "", body); status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", body, status, answer)
	}
}

// texts returns the texts of a conversation's page, newest first, once there are so many.
func (s *server) texts(token string, partner, count int) string {
	s.t.Helper()
	var texts []string
	for _, f := range s.page(token, partner, count) {
		texts = append(texts, f.Message)
	}
	return strings.Join(texts, " ")
}

// inAYear is when an act ends by itself, as requests and frames have it.
func inAYear() string {
	return time.Now().UTC().AddDate(1, 0, 0).Format("2006-01-02T15:04:05.000Z")
}

// says sends a text, and wants its echo, or the code of an error frame.
func (c *client) says(t *testing.T, to int, text, code string) harness.Frame {
	t.Helper()
	if err := c.Send(to, text); err != nil {
		t.Fatal(err)
	}
	f, err := c.next()
	if err != nil || f.Code != code || code == "" && f.Message != text {
		t.Fatalf("%q is answered with %+v, %v; want code %q", text, f, err, code)
	}
	return f
}

func (c *client) mustHear(t *testing.T, text string) {
	t.Helper()
	if f, err := c.next(); err != nil || f.Message != text {
		t.Fatalf("got %+v, %v; want %q", f, err, text)
	}
}

// ends wants the connection to be closed with a code and a reason.
func (c *client) ends(t *testing.T, code int, reason string) {
	t.Helper()
	f, err := c.next()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Text != reason {
		t.Fatalf("got %+v, %v; want %d %s", f, err, code, reason)
	}
}

// slip writes a chat message into the log as a node does that has not heard of an act. acts is what the sender's login knew.
func (s *server) slip(from, to int, text string, acts int64) {
	s.t.Helper()
	id, at := uuid.NewString(), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	known := ""
	if acts > 0 {
		known = fmt.Sprintf(`"acts":"%d",`, acts)
	}
	value := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/chatting","type":"chatting.chat_message.v1","subject":"%d",`+
		`"time":%q,%s"datacontenttype":"application/json","data":{"type":"chat_message","message":%q,"from_id":%[2]d,"to_id":%[6]d,`+
		`"time":%[3]q,"id":%[1]q}}`, id, from, at, known, text, to)
	record := &kgo.Record{
		Topic: "chatting.conversations", Key: fmt.Appendf(nil, "%d:%d", min(from, to), max(from, to)), Value: []byte(value),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
	}
	if err := harness.Dial(s.t, s.Kafka).ProduceSync(waiting(s.t), record).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

// newest returns the version of the newest act on a user.
func (s *server) newest(user int) int64 {
	s.t.Helper()
	status, body := s.rest(http.MethodGet, fmt.Sprintf("/s2sapi/moderation/?user_id=%d", user), "", "")
	var answer struct{ Acts []struct{ Version int64 } }
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || len(answer.Acts) == 0 {
		s.t.Fatalf("%d %s", status, body)
	}
	return answer.Acts[0].Version
}

// What stands behind a mute in the log is shown to nobody: neither live, nor from the history, nor after it was projected again, nor after
// the mute. The sender is told why.
func TestAMutedUserIsNotHeard(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	one, two := mustConnect(t, s.HTTP, ann), mustConnect(t, s.HTTP, bob)
	one.says(t, 2, "first", "")
	two.mustHear(t, "first")

	until := inAYear()
	s.act(1, "mute", `,"until":"`+until+`","reason":"spam"`)
	f := one.says(t, 2, "refused", "muted")
	if f.Reason != "spam" || f.Until != until {
		t.Errorf("the frame says %+v", f)
	}
	s.slip(1, 2, "slipped", 0)
	two.says(t, 1, "to a muted user", "")
	one.mustHear(t, "to a muted user")

	s.act(1, "unmute", "")
	one.says(t, 2, "again", "")
	two.mustHear(t, "again")
	for _, token := range []string{ann, bob} {
		partner := 2
		if token == bob {
			partner = 1
		}
		if got := s.texts(token, partner, 3); got != "again to a muted user first" {
			t.Errorf("the history says %q", got)
		}
	}
	s.chatting("history", "rebuild")
	if got := s.texts(bob, 1, 3); got != "again to a muted user first" {
		t.Errorf("the history that was projected again says %q", got)
	}
}

// A node that starts knows what the platform did before.
func TestAMuteOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	s.act(1, "mute", "")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir)
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	one.says(t, 2, "refused", "muted")
	s.slip(1, 2, "slipped", 0)
	two.says(t, 1, "heard", "")
	one.mustHear(t, "heard")
	if got := s.texts(s.token(2), 1, 1); got != "heard" {
		t.Errorf("the history says %q", got)
	}
}

func TestABannedUserIsKeptOut(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	one, two := mustConnect(t, s.HTTP, ann), mustConnect(t, s.HTTP, bob)
	one.says(t, 2, "first", "")
	two.mustHear(t, "first")
	until := inAYear()
	s.act(1, "ban", `,"until":"`+until+`","reason":"fraud"`)
	if f, err := one.next(); err != nil || f.Code != "banned" || f.Reason != "fraud" || f.Until != until {
		t.Fatalf("got %+v, %v", f, err)
	}
	one.ends(t, 3403, "banned")
	if status, body := s.rest(http.MethodGet, "/api/chatting/blockedusers/", ann, ""); status != http.StatusForbidden {
		t.Errorf("a request is answered with %d %s", status, body)
	}
	conn, _, err := websocket.DefaultDialer.DialContext(waiting(t), "ws://"+s.HTTP+"/ws/chatting/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.WriteJSON(map[string]string{"token": ann}); err != nil {
		t.Fatal(err)
	}
	var refused harness.Frame
	if err := conn.ReadJSON(&refused); err != nil || refused.Code != "banned" || refused.Reason != "fraud" {
		t.Fatalf("the login is answered with %+v, %v", refused, err)
	}
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 3403) {
		t.Fatalf("the login ends with %v", err)
	}
	s.slip(1, 2, "slipped", 0)
	s.act(1, "unban", "")
	one = mustConnect(t, s.HTTP, ann)
	one.says(t, 2, "again", "")
	two.mustHear(t, "again")
	if got := s.texts(bob, 1, 2); got != "again first" {
		t.Errorf("the history says %q", got)
	}
}

// The connections that an act ends are kept back from its place on, and those that come after it are heard.
func TestEndedConnectionsAreNotHeardAndLaterOnesAre(t *testing.T) {
	s := startServer(t, t.TempDir())
	ann, bob := s.token(1), s.token(2)
	one, two := mustConnect(t, s.HTTP, ann), mustConnect(t, s.HTTP, bob)
	one.says(t, 2, "first", "")
	two.mustHear(t, "first")
	s.act(1, "end", "")
	one.ends(t, 3410, "ended")
	s.slip(1, 2, "slipped", 0)
	one = mustConnect(t, s.HTTP, ann)
	one.says(t, 2, "again", "")
	two.mustHear(t, "again")
	s.slip(1, 2, "a late one of the new connection", s.newest(1))
	two.mustHear(t, "a late one of the new connection")

	one.seen++ // its copy
	s.act(1, "revoke", "")
	one.ends(t, 3401, "token_revoked")
	if _, err := connect(s.HTTP, ann); !websocket.IsCloseError(err, 3401) {
		t.Fatalf("a token that was revoked is answered with %v", err)
	}
	if got := s.texts(bob, 1, 3); got != "a late one of the new connection again first" {
		t.Errorf("the history says %q", got)
	}
}

// Anybody who may write the log can write that somebody is muted. Only the database gives out acts.
func TestAForgedActHasNoEffect(t *testing.T) {
	s := startServer(t, t.TempDir())
	one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	id, at := uuid.NewString(), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	value := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/chatting","type":"chatting.moderation.v1","subject":"1","time":%q,`+
		`"datacontenttype":"application/json","data":{"type":"moderation","act":"ban","user_id":1,"actor":"mallory","version":9,`+
		`"time":%[2]q,"id":%[1]q}}`, id, at)
	producer := harness.Dial(t, s.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for partition := range int32(4) {
		record := &kgo.Record{
			Topic: "chatting.conversations", Partition: partition, Key: []byte("1"), Value: []byte(value),
			Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("application/cloudevents+json")}},
		}
		if err := producer.ProduceSync(waiting(t), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	one.says(t, 2, "heard", "")
	two.mustHear(t, "heard")
	if got := s.texts(s.token(2), 1, 1); got != "heard" {
		t.Errorf("the history says %q", got)
	}
	harness.Until(waiting(t), t, "the forgery is said", func() bool {
		return strings.Contains(s.Warnings(), "an act of the platform that the database never gave out is ignored")
	})
}

// The audit says who did what to whom, why and when.
func TestEveryActStandsInTheAudit(t *testing.T) {
	s := startServer(t, t.TempDir())
	s.act(1, "mute", `,"reason":"spam"`)
	s.act(1, "unmute", "")
	records := harness.ReadTopic(waiting(t), t, s.Kafka, "chatting.audit")
	if len(records) != 2 {
		t.Fatalf("the audit has %d records", len(records))
	}
	var event struct {
		Type string
		Data struct {
			Act, Actor, Reason string
			User               int `json:"user_id"`
		}
	}
	if err := json.Unmarshal(records[0].Value, &event); err != nil || event.Type != "chatting.moderation.v1" || event.Data.Act != "mute" ||
		event.Data.Actor != "alice" || event.Data.Reason != "spam" || event.Data.User != 1 || string(records[0].Key) != "1" {
		t.Errorf("%s says %s, %v", records[0].Key, records[0].Value, err)
	}
}
