package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/wire"
)

// ReadFields reads the request's body, JSON or form-encoded. An empty body has no fields, whatever its type. If a name comes
// twice, the last counts, as in the original server. Its error is an answer.
func ReadFields(c *fiber.Ctx) (wire.Fields, error) {
	body := c.Request().Body()
	if len(body) == 0 {
		return wire.Fields{}, nil
	}
	// Fiber's c.Body() would inflate a body to any size. The header is a list over all its lines.
	encoding := string(bytes.Join(c.Request().Header.PeekAll(fiber.HeaderContentEncoding), []byte(", ")))
	if !isIdentity(encoding) {
		return nil, Detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported content encoding "%s" in request.`, encoding))
	}
	contentType := string(c.Request().Header.ContentType())
	switch mediaType, _, _ := mime.ParseMediaType(contentType); mediaType {
	case JSONType:
		parsed, err := wire.ParseBody(body)
		return parsed, AsAnswer(err)
	case fiber.MIMEApplicationForm:
		return parseForm(string(body)), nil
	default:
		return nil, Detail(http.StatusUnsupportedMediaType, fmt.Sprintf(`Unsupported media type "%s" in request.`, contentType))
	}
}

// ReadOptional is ReadFields for a body that may be left out. Clients also write null for a body that is not set.
func ReadOptional(c *fiber.Ctx) (wire.Fields, error) {
	if string(bytes.Trim(c.Request().Body(), " \t\r\n")) == "null" {
		return wire.Fields{}, nil
	}
	return ReadFields(c)
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

// AsAnswer returns the answer to a body that wire refuses; nil for nil.
func AsAnswer(err error) error {
	var invalid wire.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		return Invalid(invalid)
	default:
		return Detail(http.StatusBadRequest, err.Error())
	}
}

// parseForm reads application/x-www-form-urlencoded. Malformed pairs are left out, and bytes that are not UTF-8 are replaced, as
// in the original server.
func parseForm(body string) wire.Fields {
	parsed := wire.Fields{}
	values, _ := url.ParseQuery(body) // what it could read, beside the error
	for name, all := range values {
		parsed[name] = wire.TextValue(strings.ToValidUTF8(all[len(all)-1], "\uFFFD"))
	}
	return parsed
}

// QueryValue returns a parameter of the query as a form would hold it.
func QueryValue(c *fiber.Ctx, name string) wire.Value {
	text, given := QueryText(c, name)
	if !given {
		return wire.Value{}
	}
	return wire.TextValue(text)
}

// QueryText returns the text of a parameter of the query. If it comes twice, the last counts.
func QueryText(c *fiber.Ctx, name string) (text string, given bool) {
	all := c.Context().QueryArgs().PeekMulti(name)
	if len(all) == 0 {
		return "", false
	}
	return string(all[len(all)-1]), true
}
