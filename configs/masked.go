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
		text := strings.TrimSpace(s.text.Reveal())
		if s.option.Key == "database.url" { // the file in the data directory, too
			text = c.Database.URL.Reveal()
		}
		value := scalar(s.option.shown(text))
		value.LineComment = strings.Join(strings.Fields(s.source), " ") // a file's name may have line breaks
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
