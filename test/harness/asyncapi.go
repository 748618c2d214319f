package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// AsyncAPI is the document of the socket and of the topics, docs/asyncapi.yaml.
type AsyncAPI struct {
	Operations map[string]struct {
		Messages []Reference `yaml:"messages"`
	} `yaml:"operations"`
	Channels map[string]struct {
		Address    string `yaml:"address"`
		CloseCodes []struct {
			Code   int    `yaml:"code"`
			Reason string `yaml:"reason"`
			When   string `yaml:"when"`
			Do     string `yaml:"do"`
		} `yaml:"x-close-codes"`
		Messages map[string]Reference `yaml:"messages"`
	} `yaml:"channels"`
	Components struct {
		Messages map[string]struct {
			Payload  map[string]any `yaml:"payload"`
			Examples []struct {
				Payload map[string]any `yaml:"payload"`
			} `yaml:"examples"`
		} `yaml:"messages"`
	} `yaml:"components"`

	// Payloads are the schemas of the messages, by the messages' names.
	Payloads map[string]*jsonschema.Schema
	// DeadLetterHeaders is the schema of the headers of a dead letter.
	DeadLetterHeaders *jsonschema.Schema
}

// Reference is a reference in the document.
type Reference struct {
	Ref string `yaml:"$ref"`
}

// Name returns the last part.
func (r Reference) Name() string { return r.Ref[strings.LastIndex(r.Ref, "/")+1:] }

// ReadAsyncAPI reads the document.
func ReadAsyncAPI() (*AsyncAPI, error) {
	content, err := os.ReadFile(filepath.Join(SchemaFolder(), "..", "asyncapi.yaml"))
	if err != nil {
		return nil, err
	}
	d := &AsyncAPI{Payloads: map[string]*jsonschema.Schema{}}
	if err := yaml.Unmarshal(content, d); err != nil {
		return nil, err
	}
	var whole any
	if err := yaml.Unmarshal(content, &whole); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	compiler := NewSchemaCompiler()
	compiler.DefaultDraft(jsonschema.Draft7) // whose superset AsyncAPI's schemas are
	// Beside the schemas that it refers to.
	location := strings.TrimSuffix(SchemaURL(""), "schemas/.json") + "asyncapi.json"
	if err := compiler.AddResource(location, resource); err != nil {
		return nil, err
	}
	for name := range d.Components.Messages {
		if d.Payloads[name], err = compiler.Compile(location + "#/components/messages/" + name + "/payload"); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	d.DeadLetterHeaders, err = compiler.Compile(location + "#/components/messages/deadLetter/headers")
	return d, err
}

// Check validates a payload against a message.
func (d *AsyncAPI) Check(message string, payload []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	return d.Payloads[message].Validate(value)
}

// ToClients returns the names of the frames that the server sends.
func (d *AsyncAPI) ToClients() []string {
	var names []string
	for _, ref := range d.Operations["toClients"].Messages {
		names = append(names, ref.Name())
	}
	return names
}

// Classify returns the one message among names that a payload is. It fails if the payload is none of them, or several, or
// has a field that the message's schema does not name.
func (d *AsyncAPI) Classify(payload []byte, names []string) (string, error) {
	var fits []string
	for _, name := range names {
		if d.Check(name, payload) == nil {
			fits = append(fits, name)
		}
	}
	if len(fits) != 1 {
		return "", fmt.Errorf("%s is %v of %v", payload, fits, names)
	}
	if unknown := d.undocumented(fits[0], payload); len(unknown) > 0 {
		return "", fmt.Errorf("%s: the document lacks %v: %s", fits[0], unknown, payload)
	}
	return fits[0], nil
}

// undocumented returns the fields of a payload, those of its data included, that the message's schema does not name.
func (d *AsyncAPI) undocumented(message string, payload []byte) []string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return []string{"it is no object"}
	}
	known := named(d.Payloads[message])
	var unknown []string
	for name, value := range fields {
		sub, there := known[name]
		if !there {
			unknown = append(unknown, name)
			continue
		}
		var inner map[string]json.RawMessage
		if name == "data" && json.Unmarshal(value, &inner) == nil {
			for field := range inner {
				if !slices.ContainsFunc(sub, func(s *jsonschema.Schema) bool { _, there := named(s)[field]; return there }) {
					unknown = append(unknown, fmt.Sprint("data.", field))
				}
			}
		}
	}
	return unknown
}

// named returns the properties that a schema names, wherever it does.
func named(s *jsonschema.Schema) map[string][]*jsonschema.Schema {
	found := map[string][]*jsonschema.Schema{}
	for s.Ref != nil {
		s = s.Ref
	}
	for name, sub := range s.Properties {
		found[name] = append(found[name], sub)
	}
	for _, part := range append(slices.Clone(s.AllOf), s.OneOf...) {
		for name, subs := range named(part) {
			found[name] = append(found[name], subs...)
		}
	}
	return found
}

var documented = sync.OnceValues(ReadAsyncAPI)

// errUndocumented begins every complaint about a frame that the document has otherwise.
var errUndocumented = errors.New("docs/asyncapi.yaml has no such frame")

// CheckFrame fails unless a frame of the server is exactly one of those that the document says go to clients. All ids of users in
// it may be decimal strings, as on a connection with the feature string_ids.
func CheckFrame(frame []byte) error {
	d, err := documented()
	if err != nil {
		return err
	}
	if frame, err = withNumbers(frame); err != nil {
		return err
	}
	if _, err := d.Classify(frame, d.ToClients()); err != nil {
		return fmt.Errorf("%w: %w", errUndocumented, err)
	}
	return nil
}

// withNumbers returns a frame in which ids of users that were decimal strings are numbers. It fails if some are and some are not.
func withNumbers(frame []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(frame, &fields); err != nil {
		return nil, err
	}
	if len(fields["to_id"]) == 0 || fields["to_id"][0] != '"' {
		return frame, nil
	}
	names := []string{"to_id", "opponent_id"}
	if fields["error"] == nil {
		names = append(names, "from_id")
	}
	number := func(text json.RawMessage) (json.RawMessage, error) {
		var digits string
		if err := json.Unmarshal(text, &digits); err != nil {
			return nil, fmt.Errorf("%s has an id that is no string", frame)
		}
		if _, err := strconv.ParseUint(digits, 10, 63); err != nil {
			return nil, fmt.Errorf("%s has an id that is no decimal", frame)
		}
		return json.RawMessage(digits), nil
	}
	var err error
	for _, name := range names {
		if fields[name] == nil {
			continue
		}
		if fields[name], err = number(fields[name]); err != nil {
			return nil, err
		}
	}
	if fields["online_friends"] != nil {
		friends := []json.RawMessage{}
		if err := json.Unmarshal(fields["online_friends"], &friends); err != nil {
			return nil, err
		}
		for i := range friends {
			if friends[i], err = number(friends[i]); err != nil {
				return nil, err
			}
		}
		if fields["online_friends"], err = json.Marshal(friends); err != nil {
			return nil, err
		}
	}
	return json.Marshal(fields)
}
