package docs

import (
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// library holds the documents as they were parsed, by their names in Files.
type library map[string]*yaml.Node

// tree is a value in a document. The zero tree is a value that is not there.
type tree struct {
	lib  library
	file string
	node *yaml.Node
}

// open parses a document; JSON is YAML.
func (l library) open(file string) tree {
	node, known := l[file]
	if !known {
		content, err := Files.ReadFile(file)
		if err != nil {
			panic(err)
		}
		var parsed yaml.Node
		if err := yaml.Unmarshal(content, &parsed); err != nil {
			panic(fmt.Errorf("%s: %w", file, err))
		}
		node = parsed.Content[0]
		l[file] = node
	}
	return tree{l, file, node}
}

func (t tree) exists() bool { return t.node != nil }

// member returns a field as it is written, reference or not.
func (t tree) member(name string) tree {
	if t.node == nil || t.node.Kind != yaml.MappingNode {
		return tree{}
	}
	for i := 0; i+1 < len(t.node.Content); i += 2 {
		if t.node.Content[i].Value == name {
			return tree{t.lib, t.file, t.node.Content[i+1]}
		}
	}
	return tree{}
}

// at follows a path of fields, and references on the way and at its end.
func (t tree) at(names ...string) tree {
	t = t.resolved()
	for _, name := range names {
		t = t.member(name).resolved()
	}
	return t
}

// ref returns where a reference leads, as the name of a file and a JSON pointer ("openapi.yaml#/components/schemas/Id"); "" for a
// value that is no reference.
func (t tree) ref() string {
	written := t.member("$ref").text()
	if written == "" {
		return ""
	}
	file, pointer, _ := strings.Cut(written, "#")
	if file == "" {
		file = t.file
	} else {
		file = path.Join(path.Dir(t.file), file)
	}
	return file + "#" + pointer
}

// target returns the value where a reference leads.
func (t tree) target() tree {
	ref := t.ref()
	file, pointer, _ := strings.Cut(ref, "#")
	t = t.lib.open(file)
	for name := range strings.SplitSeq(strings.Trim(pointer, "/"), "/") {
		if name != "" {
			t = t.member(strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
		}
	}
	if !t.exists() {
		panic("nothing is at " + ref)
	}
	return t
}

// resolved follows references.
func (t tree) resolved() tree {
	for range 10 {
		if t.ref() == "" {
			return t
		}
		t = t.target()
	}
	panic("references go round in circles")
}

// fields returns the fields in their order.
func (t tree) fields() iter.Seq2[string, tree] {
	return func(yield func(string, tree) bool) {
		if t.node == nil || t.node.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(t.node.Content); i += 2 {
			if !yield(t.node.Content[i].Value, tree{t.lib, t.file, t.node.Content[i+1]}) {
				return
			}
		}
	}
}

// items returns the elements of a list.
func (t tree) items() []tree {
	if t.node == nil || t.node.Kind != yaml.SequenceNode {
		return nil
	}
	var all []tree
	for _, node := range t.node.Content {
		all = append(all, tree{t.lib, t.file, node})
	}
	return all
}

// text returns a scalar as it is written, without quotes; "" for anything else.
func (t tree) text() string {
	if t.node == nil || t.node.Kind != yaml.ScalarNode {
		return ""
	}
	return strings.TrimSpace(t.node.Value)
}

// texts returns the scalars of a list, or the one that stands in the place of a list.
func (t tree) texts() []string {
	if one := t.text(); one != "" {
		return []string{one}
	}
	var all []string
	for _, item := range t.items() {
		all = append(all, item.text())
	}
	return all
}

// described returns the description that stands beside a reference, or else the one where it leads.
func (t tree) described() string {
	if beside := t.member("description").text(); beside != "" {
		return beside
	}
	return t.at("description").text()
}

// json writes a value in the order of its fields: on one line, or on several if it is wide.
func (t tree) json() string {
	if line := t.line(); len(line) <= 100 {
		return line
	}
	return t.lines("")
}

func (t tree) line() string {
	var parts []string
	switch t.node.Kind {
	case yaml.MappingNode:
		for name, value := range t.fields() {
			parts = append(parts, quote(name)+": "+value.line())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		for _, item := range t.items() {
			parts = append(parts, item.line())
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if tag := t.node.ShortTag(); slices.Contains([]string{"!!int", "!!float", "!!bool", "!!null"}, tag) {
		return t.node.Value
	}
	return quote(t.node.Value)
}

func (t tree) lines(indent string) string {
	if line := t.line(); len(line) <= 80 || t.node.Kind == yaml.ScalarNode {
		return line
	}
	var parts []string
	inner := indent + "  "
	if t.node.Kind == yaml.SequenceNode {
		for _, item := range t.items() {
			parts = append(parts, inner+item.lines(inner))
		}
		return "[\n" + strings.Join(parts, ",\n") + "\n" + indent + "]"
	}
	for name, value := range t.fields() {
		parts = append(parts, inner+quote(name)+": "+value.lines(inner))
	}
	return "{\n" + strings.Join(parts, ",\n") + "\n" + indent + "}"
}

// quote writes a JSON string and leaves alone what needs no escape.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}
