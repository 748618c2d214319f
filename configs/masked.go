package configs

import (
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// Masked returns the effective configuration as YAML, every option in its place. A comment tells where a value comes
// from that is not the default. Secrets are masked, and what stands before and after the host of a URL.
func (c Config) Masked() string {
	root := &yamlv3.Node{Kind: yamlv3.MappingNode}
	root.HeadComment = "The effective configuration. What has no comment is the default."
	sections := map[string]*yamlv3.Node{}
	for _, s := range c.settings {
		parent, name := root, s.option.Key
		if section, rest, nested := strings.Cut(s.option.Key, "."); nested {
			if sections[section] == nil {
				sections[section] = &yamlv3.Node{Kind: yamlv3.MappingNode}
				root.Content = append(root.Content, scalar(section), sections[section])
			}
			parent, name = sections[section], rest
		}
		value := scalar(c.shown(s))
		value.LineComment = strings.Join(strings.Fields(s.source), " ") // a file's name may have line breaks
		parent.Content = append(parent.Content, scalar(name), value)
	}
	var out strings.Builder
	encoder := yamlv3.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		panic(err) // a tree of scalars that was built here
	}
	return out.String()
}

// shown returns a value as it may be printed. For an option whose default depends on others it is what the option comes to.
func (c Config) shown(s setting) string {
	switch s.option.Key {
	case "chat.html_escape":
		return strconv.FormatBool(c.Chat.HTMLEscape)
	case "presence.hide_from_blocked":
		return strconv.FormatBool(c.Presence.HideFromBlocked)
	case "s2s.trust_loopback":
		return strconv.FormatBool(c.S2S.TrustLoopback)
	case "limit.user_frames_per_second":
		return strconv.Itoa(c.Limit.UserFramesPerSecond)
	case "database.url":
		return c.Database.URL.String()
	default:
		return s.option.shown(strings.TrimSpace(s.text.Reveal()))
	}
}

// scalar is a YAML scalar. Without a tag the encoder quotes what would read as something else, such as ***.
func scalar(text string) *yamlv3.Node {
	node := &yamlv3.Node{Kind: yamlv3.ScalarNode, Value: text}
	if text == "" {
		node.Style = yamlv3.DoubleQuotedStyle
	}
	return node
}
