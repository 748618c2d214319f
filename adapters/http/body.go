package rest

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/fields"
)

// readFields reads the request's body, JSON or form-encoded. An empty body has no fields, whatever its type. Of a name
// that comes twice the last counts, as in the original server. Its error is an answer.
func readFields(c *fiber.Ctx) (fields.Fields, error) {
	body := c.Request().Body()
	if len(body) == 0 {
		return fields.Fields{}, nil
	}
	// Fiber's own c.Body() would inflate a body to any size.
	// It is a list over all its lines.
	encoding := string(bytes.Join(c.Request().Header.PeekAll(fiber.HeaderContentEncoding), []byte(", ")))
	if !isIdentity(encoding) {
		return nil, detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported content encoding "%s" in request.`, encoding))
	}
	contentType := string(c.Request().Header.ContentType())
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case jsonType:
		parsed, err := fields.ParseJSON(body)
		return parsed, asAnswer(err)
	case fiber.MIMEApplicationForm:
		return parseForm(string(body)), nil
	default:
		return nil, detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported media type "%s" in request.`, contentType))
	}
}

// readOptional is readFields for a body that may be left out. A body that is null is then none: clients write it for a body that
// was not set.
func readOptional(c *fiber.Ctx) (fields.Fields, error) {
	if string(bytes.Trim(c.Request().Body(), " \t\r\n")) == "null" {
		return fields.Fields{}, nil
	}
	return readFields(c)
}

// isIdentity tells whether a list of codings changes nothing.
func isIdentity(codings string) bool {
	for coding := range strings.SplitSeq(codings, ",") {
		if coding = strings.Trim(coding, " \t"); coding != "" && !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	return true
}

// asAnswer returns the answer to a body that fields refuses; nil for nil.
func asAnswer(err error) error {
	var invalid fields.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return &answer{http.StatusBadRequest, invalid}
	default:
		return detail(http.StatusBadRequest, err.Error())
	}
}

// parseForm reads application/x-www-form-urlencoded. Pairs that are malformed are left out; bytes that are no UTF-8 are
// replaced, as the original did.
func parseForm(body string) fields.Fields {
	parsed := fields.Fields{}
	// What could be read is returned beside the error.
	values, _ := url.ParseQuery(body)
	for name, all := range values {
		parsed[name] = fields.Value{Kind: fields.Text, Text: strings.ToValidUTF8(all[len(all)-1], "\uFFFD")}
	}
	return parsed
}
