package configs

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// Tracing is where the spans of this node go.
type Tracing struct {
	Endpoint    URL    // of the collector, http or https; empty: nothing is recorded
	Headers     Secret // as ParseHeaders reads them; empty: none
	SampleRatio float64
}

func (t *Tracing) options() []Option {
	return []Option{
		{Key: "tracing.endpoint", value: endpointURL(&t.Endpoint)},
		{Key: "tracing.headers", Secret: true, value: secret(&t.Headers, 1, func(text string) error {
			_, err := ParseHeaders(text)
			return err
		})},
		{Key: "tracing.sample_ratio", value: ratio(&t.SampleRatio)},
	}
}

// tracesPath is where a collector takes traces, below its base.
const tracesPath = "/v1/traces"

// Collector returns where the spans go, which is the endpoint with the path of traces below it, and the headers that go with them.
// A user and a password of the endpoint are a header, too.
func (t Tracing) Collector() (at string, headers map[string]string, err error) {
	headers, err = ParseHeaders(t.Headers.Reveal())
	if err != nil {
		return "", nil, err
	}
	u, err := parseURL(t.Endpoint.Reveal())
	if err != nil {
		return "", nil, err
	}
	if password, _ := u.User.Password(); u.User != nil && headers["Authorization"] == "" {
		headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	u.User, u.Path = nil, strings.TrimRight(u.Path, "/")
	if !strings.HasSuffix(u.Path, tracesPath) {
		u.Path += tracesPath
	}
	u.RawPath = ""
	return u.String(), headers, nil
}

// endpointURL is webURL without a query, which would not reach a collector.
func endpointURL(field *URL) value {
	v := webURL(field)
	set := v.set
	v.set = func(text string) error {
		if err := set(text); err != nil {
			return err
		}
		if _, after, _ := strings.Cut(text, "?"); after != "" {
			return errors.New("has a query: write what the collector asks for into tracing.headers")
		}
		return nil
	}
	return v
}

// ParseHeaders reads headers of requests, name=value, separated by commas or line breaks, as OTEL_EXPORTER_OTLP_HEADERS has them: what
// would not be plain in a value is percent-encoded. Its errors hold nothing of the values.
func ParseHeaders(text string) (map[string]string, error) {
	headers := make(map[string]string)
	for pair := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		name, encoded, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		decoded, err := url.PathUnescape(strings.TrimSpace(encoded))
		switch {
		case !ok || name == "" || strings.ContainsFunc(name, notOfToken):
			return nil, errors.New("is no list of headers: write name=value, and a comma before the next")
		case err != nil || strings.ContainsFunc(decoded, unicode.IsControl):
			return nil, fmt.Errorf("has a header whose value cannot be sent: percent-encode what is not plain in %.50s", name)
		}
		headers[name] = decoded
	}
	return headers, nil
}

// notOfToken tells whether a name of a header cannot have the character (RFC 9110 §5.6.2).
func notOfToken(r rune) bool {
	isTokenChar := '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	return !isTokenChar
}

// ratio reads a number from 0 to 1.
func ratio(field *float64) value {
	return parsed("0 to 1", field, func(text string) (float64, error) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(0 <= v && v <= 1) {
			return 0, fmt.Errorf("%s is no number from 0 to 1", quoted(text))
		}
		return v, nil
	})
}

// checkTracing refuses headers that nobody gets.
func (c Config) checkTracing() error {
	if c.Tracing.Headers.IsSet() && !c.Tracing.Endpoint.IsSet() {
		return fmt.Errorf("%s is set, and %s is not", c.named("tracing.headers"), c.named("tracing.endpoint"))
	}
	return nil
}
