package database

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lib/pq"
)

// scrubber takes what a database URL has beside its host out of texts. The driver and the server quote users, names of
// databases and values of parameters, and who has put a password in a wrong place would find it there.
type scrubber struct {
	parts *regexp.Regexp
	// raw are the parts that are no UTF-8, which a regular expression cannot hold.
	raw []string
}

const (
	// longPart is from which length on a part is also found within a word.
	longPart = 12
	// shortPiece is from which length on a piece of a part is looked for.
	shortPiece = 4
	// maxIdentifier is NAMEDATALEN - 1 of PostgreSQL.
	maxIdentifier = 63
)

// newScrubber returns the scrubber of a URL and of what the driver made of it and of its environment. config is the zero value
// if the driver could make nothing of them.
func newScrubber(raw string, config pq.Config) scrubber {
	parts := append(partsOfURL(raw), config.User, config.Password, config.Database)
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "PG") && name != "PGHOST" {
			parts = append(parts, value)
		}
	}
	for _, value := range config.Runtime {
		parts = append(parts, value)
	}
	for _, part := range slices.Clone(parts) {
		if len(part) > maxIdentifier { // the server cuts names, before a character that does not fit
			cut := maxIdentifier
			for cut > 0 && !utf8.RuneStart(part[cut]) {
				cut--
			}
			parts = append(parts, part[:cut])
		}
		for piece := range strings.FieldsFuncSeq(part, func(r rune) bool { return strings.ContainsRune(",;=/ \t\n", r) }) {
			if len(piece) >= shortPiece { // lists of hosts, options of the server
				parts = append(parts, piece)
			}
		}
	}
	var (
		s        scrubber
		patterns []string
	)
	for _, part := range parts {
		inner := strconv.Quote(part)
		for _, form := range []string{part, inner[1 : len(inner)-1]} {
			switch {
			case form == "":
			case utf8.ValidString(form):
				patterns = append(patterns, patternOf(form))
			default:
				s.raw = append(s.raw, form)
			}
		}
	}
	longerFirst := func(a, b string) int { return len(b) - len(a) } // of two that begin alike
	slices.SortFunc(s.raw, longerFirst)
	if slices.SortFunc(patterns, longerFirst); len(patterns) > 0 {
		s.parts = regexp.MustCompile(strings.Join(patterns, "|"))
	}
	return s
}

// partsOfURL returns all but the host, as it is written and decoded. The driver and the server use the one or the other.
func partsOfURL(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	password, _ := u.User.Password()
	user, secret, _ := strings.Cut(u.User.String(), ":")
	parts := []string{
		u.User.Username(), password, user, secret, strings.TrimPrefix(u.Path, "/"), strings.TrimPrefix(u.EscapedPath(), "/"), u.Fragment,
	}
	for parameter := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(parameter, "=")
		for i, written := range []string{name, value} {
			decoded, err := url.QueryUnescape(written)
			if err != nil {
				decoded = written
			}
			if i > 0 || !knownParameter.MatchString(decoded) {
				parts = append(parts, written, decoded)
			}
		}
	}
	return parts
}

// patternOf matches a part. A short one is only found as a word of its own.
func patternOf(part string) string {
	pattern := regexp.QuoteMeta(part)
	if len(part) >= longPart {
		return pattern
	}
	if beginsWord.MatchString(part) {
		pattern = `\b` + pattern
	}
	if endsWord.MatchString(part) {
		pattern += `\b`
	}
	return pattern
}

var beginsWord, endsWord = regexp.MustCompile(`^\w`), regexp.MustCompile(`\w$`)

// knownParameter matches the names of parameters, which say what is wrong. They are no secret.
var knownParameter = regexp.MustCompile(`^(ssl[a-z_]+|connect_timeout|application_name|fallback_application_name|options|` +
	`target_session_attrs|load_balance_hosts|host|hostaddr|port|dbname|user|password|passfile|service|client_encoding|datestyle|` +
	`binary_parameters|(min|max)_protocol_version|statement_timeout|lock_timeout|search_path|timezone)$`)

// text returns a text without the parts.
func (s scrubber) text(text string) string {
	for _, part := range s.raw {
		text = strings.ReplaceAll(text, part, "***")
	}
	if s.parts == nil {
		return text
	}
	return s.parts.ReplaceAllLiteralString(text, "***")
}

// error returns an error whose text has none of the parts, and which wraps err.
func (s scrubber) error(err error) error {
	if text := s.text(err.Error()); text != err.Error() {
		return &scrubbedError{text, err}
	}
	return err
}

type scrubbedError struct {
	text string
	err  error
}

func (e *scrubbedError) Error() string { return e.text }

// Unwrap returns the error as it was: for its type and code, not for its text.
func (e *scrubbedError) Unwrap() error { return e.err }
