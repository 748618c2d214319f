package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readFile returns what a YAML file says; "" names none. It refuses unknown keys, keys that stand twice, values of the wrong
// shape, anchors, and more than one document. Values stay the text that they are in the file, so that a value means the same
// here as in the environment.
func readFile(path string) (layer, error) {
	if path == "" {
		return layer{}, nil
	}
	what := "the configuration file " + fileName(path, false)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, readable(what, err)
	}
	f := yamlFile{source: "file " + fileName(path, false), known: knownKeys(), values: layer{}}
	if err := f.read(content); err != nil {
		return nil, readable(what, err)
	}
	return f.values, nil
}

// yamlFile is a file that is read.
type yamlFile struct {
	source string
	known  knownNames
	values layer
}

func (f *yamlFile) read(content []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return notYAML(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return fmt.Errorf("line %d: a second document begins: one is allowed", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return notYAML(err)
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) == 0 {
		return nil
	}
	return f.section(document.Content[0], "")
}

// section reads a mapping whose keys begin with prefix.
func (f *yamlFile) section(node *yaml.Node, prefix string) error {
	if isNull(node) {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		if prefix == "" {
			return fmt.Errorf("line %d: it must be a mapping, such as http: {addr: \":8000\"}", node.Line)
		}
		return fmt.Errorf("line %d: %s is a section: its keys stand below it, indented", node.Line, strings.TrimSuffix(prefix, "."))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if name.Kind != yaml.ScalarNode || value.Kind == yaml.AliasNode || value.Anchor != "" {
			return fmt.Errorf("line %d: anchors, aliases and keys that are no text are not supported", name.Line)
		}
		key := prefix + name.Value
		if line, twice := seen[name.Value]; twice {
			return fmt.Errorf("line %d: %s is there already in line %d", name.Line, key, line)
		}
		seen[name.Value] = name.Line
		if err := f.entry(key, name, value); err != nil {
			return err
		}
	}
	return nil
}

// entry reads the value of a key.
func (f *yamlFile) entry(key string, name, value *yaml.Node) error {
	option, isOption := f.known.options[key]
	switch {
	case strings.Contains(name.Value, "."):
		return fmt.Errorf("line %d: unknown key %s: levels are nested by indentation, not joined by dots",
			name.Line, quotedKey(key, f.known.names))
	case f.known.sections[key]:
		return f.section(value, key+".")
	case !isOption:
		return fmt.Errorf("line %d: unknown key %s%s", name.Line, quotedKey(key, f.known.names), didYouMean(key, f.known.names))
	case isNull(value):
		return nil // written down without a value, which is the same as left out
	}
	text, err := textOf(value, key, option.Secret)
	f.values[key] = found{text, fmt.Sprintf("%s line %d", f.source, name.Line)}
	return err
}

// textOf returns a scalar as it is written, and a sequence of scalars joined by commas, as the environment has lists.
func textOf(node *yaml.Node, key string, isSecret bool) (string, error) {
	switch node.Kind {
	case yaml.ScalarNode:
		switch node.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			return node.Value, nil
		}
		// The tag may be a value that begins with an exclamation mark.
		return "", fmt.Errorf("line %d: %s has a type or tag that is not supported: put what begins with ! in quotes", node.Line, key)
	case yaml.SequenceNode:
		if isSecret {
			return "", fmt.Errorf("line %d: %s is one text, not a list", node.Line, key)
		}
		items := make([]string, 0, len(node.Content))
		for _, item := range node.Content {
			if isNull(item) {
				return "", fmt.Errorf("line %d: an item of %s is empty: a text that is null or ~ stands in quotes", item.Line, key)
			}
			if item.Kind != yaml.ScalarNode {
				return "", fmt.Errorf("line %d: an item of %s is no text", item.Line, key)
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	default:
		return "", fmt.Errorf("line %d: %s is a value, not a section", node.Line, key)
	}
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

// knownNames are what may stand in a file.
type knownNames struct {
	options  map[string]Option
	sections map[string]bool
	names    []string // of all options and sections, for suggestions
}

func knownKeys() knownNames {
	known := knownNames{options: map[string]Option{}, sections: map[string]bool{}}
	for _, o := range Options() {
		known.options[o.Key] = o
		known.names = append(known.names, o.Key)
		if section, _, nested := strings.Cut(o.Key, "."); nested && !known.sections[section] {
			known.sections[section] = true
			known.names = append(known.names, section)
		}
		if o.Secret {
			known.options[o.FileKey()] = o
			known.names = append(known.names, o.FileKey())
		}
	}
	return known
}

// notYAML says what the library found, in one line and without the names of anchors, which may be values that begin with an
// asterisk. The library's other errors repeat nothing of the text.
func notYAML(err error) error {
	found := strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
	if strings.Contains(found, "anchor") {
		return errors.New("anchors and aliases are not supported: put a value that begins with * or & in quotes")
	}
	return errors.New(found)
}
