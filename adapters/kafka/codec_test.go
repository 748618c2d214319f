package kafka

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/domain"
	"chatting/test/brokertest"
)

func mustText(t testing.TB, s string) domain.Text {
	t.Helper()
	text, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestEventsComeBackAsTheyWent(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123_000_000, time.UTC)
	for _, event := range []domain.Event{
		{Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, `<b>"hi"</b> & ' ü 😀`)}, ClientMessageID: `a"\b`},
		{Body: domain.ChatMessage{From: 9, To: 9, Text: mustText(t, "")}},
		{Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "hi")}, Acts: 1},
		{Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "hi")}, ClientMessageID: "m", Acts: math.MaxInt64},
		{Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "hi")}, ClientMessageID: "m", Trace: sentAs},
		{Body: domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 3}, Trace: sentAs},
		{Body: domain.GameInvite{From: 10, To: 9, Status: domain.InviteOpened, Room: "r"}, Trace: sentAs},
		{Body: domain.GameInvite{From: 10, To: 9, Status: domain.InviteOpened, Room: "r"}},
		{Body: domain.GameInvite{From: 10, To: 9, Status: domain.InviteCancelled}},
		{Body: domain.SystemMessage{To: 9, Text: mustText(t, "round 2"), Room: "r", Opponent: 8}},
		{Body: domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 3}},
		{Body: domain.BlockChanged{Blocker: 9, Target: 10, Version: 4}},
		{Body: domain.ReadMark{Reader: 9, Partner: 10, Message: domain.DerivedID("test", "m"), Unread: 1000, Receipt: true}},
		{Body: domain.ReadMark{Reader: 9, Message: domain.DerivedID("test", "m")}},
	} {
		event.ID, event.Time = domain.DerivedID("test", "x"), at
		value, err := EncodeEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		got, frame, err := DecodeEvent(event.Body.Conversation(), value)
		if err != nil {
			t.Fatalf("%s: %v", value, err)
		}
		if !got.Time.Equal(event.Time) {
			t.Errorf("time %v, not %v", got.Time, event.Time)
		}
		got.Time = event.Time
		if got != event {
			t.Errorf("%+v, not %+v", got, event)
		}
		if _, hidden := event.Body.(domain.BlockChanged); hidden != (frame == nil) {
			t.Errorf("%s: shown as %s", value, frame)
		}
	}
}

// Integers of CloudEvents have 32 bits, and a version is greater: it is a text, of one form.
func TestTheVersionThatALoginKnewIsWrittenAsText(t *testing.T) {
	event, _ := saidBy9(t, "hi")
	event.Acts = 1_767_323_045_678
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	const written = `,"acts":"1767323045678",`
	if !bytes.Contains(value, []byte(written)) {
		t.Fatalf("%s lacks %s", value, written)
	}
	own := newOwnMessages()
	own.note(event, value)
	if got, _, ok := own.take(referenceKey, bytes.Clone(value)); !ok || got != event {
		t.Errorf("it is remembered as %+v, %t", got, ok)
	}
	for form, want := range map[string]int64{
		`"1"`: 1, `"9223372036854775807"`: math.MaxInt64,
		`1767323045678`: 0, `"01"`: 0, `"+1"`: 0, `"-1"`: 0, `"0"`: 0, `""`: 0, `" 1"`: 0, `"1.0"`: 0, `"1e3"`: 0, `"9223372036854775808"`: 0,
		`"99999999999999999999"`: 0, `"x"`: 0, `null`: 0, `true`: 0, `["1"]`: 0,
	} {
		changed := bytes.Replace(value, []byte(written), []byte(`,"acts":`+form+`,`), 1)
		if got, _, err := DecodeEvent(referenceKey, changed); err != nil || got.Acts != want {
			t.Errorf("%s is read as %d, %v", form, got.Acts, err)
		}
	}
}

func TestForgedRecordsAreRefused(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	event := domain.Event{
		ID: domain.DerivedID("test", "x"), Time: at,
		Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "hi")}, ClientMessageID: "name",
	}
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := DecodeEvent(domain.Between(9, 11), value); err == nil {
		t.Error("a record under another conversation's key was accepted")
	}
	for old, forged := range map[string]string{
		`"id":"` + event.ID.String() + `","source"`: `"id":"00000000-0000-4000-8000-000000000000","source"`,
		`chatting.chat_message.v1`:                  `chatting.system_message.v1`,
		`"specversion":"1.0"`:                       `"specversion":"0.3"`,
		`"from_id":9`:                               `"from_id":0`,
		`"clientmsgid":"name"`:                      `"clientmsgid":"line\nbreak"`,
		`"message":"hi"`:                            `"message":5`,
	} {
		changed := bytes.Replace(value, []byte(old), []byte(forged), 1)
		if bytes.Equal(changed, value) {
			t.Fatalf("%s is not in %s", old, value)
		}
		if _, _, err := DecodeEvent(domain.Between(9, 10), changed); err == nil {
			t.Errorf("accepted %s", changed)
		}
	}
}

// Nodes without a receiver look at the head alone: what is about an invite has to show there, or nodes would judge
// differently.
func TestAnInviteShowsInItsHeadOrIsNone(t *testing.T) {
	event := domain.Event{
		ID: domain.DerivedID("test", "x"), Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ClientMessageID: "name",
		Body: domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
	}
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	if !ConcernsInvites(value[:headBytes]) {
		t.Errorf("the head of %s does not show it", value)
	}
	blanks := bytes.Repeat([]byte(" "), headBytes)
	for what, moved := range map[string][]byte{
		"further back":      append(append([]byte("{"), blanks...), value[1:]...),
		"written otherwise": bytes.Replace(value, []byte(`"type":"chatting.`), []byte(`"type": "chatting.`), 1),
	} {
		if _, _, err := DecodeEvent(domain.Between(9, 10), moved); err == nil {
			t.Errorf("%s it is still accepted: %s", what, moved)
		}
	}
}

// Each node reads the records of all others: the garbage of one would be that of all.
func TestARecordOfOthersMakesNoGarbage(t *testing.T) {
	var records []recordbatch.Record
	for n := range 100 {
		event, value := saidBy9(t, fmt.Sprint(n))
		records = append(records, eventRecord(event.Body.Conversation().AppendKey(nil), value))
	}
	handler := &ConversationTail{
		Delivery: delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now)), Logger: brokertest.Logger(t),
	}
	reader := recordbatch.NewReader(recordbatch.ReaderOptions{Handler: handler, MaxBatch: 1 << 20, Logger: brokertest.Logger(t)})
	batches := &recordbatch.Batches{Bytes: brokertest.Batch{Records: records}.Bytes()}
	garbage := testing.AllocsPerRun(100, func() {
		if read := reader.Read(batches, 0); read.Next != int64(len(records)) {
			t.Fatalf("read up to %d, %v", read.Next, read.Damage)
		}
	})
	if garbage > 0 {
		t.Errorf("%d records make %v allocations", len(records), garbage)
	}
}

// BenchmarkForeignRecord is what a node does with a record that has no receiver here, after reading it.
func BenchmarkForeignRecord(b *testing.B) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for name, body := range map[string]domain.Body{
		"chat":   domain.ChatMessage{From: 9, To: 10, Text: mustText(b, strings.Repeat("hello ", 20))},
		"cancel": domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
	} {
		value, err := EncodeEvent(domain.Event{ID: domain.DerivedID("test", "x"), Time: at, Body: body})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			tail := &ConversationTail{
				Delivery: delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notice.NewLog(brokertest.Logger(b), time.Now)), Logger: brokertest.Logger(b),
			}
			record := &recordbatch.StoredRecord{Time: at, Key: []byte("9:10"), Value: value} // a tail uses one for all
			b.ReportAllocs()
			for b.Loop() {
				tail.Record(record)
			}
		})
	}
}

// nobodyWaits is an delivery.RecordReader.
type nobodyWaits struct{}

func (nobodyWaits) Read(domain.EventID, error) {}

func FuzzDecodeEvent(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"a1b90ad2-b63b-4d23-9053-16d9a9e54230","source":"/chatting","type":"chatting.chat_message.v1","subject":"9","time":"2026-11-23T12:45:19.712Z","datacontenttype":"application/json","data":{"type":"chat_message","message":"hello","from_id":9,"to_id":10,"time":"2026-11-23T12:45:19.712Z","id":"a1b90ad2-b63b-4d23-9053-16d9a9e54230"}}`))
	for _, acts := range []string{`"1767323045678"`, `1767323045678`, `"01"`} {
		f.Add([]byte(`{"specversion":"1.0","id":"a1b90ad2-b63b-4d23-9053-16d9a9e54230","type":"chatting.chat_message.v1","acts":` + acts + `,"data":{"type":"chat_message","message":"hello","from_id":9,"to_id":10,"time":"2026-11-23T12:45:19.712Z","id":"a1b90ad2-b63b-4d23-9053-16d9a9e54230"}}`))
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, value []byte) {
		event, shown, err := DecodeEvent(domain.Between(9, 10), value)
		if err != nil {
			return
		}
		if event.Body.Conversation() != domain.Between(9, 10) {
			t.Errorf("accepted an event of another conversation: %s", value)
		}
		if event.Acts < 0 {
			t.Errorf("a login knew the version %d: %s", event.Acts, value)
		}
		if _, isChange := event.Body.(domain.BlockChanged); isChange {
			if shown != nil {
				t.Errorf("shows %q of a block", shown)
			}
			return
		}
		if said, err := wire.DecodeEvent(shown); err != nil || said.ID != event.ID || said.Body != event.Body {
			t.Errorf("shows %q (%v) of %+v", shown, err, event)
		}
	})
}

// The short way is worth something only while it is taken.
func TestTheCommonSessionRecordsAreReadTheShortWay(t *testing.T) {
	for _, kind := range []domain.SessionKind{domain.SessionUp, domain.SessionDown} {
		for _, number := range []int64{1, 7, 90, 999_999_999_999_999_999} {
			r := domain.SessionRecord{Kind: kind, Incarnation: domain.Incarnation{0xa, 0xff}, User: domain.UserID(number), Count: number}
			value, err := encodeSession(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := scanSession(value); !ok || got != r {
				t.Errorf("%s: %+v, %t", value, got, ok)
			}
		}
	}
}

func TestARecordOfABlockNamesBothUsers(t *testing.T) {
	for _, kind := range []domain.SessionKind{domain.UserBlocked, domain.UserUnblocked} {
		r := domain.SessionRecord{Kind: kind, User: 7, Target: 8}
		value, err := encodeSession(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeSession(value); err != nil || got != r {
			t.Errorf("%s: %+v, %v", value, got, err)
		}
		for _, lacking := range []domain.SessionRecord{{Kind: kind, User: 7}, {Kind: kind, Target: 8}, {Kind: kind, User: 7, Target: -1}} {
			value, err := encodeSession(lacking)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decodeSession(value); err == nil {
				t.Errorf("%s is taken for %+v", value, got)
			}
		}
	}
}

func FuzzDecodeSession(f *testing.F) {
	f.Add([]byte(`{"type":"up","incarnation":"a1b90ad2-b63b-4d23-9053-16d9a9e54230","user":7,"count":1}`))
	f.Add([]byte(`{"type":"dead","incarnation":"a1b90ad2-b63b-4d23-9053-16d9a9e54230"}`))
	f.Add([]byte(`{"type":"later"}`))
	f.Add([]byte(`{"type":"down","incarnation":"A1B90AD2-b63b-4d23-9053-16d9a9e54230","user":999999999999999999,"count":1000000000000000000}`))
	f.Add([]byte(`{"type":"up","incarnation":"a1b90ad2-b63b-4d23-9053-16d9a9e54230","user":07,"count":1}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeSession(value)
		if parsed, parseErr := parseSession(value); (err == nil) != (parseErr == nil) || (err == nil && parsed != r) {
			t.Errorf("%q is %+v, %v at a glance and %+v, %v when parsed", value, r, err, parsed, parseErr)
		}
		if err != nil {
			return
		}
		domain.NewSessions().Apply(r, time.Time{})
		again, err := encodeSession(r)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeSession(again); err != nil || back != r {
			t.Errorf("%s became %s: %v", value, again, err)
		}
	})
}

func TestABeatNamesItsNode(t *testing.T) {
	for name, want := range map[string]string{
		"chat-1:8000": "chat-1:8000", "": "", "two words": "", "line\nbreak": "", "käse": "", strings.Repeat("x", 301): "",
	} {
		value, err := encodeSession(domain.SessionRecord{Kind: domain.SessionBeat, Incarnation: domain.Incarnation{1}, Count: 2, Node: name})
		if err != nil {
			t.Fatal(err)
		}
		if read, err := decodeSession(value); err != nil || read.Node != want || read.Count != 2 {
			t.Errorf("%q is read as %q (%v), want %q", name, read.Node, err, want)
		}
	}
}
