package ingest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/messaging"
	"chatting/domain"
)

// foreign is a record of another program at 3/17, written a second after 1970.
func foreign(value string, headers ...string) foreignRecord {
	r := foreignRecord{topic: "t.system-messages", partition: 3, offset: 17, time: time.Unix(1, 0), value: []byte(value)}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.headers = append(r.headers, textHeader(name, value))
	}
	return r
}

const good = `{"target_id":7,"message":"m"}`

var binaryEvent = []string{"ce_specversion: 1.0", "ce_id: a", "ce_source: /games", "ce_type: game.round"}

func structured(attributes string) string {
	return `{"specversion":"1.0","id":"a","source":"/games","type":"game.round",` + attributes + `}`
}

const inStructure = "content-type: application/cloudevents+json; charset=utf-8"

func TestARecordIsReadInEachOfItsForms(t *testing.T) {
	byPlace := domain.DerivedID(idKind, "t.system-messages-3-17-1000")
	byName := domain.DerivedID(idKind, "/games\na")
	for name, c := range map[string]struct {
		record foreignRecord
		id     domain.EventID
	}{
		"plain":                     {foreign(good), byPlace},
		"plain, with its type":      {foreign(good, "content-type: application/json; charset=utf-8"), byPlace},
		"plain, other headers":      {foreign(good, "trace: 1", "ce_extension: x"), byPlace},
		"binary":                    {foreign(good, binaryEvent...), byName},
		"binary, with its type":     {foreign(good, append(slices.Clone(binaryEvent), "content-type: application/vnd.x+json")...), byName},
		"binary, named twice":       {foreign(good, append([]string{"ce_id: b"}, binaryEvent...)...), byName},
		"structured":                {foreign(structured(`"data":`+good), inStructure), byName},
		"structured, in base64":     {foreign(structured(`"data_base64":"`+base64.StdEncoding.EncodeToString([]byte(good))+`"`), inStructure), byName},
		"structured, its type":      {foreign(structured(`"datacontenttype":"application/json","x":1,"data":`+good), inStructure), byName},
		"structured, no type":       {foreign(structured(`"data":` + good)), byName},
		"structured, blanks first":  {foreign(" \n" + structured(`"data":`+good)), byName},
		"structured, as JSON":       {foreign(structured(`"data":`+good), "content-type: application/json; charset=utf-8"), byName},
		"structured, as some JSON":  {foreign(structured(`"data":`+good), "content-type: application/vnd.x+json"), byName},
		"structured, base64 too":    {foreign(structured(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(good)) + `"`)), byName},
		"structured, and in binary": {foreign(structured(`"data":`+good), append(without("ce_id"), "ce_id: other")...), byName},
		"structured, a message":     {foreign(structured(`"message":"not this","data":` + good)), byName},
		"structured, in capitals":   {foreign(structured(`"data":`+good), "Content-Type: Application/CloudEvents+JSON"), byName},
		"plain, with attributes":    {foreign(structured(`"target_id":7,"message":"m"`)), byPlace},
		"binary, in capitals":       {foreign(good, "CE_SpecVersion: 1.0", "Ce_Id: a", "CE_SOURCE: /games", "ce_Type: game.round"), byName},
		"binary, as in HTTP":        {foreign(good, "ce-specversion: 1.0", "ce-id: a", "Ce-Source: /games", "ce-type: t"), byName},
		"delivered again": {foreign(good, "kafka_dlt-original-topic: o", "kafka_dlt-original-partition: 1",
			"kafka_dlt-original-offset: 2", "kafka_dlt-original-timestamp: 3"), domain.DerivedID(idKind, "o-1-2-3")},
		"delivered again, badly": {foreign(good, "kafka_dlt-original-topic: o", "kafka_dlt-original-partition: 1",
			"kafka_dlt-original-offset: 0x2", "kafka_dlt-original-timestamp: 3"), byPlace},
	} {
		command, refused := c.record.systemMessage()
		if refused != nil {
			t.Errorf("%s: %s: %v", name, refused.code, refused)
			continue
		}
		if command.ID != c.id {
			t.Errorf("%s: another id", name)
		}
		if m := command.Message; m.To != 7 || m.Text.String() != "m" {
			t.Errorf("%s: it says %+v", name, m)
		}
	}
}

// without returns the headers of the binary event but for one.
func without(header string) []string {
	return slices.DeleteFunc(slices.Clone(binaryEvent), func(h string) bool { return strings.HasPrefix(h, header) })
}

func TestWhatIsNoSystemMessageIsRefusedWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		record foreignRecord
		code   string
		says   string // part of the sentence
	}{
		"nothing":                  {foreignRecord{}, DeadEmpty, "nothing"},
		"empty":                    {foreign(""), DeadEmpty, "nothing"},
		"blank":                    {foreign(" \n"), DeadEmpty, "nothing"},
		"no JSON":                  {foreign("hello"), DeadInvalidJSON, "JSON parse error"},
		"no UTF-8":                 {foreign("{\"target_id\":7,\"message\":\"\xff\"}"), DeadInvalidJSON, "UTF-8"},
		"a list":                   {foreign("[]"), DeadInvalidMessage, "non_field_errors"},
		"no fields":                {foreign("{}"), DeadInvalidMessage, "message: This field is required. target_id: This field is required."},
		"wrong types":              {foreign(`{"target_id":true,"message":{}}`), DeadInvalidMessage, "message: Not a valid string. target_id: A valid integer is required."},
		"blank text":               {foreign(`{"target_id":7,"message":" "}`), DeadInvalidMessage, "message: This field may not be blank."},
		"long text":                {foreign(`{"target_id":7,"message":"` + strings.Repeat("x", 70_000) + `"}`), DeadInvalidMessage, "no more than 65536 bytes"},
		"longer":                   {foreign(strings.Repeat(" ", 2<<20)), DeadTooLarge, "2097152 bytes"},
		"no user":                  {foreign(`{"target_id":-1,"message":"m"}`), DeadNoUserOrOffline, "No User or Offline"},
		"another type":             {foreign(good, "content-type: text/plain"), DeadMediaType, "content-type"},
		"a type of no form":        {foreign(good, "content-type: ;"), DeadMediaType, "content-type"},
		"events in a batch":        {foreign("[]", "content-type: application/cloudevents-batch+json"), DeadMediaType, "a record of its own"},
		"events in a bare batch":   {foreign("[" + structured(`"data":`+good) + "]"), DeadMediaType, "a record of its own"},
		"events as text":           {foreign(structured(`"data":`+good), "content-type: text/plain"), DeadMediaType, "content-type"},
		"bare, no id":              {foreign(`{"specversion":"1.0","source":"s","type":"t","data":{}}`), DeadInvalidEvent, "id is missing"},
		"bare, version of number":  {foreign(`{"specversion":1.0,"id":"a","source":"s","type":"t","data":{}}`), DeadInvalidEvent, "specversion is of type number"},
		"bare, another version":    {foreign(`{"specversion":"0.3","id":"a","source":"s","type":"t","data":{}}`), DeadInvalidEvent, "specversion is not 1.0"},
		"bare, no message":         {foreign(structured(`"data":{"target_id":7}`)), DeadInvalidMessage, "message: This field is required."},
		"events in Avro":           {foreign("x", "content-type: application/cloudevents+avro"), DeadMediaType, "structured"},
		"binary, version":          {foreign(good, append([]string{"ce_specversion: 0.3"}, without("ce_specversion")...)...), DeadInvalidEvent, "specversion"},
		"binary, no version":       {foreign(good, without("ce_specversion")...), DeadInvalidEvent, "specversion"},
		"binary, no id":            {foreign(good, without("ce_id")...), DeadInvalidEvent, "id is missing"},
		"binary, empty source":     {foreign(good, append(without("ce_source"), "ce_source: ")...), DeadInvalidEvent, "source is missing"},
		"binary, no type":          {foreign(good, without("ce_type")...), DeadInvalidEvent, "type is missing"},
		"binary, id of two lines":  {foreign(good, append(without("ce_id"), "ce_id: a\nb")...), DeadInvalidEvent, "id has characters"},
		"binary, id of no text":    {foreign(good, append(without("ce_id"), "ce_id: \xff")...), DeadInvalidEvent, "id has characters"},
		"binary, another type":     {foreign("m", append(slices.Clone(binaryEvent), "content-type: text/plain")...), DeadMediaType, "content-type"},
		"binary, empty":            {foreign("", binaryEvent...), DeadEmpty, "nothing"},
		"structured, empty":        {foreign("", inStructure), DeadEmpty, "nothing"},
		"structured, no JSON":      {foreign("{", inStructure), DeadInvalidEvent, "no JSON"},
		"structured, no UTF-8":     {foreign(structured("\"data\":\"\xff\""), inStructure), DeadInvalidEvent, "UTF-8"},
		"structured, a list":       {foreign("[]", inStructure), DeadInvalidEvent, "The event is of type array."},
		"structured, id of number": {foreign(`{"specversion":"1.0","id":5}`, inStructure), DeadInvalidEvent, "The event's id is of type number."},
		"structured, no id":        {foreign(`{"specversion":"1.0","source":"s","type":"t","data":{}}`, inStructure), DeadInvalidEvent, "id is missing"},
		"structured, no data":      {foreign(structured(`"x":1`), inStructure), DeadEmpty, "nothing"},
		"structured, null":         {foreign(structured(`"data":null`), inStructure), DeadInvalidMessage, "NoneType"},
		"structured, text":         {foreign(structured(`"datacontenttype":"text/plain","data":"m"`), inStructure), DeadMediaType, "datacontenttype"},
		"structured, both":         {foreign(structured(`"data":{},"data_base64":""`), inStructure), DeadInvalidEvent, "both"},
		"structured, no base64":    {foreign(structured(`"data_base64":"%"`), inStructure), DeadInvalidEvent, "base64"},
	} {
		_, refused := c.record.systemMessage()
		if refused == nil || refused.code != c.code || !strings.Contains(refused.sentence, c.says) {
			t.Errorf("%s: it is refused with %+v, not %s with %q", name, refused, c.code, c.says)
		}
	}
}

func TestAnAttributeOfAnEventThatIsNullIsAbsent(t *testing.T) {
	read := func(value string) (messaging.SystemMessageCommand, *refusedError) {
		record := foreign(value)
		return record.systemMessage()
	}
	want, refused := read(structured(`"data":` + good))
	if refused != nil {
		t.Fatal(refused)
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(good))
	for _, members := range []string{
		`"data":` + good + `,"datacontenttype":null`, `"data":` + good + `,"data_base64":null`, `"data":` + good + `,"target_id":null`,
		`"data":` + good + `,"dataschema":null,"subject":null,"time":null`, `"data":null,"data_base64":"` + encoded + `"`,
	} {
		if got, refused := read(structured(members)); refused != nil || got != want {
			t.Errorf("%s: %+v, refused with %v", members, got, refused)
		}
	}
	if got, refused := read(`{"specversion":null,` + strings.TrimPrefix(good, "{")); refused != nil || got.Message != want.Message {
		t.Errorf("specversion null: %+v, refused with %v", got, refused)
	}
}

func TestADeadLetterKeepsWhatWasWrittenAndSaysWhy(t *testing.T) {
	r := foreign("{", "trace: 1", "kafka_dlt-original-topic: forged", "chatting_dlt-count: x")
	r.key = []byte("k")
	letter := r.deadLetter(refuse(DeadInvalidJSON, "It is broken."))
	want := []string{
		"kafka_dlt-original-topic: t.system-messages", "kafka_dlt-original-partition: 3", "kafka_dlt-original-offset: 17",
		"kafka_dlt-original-timestamp: 1000", "kafka_dlt-exception-fqcn: chatting.invalid_json",
		"kafka_dlt-exception-message: It is broken.", "chatting_dlt-count: 1",
		"trace: 1",
	}
	if got := asLines(letter.Headers); !slices.Equal(got, want) {
		t.Errorf("its headers are %q, not %q", got, want)
	}
	if string(letter.Key) != "k" || string(letter.Value) != "{" {
		t.Errorf("it is %q: %q", letter.Key, letter.Value)
	}
}

func TestADeadLetterThatFailsAgainKeepsItsFirstPlaceAndCounts(t *testing.T) {
	first := foreign("{").deadLetterOf(t)
	again := foreignRecord{topic: "t.system-messages", partition: 5, offset: 99, time: time.Unix(9, 0), value: first.Value, headers: first.Headers}
	second := again.deadLetterOf(t)
	changed := asLines(first.Headers)
	changed[slices.Index(changed, "chatting_dlt-count: 1")] = "chatting_dlt-count: 2"
	if got := asLines(second.Headers); !slices.Equal(got, changed) {
		t.Errorf("its headers are %q, not %q", got, changed)
	}
}

func TestADeadLetterThatWouldNotFitIsWrittenWithoutItsValue(t *testing.T) {
	for size, kept := range map[int]bool{4 << 20: true, 5 << 20: false, 50 << 20: false} {
		letter := foreign(strings.Repeat("x", size)).deadLetterOf(t)
		if (letter.Value != nil) != kept {
			t.Errorf("of %d bytes it has %d", size, len(letter.Value))
		}
		if got := asLines(letter.Headers); slices.Contains(got, fmt.Sprint("chatting_dlt-value-left-out: ", size)) == kept {
			t.Errorf("of %d bytes it says %q", size, got)
		}
	}
}

// deadLetterOf makes a dead letter for what the record is refused for.
func (r foreignRecord) deadLetterOf(t *testing.T) recordbatch.Record {
	t.Helper()
	_, refused := r.systemMessage()
	if refused == nil {
		t.Fatal("it is a system message")
	}
	return r.deadLetter(refused)
}

func asLines(headers []kafkago.Header) []string {
	lines := make([]string, len(headers))
	for i, h := range headers {
		lines[i] = h.Key + ": " + string(h.Value)
	}
	return lines
}

func FuzzForeignRecord(f *testing.F) {
	f.Add([]byte(good), "", "")
	f.Add([]byte(good), "application/json", "a")
	f.Add([]byte(structured(`"data":`+good)), "application/cloudevents+json", "")
	f.Add([]byte(structured(`"data_base64":"e30="`)), "application/cloudevents+json;x", "")
	f.Add([]byte(`{"specversion":1}`), "application/cloudevents+json", "\n")
	f.Add([]byte(structured(`"data":`+good)), "", "")
	f.Add([]byte("["+structured(`"data":`+good)+"]"), "", "")
	f.Fuzz(func(t *testing.T, value []byte, contentType, id string) {
		r := foreign(string(value), "content-type: "+contentType)
		if id != "" {
			r.headers = append(r.headers, textHeader(ceSpecVersion, "1.0"), textHeader(ceID, id), textHeader(ceSource, "s"),
				textHeader(ceType, "t"))
		}
		command, refused := r.systemMessage()
		if refused == nil {
			if m := command.Message; command.ID == (domain.EventID{}) || m.To <= 0 || m.Text.String() == "" {
				t.Errorf("it is %+v", command)
			}
			return
		}
		if !strings.HasPrefix(refused.code, "chatting.") || refused.sentence == "" || !utf8.ValidString(refused.sentence) {
			t.Errorf("it is refused with %+v", refused)
		}
		letter := r.deadLetter(refused)
		if string(letter.Value) != string(value) || (&foreignRecord{headers: letter.Headers}).origin() != r.origin() {
			t.Error("its dead letter is another record's")
		}
	})
}
