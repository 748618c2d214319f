package docs

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// span is a piece of the words for a type. Code is shown as such; Link leads to where it is explained.
type span struct {
	Text, Link string
	Code       bool
}

// field is a row of a table of fields or parameters.
type field struct {
	Name, In string
	Required bool
	Type     []span
	Doc      string
	Feature  string
}

// object is what is shown of a schema.
type object struct {
	ID, Name, Doc string
	Type          []span // of what has no fields
	Includes      []span // whose fields it has, too
	Fields        []field
	Example       string
}

// anchors name the sections of the page by where a schema is written.
type anchors map[string]span

// section returns the section to which a reference leads, at once or over others.
func (a anchors) section(t tree) (span, bool) {
	for t.ref() != "" {
		if known, there := a[t.ref()]; there {
			return known, true
		}
		t = t.target()
	}
	return span{}, false
}

func words(text string) []span { return []span{{Text: text}} }

// typeOf says in words what values a schema takes.
func (a anchors) typeOf(t tree) []span {
	if known, there := a.section(t); there {
		return []span{known}
	}
	t = t.resolved()
	if value := t.member("const"); value.exists() {
		return []span{{Text: value.line(), Code: true}}
	}
	if enum := t.member("enum").items(); len(enum) > 0 {
		return a.enumeration(enum)
	}
	for _, composed := range []string{"oneOf", "anyOf"} {
		if parts := t.member(composed).items(); len(parts) > 0 {
			var all []span
			for i, part := range parts {
				if i > 0 {
					all = append(all, span{Text: " or "})
				}
				all = append(all, a.typeOf(part)...)
			}
			return all
		}
	}
	if parts := t.member("allOf").items(); len(parts) == 1 {
		return a.typeOf(parts[0])
	}
	switch kind := strings.Join(t.member("type").texts(), " or "); kind {
	case "":
		return words("any value")
	case "array":
		return append(words("list of "), a.typeOf(t.member("items"))...)
	case "object":
		if values := t.member("additionalProperties"); values.member("type").exists() || values.ref() != "" {
			return append(words("object; each value is "), a.typeOf(values)...)
		}
		return words("object")
	default:
		spans := words(kind + boundsOf(t))
		if pattern := t.member("pattern").text(); pattern != "" && !t.member("format").exists() {
			spans = append(spans, span{Text: ", pattern "}, span{Text: pattern, Code: true})
		}
		return spans
	}
}

func (a anchors) enumeration(values []tree) []span {
	var all []span
	for i, value := range values {
		if i > 0 {
			all = append(all, span{Text: ", "})
		}
		all = append(all, span{Text: value.line(), Code: true})
	}
	return all
}

// boundsOf says what a schema demands beyond the type.
func boundsOf(t tree) string {
	var out strings.Builder
	if format := t.member("format").text(); format != "" {
		out.WriteString(" (" + format + ")")
	}
	for _, bound := range [][2]string{
		{"minimum", "at least "}, {"maximum", "at most "}, {"minLength", "length at least "}, {"maxLength", "length at most "},
	} {
		if value := t.member(bound[0]).text(); value != "" {
			out.WriteString(", " + bound[1] + value)
		}
	}
	if t.member("nullable").text() == "true" {
		out.WriteString(", or null")
	}
	if value := t.member("default"); value.exists() {
		out.WriteString(", by default " + value.line())
	}
	return out.String()
}

// fieldsOf lists the fields of an object, those of its parts included. Fields of inner objects that have no section of their own
// come behind them, with a dot. includes are the parts that have a section.
func (a anchors) fieldsOf(t tree, prefix string) (fields []field, includes []span) {
	t = t.resolved()
	required := t.member("required").texts()
	for _, part := range t.member("allOf").items() {
		if known, there := a.section(part); there {
			includes = append(includes, known)
			continue
		}
		more, others := a.fieldsOf(part, prefix)
		fields, includes = append(fields, more...), append(includes, others...)
	}
	for name, property := range t.member("properties").fields() {
		_, linked := a.section(property)
		row := field{
			Name: prefix + name, Required: slices.Contains(required, name), Type: a.typeOf(property), Doc: property.described(),
			Feature: property.member("x-feature").text(),
		}
		// A part may say more of a field that another part has.
		if at := slices.IndexFunc(fields, func(f field) bool { return f.Name == row.Name }); at >= 0 {
			fields[at] = row
		} else {
			fields = append(fields, row)
		}
		if inner := property.resolved(); !linked && inner.member("properties").exists() {
			more, _ := a.fieldsOf(inner, prefix+name+".")
			fields = append(fields, more...)
		}
	}
	for i := range fields {
		if slices.Contains(required, strings.TrimPrefix(fields[i].Name, prefix)) {
			fields[i].Required = true
		}
	}
	return fields, includes
}

// objectOf returns what is shown of a schema.
func (a anchors) objectOf(id, name string, t tree) object {
	o := object{ID: id, Name: name, Doc: t.described()}
	o.Fields, o.Includes = a.fieldsOf(t, "")
	if len(o.Fields) == 0 {
		o.Type = a.typeOf(t.resolved())
	}
	if example := exampleOf(t); example.exists() {
		o.Example = example.json()
	}
	return o
}

// exampleOf returns the example that is written in a schema, or else one that is made of those of its parts; the zero tree if a
// part has none.
func exampleOf(t tree) tree {
	t = t.resolved()
	if example := t.member("example"); example.exists() {
		return example
	}
	if all := t.member("examples").items(); len(all) > 0 {
		return all[0]
	}
	if values := t.member("enum").items(); len(values) > 0 {
		return values[0]
	}
	made := &yaml.Node{Kind: yaml.MappingNode}
	if item := t.member("items"); item.exists() {
		made.Kind, made.Content = yaml.SequenceNode, []*yaml.Node{exampleOf(item).node}
	}
	for name, property := range t.member("properties").fields() {
		made.Content = append(made.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, exampleOf(property).node)
	}
	if len(made.Content) == 0 || slices.Contains(made.Content, nil) {
		return tree{}
	}
	return tree{t.lib, t.file, made}
}
