package harness

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"github.com/twmb/franz-go/pkg/kgo"
)

// SchemaFolder is the folder of the promised forms of records, docs/schemas.
func SchemaFolder() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "docs", "schemas")
}

// EnvelopeSchema is the schema that those of all events refer to. It is no event's own.
const EnvelopeSchema = "cloudevent"

// Schemas are the promised forms of records, by their names: "chat_message.v1" for the event chatting.chat_message.v1.
type Schemas struct {
	promised map[string]*jsonschema.Schema
	exact    map[string]*jsonschema.Schema
}

// LoadSchemas reads them.
func LoadSchemas(t testing.TB) *Schemas {
	t.Helper()
	entries, err := os.ReadDir(SchemaFolder())
	if err != nil {
		t.Fatal(err)
	}
	compiler := NewSchemaCompiler()
	s := &Schemas{promised: map[string]*jsonschema.Schema{}, exact: map[string]*jsonschema.Schema{}}
	for _, entry := range entries {
		name, isSchema := strings.CutSuffix(entry.Name(), ".json")
		if !isSchema {
			continue
		}
		location := SchemaURL(name)
		if s.promised[name], err = compiler.Compile(location); err != nil {
			t.Fatal(err)
		}
		if s.promised[name].Properties["data"] == nil || name == EnvelopeSchema {
			continue
		}
		// What the server writes has the fields that are promised and no others: a field that nobody has described is none
		// of the promise.
		exact, err := jsonschema.UnmarshalJSON(strings.NewReader(fmt.Sprintf(`{
			"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": %[1]q, "unevaluatedProperties": false,
			"properties": {"data": {"$ref": "%[1]s#/$defs/data", "unevaluatedProperties": false}}}`, location)))
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource(location+".exact", exact); err != nil {
			t.Fatal(err)
		}
		if s.exact[name], err = compiler.Compile(location + ".exact"); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// SchemaURL is where a schema lies.
func SchemaURL(name string) string {
	return "file://" + filepath.ToSlash(SchemaFolder()) + "/" + name + ".json"
}

// NewSchemaCompiler returns a compiler that takes formats seriously.
func NewSchemaCompiler() *jsonschema.Compiler {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	return compiler
}

// Names returns the names of the schemas that stand for themselves, in their order.
func (s *Schemas) Names() []string {
	var names []string
	for name := range s.promised {
		if name != EnvelopeSchema {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Check validates a value against a promise. The error says where and what, and nothing of the value.
func (s *Schemas) Check(name string, value []byte) error { return check(s.promised, name, value) }

// CheckExact is Check for an event, and refuses fields that the schema does not name.
func (s *Schemas) CheckExact(name string, value []byte) error {
	complaint := check(s.exact, name, value)
	if complaint == nil {
		return nil
	}
	if err := s.Check(name, value); err != nil { // in an invalid object, no field counts as named
		return err
	}
	return complaint
}

func check(schemas map[string]*jsonschema.Schema, name string, value []byte) error {
	schema := schemas[name]
	if schema == nil {
		return fmt.Errorf("there is no schema %.50q", name)
	}
	decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err != nil {
		return errors.New("it is no JSON")
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(decoded); errors.As(err, &invalid) {
		return fmt.Errorf("against %s: %s", name, strings.Join(complaints(invalid), "; "))
	}
	return err
}

// complaints tells the places and the keywords of a failed validation. The library's own words quote values, which are
// messages.
func complaints(invalid *jsonschema.ValidationError) []string {
	if len(invalid.Causes) > 0 {
		var all []string
		for _, cause := range invalid.Causes {
			all = append(all, complaints(cause)...)
		}
		return all
	}
	what := strings.Join(invalid.ErrorKind.KeywordPath(), "/")
	switch k := invalid.ErrorKind.(type) {
	case *kind.Required:
		what = "lacks " + strings.Join(k.Missing, ", ")
	case *kind.FalseSchema:
		what = "is a field that the schema does not name"
	}
	return []string{"/" + strings.Join(invalid.InstanceLocation, "/") + " " + what}
}

// CheckRecord holds a record of conversations or presence against what is promised of these topics: its header, its key,
// and its value by the schema of its type. The error says nothing of what users wrote.
func (s *Schemas) CheckRecord(r *kgo.Record) error {
	if len(r.Headers) != 1 || r.Headers[0].Key != "content-type" || string(r.Headers[0].Value) != "application/cloudevents+json" {
		return errors.New("its one header is not the content-type of a CloudEvent")
	}
	var event struct {
		ID, Type string
		Data     struct {
			ID   string
			From int64 `json:"from_id"`
			To   int64 `json:"to_id"`
			User int64 `json:"user_id"`
		}
	}
	if err := json.Unmarshal(r.Value, &event); err != nil {
		return errors.New("it is no event at all")
	}
	if err := s.CheckExact(strings.TrimPrefix(event.Type, "chatting."), r.Value); err != nil {
		return err
	}
	key := fmt.Sprint(event.Data.User)
	if event.Data.User == 0 {
		if event.ID != event.Data.ID {
			return errors.New("its data have another id")
		}
		key = fmt.Sprintf("%d:%d", min(event.Data.From, event.Data.To), max(event.Data.From, event.Data.To))
	}
	if event.Type == "chatting.announcement.v1" {
		key = "0" // it is the platform's
	}
	if string(r.Key) != key {
		return fmt.Errorf("its key is %.50q, not %s", r.Key, key)
	}
	return nil
}

// OneEventAnID holds the records of a topic against the promise that an id stands for one event: those of one id are in one
// partition and differ at most in their times, and in the message where a client has used its name for another text.
type OneEventAnID map[string]idEvent

type idEvent struct {
	partition int32
	said      [sha256.Size]byte
}

// Check takes the next record.
func (o OneEventAnID) Check(r *kgo.Record) error {
	var event struct {
		ID, Type, Subject string
		Data              map[string]json.RawMessage
	}
	if err := json.Unmarshal(r.Value, &event); err != nil {
		return errors.New("it is no event at all")
	}
	for _, may := range []string{"time", "expires_at", "message"} {
		delete(event.Data, may)
	}
	said, err := json.Marshal(event) // in the order of the fields' names
	if err != nil {
		return err
	}
	partition := r.Partition
	if event.Type == "chatting.moderation.v1" {
		partition = 0 // it stands in all of them
	}
	is := idEvent{partition, sha256.Sum256(append(said, r.Key...))}
	if first, again := o[event.ID]; again && first != is {
		return fmt.Errorf("an earlier record of the id %s says something else", event.ID)
	}
	o[event.ID] = is
	return nil
}
