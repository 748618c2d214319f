package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	yamlv3 "go.yaml.in/yaml/v3"
)

// strictYAML parses the configuration file for koanf. Beyond what koanf's own parser checks it refuses unknown keys,
// keys that stand twice, values of the wrong shape, anchors, and more than one document; and it keeps the keys' lines.
// Values stay the text that they are in the file, so that a value means the same here as in the environment.
type strictYAML struct {
	yaml.YAML
	path  string
	lines map[string]int
}

// source tells where a key was found.
func (p *strictYAML) source(key string) string {
	return fmt.Sprintf("file %s line %d", fileName(p.path, false), p.lines[key])
}

// Unmarshal implements koanf.Parser.
func (p *strictYAML) Unmarshal(data []byte) (map[string]any, error) {
	decoder := yamlv3.NewDecoder(bytes.NewReader(data))
	var document yamlv3.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return map[string]any{}, nil
	} else if err != nil {
		return nil, notYAML(err)
	}
	var second yamlv3.Node
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("line %d: a second document begins: one is allowed", second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, notYAML(err)
	}
	if document.Kind != yamlv3.DocumentNode || len(document.Content) == 0 {
		return map[string]any{}, nil
	}
	known := newKeyTree()
	return p.section(document.Content[0], "", known)
}

// section returns the values of a mapping whose keys begin with prefix.
func (p *strictYAML) section(node *yamlv3.Node, prefix string, known keyTree) (map[string]any, error) {
	values := map[string]any{}
	if isNull(node) {
		return values, nil
	}
	if node.Kind != yamlv3.MappingNode {
		if prefix == "" {
			return nil, fmt.Errorf("line %d: it must be a mapping, such as http: {addr: \":8000\"}", node.Line)
		}
		return nil, fmt.Errorf("line %d: %s is a section: its keys stand below it, indented", node.Line, strings.TrimSuffix(prefix, "."))
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if name.Kind != yamlv3.ScalarNode || value.Kind == yamlv3.AliasNode || value.Anchor != "" {
			return nil, fmt.Errorf("line %d: anchors, aliases and keys that are no text are not supported", name.Line)
		}
		key := prefix + name.Value
		if line, twice := seen[name.Value]; twice {
			return nil, fmt.Errorf("line %d: %s is there already in line %d", name.Line, key, line)
		}
		seen[name.Value] = name.Line
		p.lines[key] = name.Line
		var err error
		switch {
		case strings.Contains(name.Value, "."):
			return nil, fmt.Errorf("line %d: unknown key %s: levels are nested by indentation, not joined by dots",
				name.Line, quotedKey(key, known.names))
		case known.sections[key]:
			values[name.Value], err = p.section(value, key+".", known)
		case known.options[key] != nil:
			if isNull(value) {
				continue // written down without a value, which is the same as left out
			}
			values[name.Value], err = text(value, key, known.options[key].Secret)
		default:
			return nil, fmt.Errorf("line %d: unknown key %s%s", name.Line, quotedKey(key, known.names), didYouMean(key, known.names))
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

// text returns a scalar as it is written, and a sequence of scalars joined by commas, as the environment has lists.
func text(node *yamlv3.Node, key string, isSecret bool) (string, error) {
	switch node.Kind {
	case yamlv3.ScalarNode:
		switch node.ShortTag() {
		case "!!str", "!!int", "!!float", "!!bool", "!!timestamp":
			return node.Value, nil
		}
		// The tag may be a value that begins with an exclamation mark.
		return "", fmt.Errorf("line %d: %s has a type or tag that is not supported: put what begins with ! in quotes", node.Line, key)
	case yamlv3.SequenceNode:
		if isSecret {
			return "", fmt.Errorf("line %d: %s is one text, not a list", node.Line, key)
		}
		items := make([]string, 0, len(node.Content))
		for _, item := range node.Content {
			if isNull(item) {
				return "", fmt.Errorf("line %d: an item of %s is empty: a text that is null or ~ stands in quotes", item.Line, key)
			}
			if item.Kind != yamlv3.ScalarNode {
				return "", fmt.Errorf("line %d: an item of %s is no text", item.Line, key)
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), nil
	default:
		return "", fmt.Errorf("line %d: %s is a value, not a section", node.Line, key)
	}
}

func isNull(node *yamlv3.Node) bool {
	return node.Kind == yamlv3.ScalarNode && node.ShortTag() == "!!null"
}

// keyTree is what may stand in a file.
type keyTree struct {
	options  map[string]*Option
	sections map[string]bool
	names    []string // of all options and sections, for suggestions
}

func newKeyTree() keyTree {
	tree := keyTree{options: map[string]*Option{}, sections: map[string]bool{}}
	add := func(key string, o *Option) {
		tree.options[key] = o
		tree.names = append(tree.names, key)
		if section, _, nested := strings.Cut(key, "."); nested {
			tree.sections[section] = true
			if !slices.Contains(tree.names, section) {
				tree.names = append(tree.names, section)
			}
		}
	}
	for i := range options {
		o := &options[i]
		add(o.Key, o)
		if o.Secret {
			add(o.FileKey(), o)
		}
	}
	return tree
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
