package documents

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"chatting/test/harness"
)

// kept returns the examples that are kept of a schema, by the path of their files below the folder of examples.
func kept(t *testing.T, schema string) map[string][]byte {
	t.Helper()
	folder := filepath.Join(harness.SchemaFolder(), "examples")
	files, err := filepath.Glob(filepath.Join(folder, schema, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.ToSlash(name)] = content
	}
	return found
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

func TestEverySchemaExplainsItselfWithExamplesThatFit(t *testing.T) {
	schemas := harness.LoadSchemas(t)
	for _, name := range schemas.Names() {
		content, err := os.ReadFile(filepath.Join(harness.SchemaFolder(), name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Schema      string `json:"$schema"`
			Title       string
			Description string
			Examples    []json.RawMessage
		}
		if err := json.Unmarshal(content, &schema); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if schema.Schema != "https://json-schema.org/draft/2020-12/schema" || schema.Title == "" || schema.Description == "" || len(schema.Examples) == 0 {
			t.Errorf("%s has no draft, title, description or example", name)
		}
		released := kept(t, name)
		for _, example := range schema.Examples {
			if err := schemas.Check(name, example); err != nil {
				t.Errorf("an example of %v", err)
			}
			there := false
			for _, copied := range released {
				there = there || reflect.DeepEqual(decoded(t, copied), decoded(t, example))
			}
			if !there {
				t.Errorf("an example of %s has no copy below examples/%s: %s", name, name, example)
			}
		}
	}
}

func TestEveryReleasedExampleStillFitsItsSchemaAndNoOther(t *testing.T) {
	schemas := harness.LoadSchemas(t)
	for _, name := range schemas.Names() {
		for file, example := range kept(t, name) {
			for _, other := range schemas.Names() {
				if err := schemas.Check(other, example); (err == nil) != (other == name) {
					t.Errorf("%s as %s: %v", file, other, err)
				}
			}
		}
	}
}

// A later version adds fields. Who reads today has to take them for nothing.
func TestSchemasAllowFieldsThatTheyDoNotName(t *testing.T) {
	schemas := harness.LoadSchemas(t)
	for _, name := range schemas.Names() {
		for file, example := range kept(t, name) {
			event, _ := decoded(t, example).(map[string]any)
			event["of_a_later_version"] = map[string]any{"x": 1}
			if data, there := event["data"].(map[string]any); there {
				data["of_a_later_version"] = []int{1}
			}
			later, err := json.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			if err := schemas.Check(name, later); err != nil {
				t.Errorf("%s with more fields: %v", file, err)
			}
		}
	}
}

// released.sum has the digest of every example that was released. A line is only ever added: what an example shows is in
// somebody's log.
func TestReleasedExamplesAreNeitherChangedNorTakenAway(t *testing.T) {
	folder := filepath.Join(harness.SchemaFolder(), "examples")
	sums, err := os.ReadFile(filepath.Join(folder, "released.sum"))
	if err != nil {
		t.Fatal(err)
	}
	files := kept(t, "*")
	for line := range strings.Lines(string(sums)) {
		want, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		content, there := files[name]
		digest := sha256.Sum256(content)
		switch {
		case !ok:
			t.Errorf("%q is no line of released.sum", line)
		case !there:
			t.Errorf("%s is gone", name)
		case hex.EncodeToString(digest[:]) != want:
			t.Errorf("%s is not what was released", name)
		}
		delete(files, name)
	}
	for name := range files {
		t.Errorf("released.sum lacks %s: run sha256sum in docs/schemas/examples", name)
	}
}

func TestTheDocumentsNameEverySchema(t *testing.T) {
	events, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range harness.LoadSchemas(t).Names() {
		if !bytes.Contains(events, []byte("(schemas/"+name+".json)")) {
			t.Errorf("docs/events.md does not link %s", name)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, []byte("(docs/events.md)")) {
		t.Error("README.md does not link docs/events.md")
	}
}
