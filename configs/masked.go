package configs

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Masked returns the effective configuration as YAML, every option in its place. A comment tells where a value comes
// from that is not the default. Secrets are masked, and what stands before and after the host of a URL.
func (c Config) Masked() string {
	root := &yaml.Node{Kind: yaml.MappingNode}
	root.HeadComment = "The effective configuration. What has no comment is the default."
	sections := map[string]*yaml.Node{}
	for _, s := range c.settings {
		parent, name := root, s.option.Key
		if section, rest, nested := strings.Cut(s.option.Key, "."); nested {
			if sections[section] == nil {
				sections[section] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, scalar(section), sections[section])
			}
			parent, name = sections[section], rest
		}
		shown := c.shown(s)
		value := scalar(shown.Value)
		value.LineComment = shown.Source
		parent.Content = append(parent.Content, scalar(name), value)
	}
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		panic(err) // a tree of scalars that was built here
	}
	return out.String()
}

// scalar is a YAML scalar. Without a tag the encoder quotes what would read as something else, such as ***.
func scalar(text string) *yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if text == "" {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// ShownOption is the value of an option in force, as it may be printed.
type ShownOption struct {
	Value  string `json:"value"`            // as it would be written in the environment
	Source string `json:"source,omitempty"` // "" for the default
}

// Shown returns what Masked prints, by the keys of the options.
func (c Config) Shown() map[string]ShownOption {
	all := make(map[string]ShownOption, len(c.settings))
	for _, s := range c.settings {
		all[s.option.Key] = c.shown(s)
	}
	return all
}

func (c Config) shown(s setting) ShownOption {
	text := strings.TrimSpace(s.text.Reveal())
	if s.option.Key == "database.url" { // the file in the data directory, too
		text = c.Database.URL.Reveal()
	}
	return ShownOption{s.option.shown(text), strings.Join(strings.Fields(s.source), " ")} // a file's name may have line breaks
}
