package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// hidden is a text that no way of formatting shows as it is: not package fmt, not JSON, not a log. It is behind a pointer because
// fmt prints the unexported fields of others without asking their methods, but follows no pointer there.
type hidden struct {
	text  *string
	isURL bool // its scheme and host are shown
}

// IsSet tells whether there is a text.
func (h hidden) IsSet() bool { return h.text != nil }

// Reveal returns the text itself, for its one use.
func (h hidden) Reveal() string {
	if h.text == nil {
		return ""
	}
	return *h.text
}

// String returns *** for what must not be shown, and "" if there is no text.
func (h hidden) String() string {
	switch {
	case h.isURL:
		return ShownURL(h.Reveal())
	case h.IsSet():
		return mask
	}
	return ""
}

// Format implements fmt.Formatter.
func (h hidden) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(h.String())) }

// MarshalText implements encoding.TextMarshaler.
func (h hidden) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// LogValue implements slog.LogValuer.
func (h hidden) LogValue() slog.Value { return slog.StringValue(h.String()) }

// Secret is a value that is never printed: every way of formatting it gives ***.
type Secret struct{ hidden }

// URL is an absolute URL, any part of which but its host may be a secret. Formatting it shows scheme and host, and the name of an
// SQLite file.
type URL struct{ hidden }

func newSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{hidden{text: &text}}
}

func newURL(text string) URL {
	if text == "" {
		return URL{}
	}
	return URL{hidden{text: &text, isURL: true}}
}

// secret reads a secret of at least so many bytes; empty for none.
func secret(field *Secret, lowest int, checks ...func(text string) error) value {
	return optional(parsed("secret", field, func(text string) (Secret, error) {
		for _, check := range checks {
			if err := check(text); err != nil {
				return Secret{}, err
			}
		}
		if len(text) < lowest {
			return Secret{}, fmt.Errorf("has %d bytes: at least %d are needed", len(text), lowest)
		}
		return newSecret(text), nil
	}))
}

// checkBearer refuses what clients cannot send as a bearer token.
func checkBearer(text string) error {
	if !bearerToken.MatchString(text) {
		return errors.New("is no bearer token: it may have letters, digits and -._~+/ only, no blanks, and = only at the end")
	}
	return nil
}

// bearerToken is b64token of RFC 6750 §2.1.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// unitURL is the unit of options that are a URL of their own. Nothing of it but its host is ever printed.
const unitURL = "URL"

// checkedURL reads a URL that has nothing against it; empty for none.
func checkedURL(field *URL, check func(text string) error) value {
	return optional(parsed(unitURL, field, func(text string) (URL, error) { return newURL(text), check(text) }))
}

// webURL reads an http or https URL.
func webURL(field *URL) value {
	return checkedURL(field, func(text string) error {
		u, err := parseURL(text)
		switch {
		case err != nil:
			return err
		case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return errors.New("is no http:// or https:// URL")
		case u.Fragment != "" || strings.ContainsAny(text, " \t\r\n"):
			return errors.New("is no http:// or https:// URL without blanks and fragment")
		}
		return nil
	})
}

// databaseURL reads a postgres:, postgresql: or sqlite: URL.
func databaseURL(field *URL) value {
	return checkedURL(field, func(text string) error {
		if file, is := strings.CutPrefix(text, sqliteScheme); is {
			return checkSQLite(file)
		}
		u, err := parseURL(text)
		switch isPostgres := err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql"); {
		case err != nil && strings.Contains(text, "://"):
			return err
		case !isPostgres:
			return errors.New("must begin with sqlite:, postgres:// or postgresql://, as in sqlite:FILE")
		case !strings.HasPrefix(text, u.Scheme+"://"):
			return errors.New("is no PostgreSQL URL: write postgres://user:password@host:port/database")
		}
		return nil
	})
}

// checkSQLite refuses names of files that the driver would take for more than a name.
func checkSQLite(file string) error {
	if strings.Trim(file, "/") == "" || strings.ContainsFunc(file, unicode.IsControl) || strings.Contains(file, "@") {
		return errors.New("names no file: write sqlite:PATH, without @ in the path")
	}
	if _, parameters, has := strings.Cut(file, "?"); has && strings.Contains(parameters, "=") {
		return errors.New("has parameters: write sqlite:PATH alone")
	}
	return nil
}

// parseURL reads a URL. Its errors hold nothing of it: those of the library quote parts, which may be of its password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if _, _, _, plain := splitURL(text); err != nil || !plain {
		return nil, errPercentEncoded
	}
	return u, nil
}
