package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// matcher compares JSON with what a row expects, and remembers what the row's named placeholders stood for.
type matcher struct {
	original bool // whether the original answers: without what is ours alone, with times of its own form
	bound    map[string]string
}

// match tells what is different in got, nil for nothing. Numbers are the same when they are written the same.
func (m *matcher) match(want, got string) error {
	expected, err := decode(want)
	if err != nil {
		return fmt.Errorf("the row expects no JSON: %w", err)
	}
	found, err := decode(got)
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	return m.value("", expected, found)
}

func (m *matcher) value(at string, want, got any) error {
	switch want := want.(type) {
	case members:
		found, ok := got.(members)
		if !ok {
			return fmt.Errorf("%s is no object: %v", at, got)
		}
		return m.object(at, want, found)
	case []any:
		found, ok := got.([]any)
		if !ok || len(found) != len(want) {
			return fmt.Errorf("%s is %v, not %v", at, got, want)
		}
		for i := range want {
			if err := m.value(fmt.Sprintf("%s[%d]", at, i), want[i], found[i]); err != nil {
				return err
			}
		}
		return nil
	case string:
		found, ok := got.(string)
		if !ok {
			return fmt.Errorf("%s is no text: %v", at, got)
		}
		return m.text(at, want, found)
	default:
		if want != got {
			return fmt.Errorf("%s is %#v, not %#v", at, got, want)
		}
		return nil
	}
}

func (m *matcher) object(at string, want, got members) error {
	var known []string
	for name, value := range want {
		plain, oursAlone := strings.CutPrefix(name, "+")
		if oursAlone && m.original {
			continue
		}
		known = append(known, plain)
		found, ok := got[plain]
		if !ok {
			return fmt.Errorf("%s.%s is missing", at, plain)
		}
		if err := m.value(at+"."+plain, value, found); err != nil {
			return err
		}
	}
	for name := range got {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s.%s is too much", at, name)
		}
	}
	return nil
}

var wildcard = regexp.MustCompile(`\{(time|uuid|any)( [a-z]+)?\}`)

var uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// text compares texts, of which the expected one may have placeholders.
func (m *matcher) text(at, want, got string) error {
	var pattern strings.Builder
	pattern.WriteString(`(?s)^`)
	rest := want
	var found [][]string
	for {
		where := wildcard.FindStringSubmatchIndex(rest)
		if where == nil {
			break
		}
		found = append(found, wildcard.FindStringSubmatch(rest))
		pattern.WriteString(regexp.QuoteMeta(rest[:where[0]]) + "(.+)")
		rest = rest[where[1]:]
	}
	pattern.WriteString(regexp.QuoteMeta(rest) + "$")
	parts := regexp.MustCompile(pattern.String()).FindStringSubmatch(got)
	if parts == nil {
		return fmt.Errorf("%s is %q, not %q", at, got, want)
	}
	for i, placeholder := range found {
		if err := m.placeholder(placeholder[1], placeholder[2], parts[i+1]); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

func (m *matcher) placeholder(kind, name, got string) error {
	switch {
	case kind == "time" && !m.isTime(got):
		return fmt.Errorf("%q is no time", got)
	case kind == "uuid" && !uuidForm.MatchString(got):
		return fmt.Errorf("%q is no UUID", got)
	case name == "":
		return nil
	}
	for other, value := range m.bound {
		if other == kind+name && value != got {
			return fmt.Errorf("{%s%s} is %q, which was %q before", kind, name, got, value)
		}
		if other != kind+name && value == got && kind == "uuid" {
			return fmt.Errorf("{%s%s} is that of {%s}", kind, name, other)
		}
	}
	if m.bound == nil {
		m.bound = map[string]string{}
	}
	m.bound[kind+name] = got
	return nil
}

// recall puts what named placeholders stood for in their place.
func (m *matcher) recall(text string) string {
	return wildcard.ReplaceAllStringFunc(text, func(found string) string {
		if value, known := m.bound[strings.Trim(found, "{}")]; known {
			return value
		}
		return found
	})
}

// isTime accepts UTC with Z and milliseconds, of the original its local time without a zone.
func (m *matcher) isTime(s string) bool {
	layouts := []string{"2006-01-02T15:04:05.000Z"}
	if m.original {
		layouts = []string{"2006-01-02T15:04:05.999999", time.RFC3339Nano, "2006-01-02 15:04:05.999999"}
	}
	return slices.ContainsFunc(layouts, func(layout string) bool {
		_, err := time.Parse(layout, s)
		return err == nil
	})
}

// members are the fields of a JSON object.
type members map[string]any

// decode reads one JSON value. Unlike encoding/json it refuses a name that comes twice, and it keeps numbers as written.
func decode(text string) (any, error) {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	value, err := decodeValue(decoder)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows")
	}
	return value, nil
}

func decodeValue(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		object := members{}
		for decoder.More() {
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			if _, twice := object[name.(string)]; twice {
				return nil, fmt.Errorf("%s comes twice", name)
			}
			if object[name.(string)], err = decodeValue(decoder); err != nil {
				return nil, err
			}
		}
		_, err = decoder.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := decodeValue(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err = decoder.Token()
		return list, err
	default:
		return token, nil
	}
}

// compact returns JSON without blanks, anything else as it is: for messages.
func compact(text string) string {
	var out bytes.Buffer
	if json.Compact(&out, []byte(text)) != nil {
		return text
	}
	return out.String()
}
