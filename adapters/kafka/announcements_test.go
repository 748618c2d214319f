package kafka

import (
	"strings"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/porttest"
)

// announcement is one to all who are online.
func announcement(t *testing.T, text string) domain.Announcement {
	t.Helper()
	a, err := domain.NewAnnouncement(domain.EventID{9}, text, true, nil, "why", "alice", time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAnAnnouncementIsReadAsItWasWritten(t *testing.T) {
	made := announcement(t, "\"noon\" <b> \u2028")
	value := EncodeAnnouncement(made)
	got, err := DecodeAnnouncement([]byte("0"), value)
	if err != nil || got.ID != made.ID || got.Text != made.Text || got.Reason != "why" || got.Actor != "alice" || !got.Time.Equal(made.Time) {
		t.Fatalf("read %+v, %v", got, err)
	}
	if !IsAnnouncement(value) || IsAnnouncement(EncodeAct(domain.Act{User: 201})) {
		t.Error("what is an announcement cannot be told by its head")
	}
	toUsers := made
	toUsers.Users = []domain.UserID{7}
	for name, wrong := range map[string]struct{ key, value string }{
		"under another key":  {"7", string(value)},
		"of another type":    {"0", strings.ReplaceAll(string(value), announcementType, moderationType)},
		"with another id":    {"0", strings.Replace(string(value), `{"specversion":"1.0","id":"09`, `{"specversion":"1.0","id":"08`, 1)},
		"without its data":   {"0", `{"specversion":"1.0","type":"chatting.announcement.v1"}`},
		"with something set": {"0", string(value) + "x"},
		"to a list":          {"0", string(EncodeAnnouncement(toUsers))},
		"too long":           {"0", strings.Replace(string(value), "noon", strings.Repeat("n", 5000), 1)},
	} {
		if got, err := DecodeAnnouncement([]byte(wrong.key), []byte(wrong.value)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTheTailShowsAnnouncementsFromWhereItServes(t *testing.T) {
	d := delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now))
	tail := &ConversationTail{Delivery: d, From: map[int]int64{0: 5}, Logger: brokertest.Logger(t)}
	c := &porttest.Conn{}
	a := d.Attach(7, c)
	a.Activate(nil, []int64{0})
	a.Release()
	value := EncodeAnnouncement(announcement(t, "noon"))
	other := announcement(t, "one")
	other.ID = domain.EventID{8}
	tail.Record(&recordbatch.StoredRecord{Offset: 4, Key: []byte("0"), Value: EncodeAnnouncement(other)})
	tail.Record(&recordbatch.StoredRecord{Offset: 5, Key: []byte("0"), Value: value})
	tail.Record(&recordbatch.StoredRecord{Offset: 6, Key: []byte("0"), Value: value})
	want := `{"type":"system_message","from":"admin","message":"noon","to_id":7,"time":"2026-01-02T03:04:05.678Z","id":"09000000-0000-0000-0000-000000000000"}`
	if got := porttest.Of[porttest.Delivered](c); len(got) != 1 || got[0].Frame != want {
		t.Errorf("shown is %v, want %s", got, want)
	}
}

// sealing is an appender that takes down what it is given.
type sealing struct {
	appended

	values []string
}

func (s *sealing) AppendAs(_ appending.Owner, _ int, r recordbatch.Record, done func(error)) {
	s.values = append(s.values, string(r.Value))
	done(nil)
}

func TestAnswersAboutConnectionsCanBeReadByNodesOnly(t *testing.T) {
	told := presence.Told{Incarnation: domain.Incarnation{5}, Connections: []presence.Connected{
		{Client: port.Client{Address: "192.0.2.7"}, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}}
	log := &sealing{}
	c := NewConnectionQuestions(NewSessions(log))
	question := domain.EventID{3}
	failed := false
	c.Tell(question, told, func(err error) { failed = err != nil })
	if !failed || len(log.values) != 0 {
		t.Fatal("an answer was written before there is a key")
	}
	if err := c.SealWith(make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	c.Tell(question, told, func(err error) { failed = err != nil })
	if failed || len(log.values) != 1 || strings.Contains(log.values[0], "192.0.2.7") {
		t.Fatalf("written is %q", log.values)
	}
	record, err := decodeSession([]byte(log.values[0]))
	if err != nil || record.Kind != domain.ConnectionsTold || record.Question != question {
		t.Fatalf("read %+v, %v", record, err)
	}
	if got, ok := c.open(record); !ok || len(got.Connections) != 1 || got.Connections[0].Address != "192.0.2.7" ||
		!got.Connections[0].Since.Equal(told.Connections[0].Since) || got.Incarnation != told.Incarnation {
		t.Errorf("opened is %+v, %t", got, ok)
	}
	moved := record
	moved.Question = domain.EventID{4}
	if _, ok := c.open(moved); ok {
		t.Error("it answers another question, too")
	}
	other := NewConnectionQuestions(NewSessions(log))
	if err := other.SealWith([]byte("0123456789abcdef0123456789abcdef")); err != nil {
		t.Fatal(err)
	}
	if _, ok := other.open(record); ok {
		t.Error("another installation opens it")
	}
	if _, ok := NewConnectionQuestions(NewSessions(log)).open(record); ok {
		t.Error("it is opened without a key")
	}
}

func TestRecordsAboutConnectionsThatLackSomethingAreRefused(t *testing.T) {
	for value, good := range map[string]bool{
		`{"type":"connections_asked","user":7,"question":"` + someNode + `"}`:                                         true,
		`{"type":"connections_asked","question":"` + someNode + `"}`:                                                  false,
		`{"type":"connections_asked","user":7}`:                                                                       false,
		`{"type":"connections_told","incarnation":"` + someNode + `","question":"` + someNode + `","sealed":"AAAA"}`:  true,
		`{"type":"connections_told","incarnation":"` + someNode + `","question":"` + someNode + `"}`:                  false,
		`{"type":"connections_told","question":"` + someNode + `","sealed":"AAAA"}`:                                   false,
		`{"type":"connections_told","incarnation":"` + someNode + `","sealed":"AAAA"}`:                                false,
		`{"type":"connections_told","incarnation":"` + someNode + `","question":"` + someNode + `","sealed":"not64"}`: false,
	} {
		if r, err := decodeSession([]byte(value)); (err == nil) != good {
			t.Errorf("%s: %+v, %v", value, r, err)
		}
	}
}
