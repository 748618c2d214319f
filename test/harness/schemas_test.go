package harness

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// goodRecord is a record of the conversations topic as the server writes it.
func goodRecord(t *testing.T) *kgo.Record {
	t.Helper()
	value, err := os.ReadFile(filepath.Join(SchemaFolder(), "examples", "chat_message.v1", "named.json"))
	if err != nil {
		t.Fatal(err)
	}
	return &kgo.Record{Key: []byte("201:202"), Value: value, Headers: []kgo.RecordHeader{
		{Key: "content-type", Value: []byte("application/cloudevents+json")},
	}}
}

func TestARecordAsTheServerWritesItKeepsThePromise(t *testing.T) {
	schemas := LoadSchemas(t)
	if err := schemas.CheckRecord(goodRecord(t)); err != nil {
		t.Error(err)
	}
}

func TestARecordThatBreaksThePromiseIsToldByPlaceAndNotByContent(t *testing.T) {
	schemas := LoadSchemas(t)
	// set changes a field of the event, or takes it away; a dot goes into the data.
	set := func(path string, value any) func(*kgo.Record) {
		return func(r *kgo.Record) {
			var event map[string]any
			if err := json.Unmarshal(r.Value, &event); err != nil {
				t.Fatal(err)
			}
			object := event
			name, inner := strings.CutPrefix(path, "data.")
			if inner {
				object, _ = event["data"].(map[string]any)
			}
			if object[name] = value; value == nil {
				delete(object, name)
			}
			var err error
			if r.Value, err = json.Marshal(event); err != nil {
				t.Fatal(err)
			}
		}
	}
	const secret = "between us"
	for name, row := range map[string]struct {
		spoil func(*kgo.Record)
		want  string
	}{
		"no header":          {func(r *kgo.Record) { r.Headers = nil }, "content-type"},
		"another header":     {func(r *kgo.Record) { r.Headers[0].Value = []byte("application/json") }, "content-type"},
		"another key":        {func(r *kgo.Record) { r.Key = []byte("202:201") }, "its key is"},
		"no key":             {func(r *kgo.Record) { r.Key = nil }, "its key is"},
		"no value":           {func(r *kgo.Record) { r.Value = nil }, "no event"},
		"no JSON":            {func(r *kgo.Record) { r.Value = []byte(secret) }, "no event"},
		"an unknown type":    {set("type", "chatting.whisper.v1"), `no schema "whisper.v1"`},
		"a field missing":    {set("subject", nil), "lacks subject"},
		"an unknown field":   {set("extra", secret), "/extra is a field that the schema does not name"},
		"one in the data":    {set("data.extra", secret), "/data/extra is a field that the schema does not name"},
		"a wrong type":       {set("data.message", map[string]string{"x": secret}), "/data/message type"},
		"a wrong value":      {set("data.type", secret), "/data/type const"},
		"a wrong time":       {set("time", secret), "/time "},
		"a time with a zone": {set("data.time", "2026-01-02T03:04:05.678+01:00"), "/data/time pattern"},
		"a user as text":     {set("data.from_id", secret), "no event"},
		"user 0":             {set("data.to_id", 0), "/data/to_id minimum"},
		"another id":         {set("id", "00000000-0000-4000-8000-000000000000"), "another id"},
		"a name too long":    {set("clientmsgid", strings.Repeat(secret, 10)), "/clientmsgid maxLength"},
	} {
		r := goodRecord(t)
		row.spoil(r)
		err := schemas.CheckRecord(r)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v; want %q", name, err, row.want)
		}
	}
}

func TestAnIDThatStandsForTwoEventsBreaksThePromise(t *testing.T) {
	record := func(text string, partition int32) *kgo.Record {
		r := goodRecord(t)
		r.Value, r.Partition = []byte(strings.ReplaceAll(string(r.Value), "hello", text)), partition
		return r
	}
	cancel := func(room string) *kgo.Record {
		return &kgo.Record{Key: []byte("201:202"), Value: []byte(
			`{"id":"x","type":"chatting.invite_game.v1","subject":"201","data":{"type":"invite_game","status":"cancel"` + room + `}}`)}
	}
	events := OneEventAnID{}
	for name, row := range map[string]struct {
		first, again *kgo.Record
		good         bool
	}{
		"the same":             {record("hello", 1), record("hello", 1), true},
		"another text":         {record("hello", 1), record("bye", 1), true},
		"another partition":    {record("hello", 1), record("hello", 2), false},
		"a cancel and another": {cancel(`,"room_id":"r"`), cancel(""), false},
	} {
		clear(events)
		if err := events.Check(row.first); err != nil {
			t.Fatal(err)
		}
		if err := events.Check(row.again); (err == nil) != row.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
