package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"
)

// kind is the JSON type of a value.
type kind int

const (
	missing kind = iota
	null
	boolean
	number
	text
	list
	object
)

// value is one field of a body.
type value struct {
	kind kind
	// text is the text, or the number's literal, as sent: nothing is lost to floating point.
	text string
	// surrogate is the first lone surrogate of the text, 0 where there is none; Go's strings cannot hold one.
	surrogate uint16
}

// fields are a body's by name. Those not in it are missing.
type fields map[string]value

// readFields reads the request's body, JSON or form-encoded. An empty body has no fields, whatever its type. Of a name
// that comes twice the last counts, as in the original server. Its error is an answer.
func readFields(c *fiber.Ctx) (fields, error) {
	body := c.Request().Body()
	if len(body) == 0 {
		return fields{}, nil
	}
	// Fiber's own c.Body() would inflate a body to any size.
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported content encoding "%s" in request.`, encoding))
	}
	contentType := string(c.Request().Header.ContentType())
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case jsonType:
		return parseJSON(body)
	case fiber.MIMEApplicationForm:
		return parseForm(string(body)), nil
	default:
		return nil, detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported media type "%s" in request.`, contentType))
	}
}

// parseJSON reads a JSON object (RFC 8259: UTF-8, nothing after it).
func parseJSON(body []byte) (fields, error) {
	if !utf8.Valid(body) {
		return nil, badJSON("the body is not valid UTF-8")
	}
	if err := checkJSON(body); err != nil {
		return nil, badJSON(err.Error())
	}
	whole := parseValue(bytes.TrimLeft(body, " \t\r\n"))
	if whole.kind != object {
		return nil, refused("non_field_errors", "Invalid data. Expected a dictionary, but got "+whole.pythonType()+".")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, badJSON(err.Error())
	}
	parsed := make(fields, len(raw))
	for name, data := range raw {
		parsed[name] = parseValue(data)
	}
	return parsed, nil
}

// checkJSON returns the parser's complaint about body, nil where it is one JSON value.
func checkJSON(body []byte) error {
	var raw json.RawMessage
	return json.Unmarshal(body, &raw)
}

func badJSON(complaint string) *answer {
	return detail(http.StatusBadRequest, "JSON parse error - "+complaint)
}

// parseValue reads what begins with a JSON value that the parser has checked.
func parseValue(data []byte) value {
	switch data[0] {
	case '{':
		return value{kind: object}
	case '[':
		return value{kind: list}
	case 'n':
		return value{kind: null}
	case 't', 'f':
		return value{kind: boolean}
	case '"':
		v := value{kind: text, surrogate: loneSurrogate(data)}
		if err := json.Unmarshal(data, &v.text); err != nil {
			return value{kind: text} // cannot be: it is a checked string
		}
		return v
	default:
		return value{kind: number, text: string(bytes.TrimRight(data, " \t\r\n"))}
	}
}

// pythonType names the type of a whole body as the original's answers do.
func (v value) pythonType() string {
	switch v.kind {
	case null:
		return "NoneType"
	case boolean:
		return "bool"
	case text:
		return "str"
	case list:
		return "list"
	case number:
		if strings.ContainsAny(v.text, ".eE") {
			return "float"
		}
		return "int"
	default:
		return "dict"
	}
}

// loneSurrogate returns the first escaped surrogate of a JSON string that has no other half (RFC 8259 §8.2), or 0. The
// standard library's parser silently replaces those.
func loneSurrogate(literal []byte) uint16 {
	for i := 0; i < len(literal); i++ {
		if literal[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(literal[i:])
		switch {
		case !ok:
			i++ // the escaped character
		case unit < 0xd800 || unit > 0xdfff:
			i += 5
		case unit >= 0xdc00:
			return unit
		default:
			if low, ok := escapedUnit(literal[i+6:]); !ok || low < 0xdc00 || low > 0xdfff {
				return unit
			}
			i += 11
		}
	}
	return 0
}

// escapedUnit reads \uXXXX at the start of literal.
func escapedUnit(literal []byte) (uint16, bool) {
	if len(literal) < 6 || literal[0] != '\\' || literal[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(literal[2:6]), 16, 16)
	return uint16(unit), err == nil
}

// parseForm reads application/x-www-form-urlencoded. Pairs that are malformed are left out; bytes that are no UTF-8 are
// replaced, as the original did.
func parseForm(body string) fields {
	parsed := fields{}
	// What could be read is returned beside the error.
	values, _ := url.ParseQuery(body)
	for name, all := range values {
		parsed[name] = value{kind: text, text: strings.ToValidUTF8(all[len(all)-1], "\uFFFD")}
	}
	return parsed
}
