package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"chatting/adapters/origins"
)

// A setter parses the text of one option, checks it and puts it into its place in the configuration. Errors quote the
// text only where it cannot be a secret.
type setter func(c *Config, text string) error

func duration(lowest, highest time.Duration, field func(*Config) *time.Duration) setter {
	return func(c *Config, text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%s is no duration: write a number with its unit, such as 500ms, 10s or 5m", quoted(text))
		}
		if d < lowest || d > highest {
			return fmt.Errorf("%s is out of range: from %s to %s", text, shortDuration(lowest), shortDuration(highest))
		}
		*field(c) = d
		return nil
	}
}

// shortDuration leaves out what is zero at the end: 5m, not 5m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func size(lowest, highest int, field func(*Config) *int) setter {
	return func(c *Config, text string) error {
		n, err := humanize.ParseBytes(text)
		if err != nil {
			return fmt.Errorf("%s is no size: write bytes, or a number with its unit, such as 64KiB or 1MiB", quoted(text))
		}
		if n < uint64(lowest) || n > uint64(highest) {
			return fmt.Errorf("%s is out of range: from %s to %s", text, humanize.IBytes(uint64(lowest)), humanize.IBytes(uint64(highest)))
		}
		*field(c) = int(n)
		return nil
	}
}

// sizeOrNone is size, or 0 for no limit.
func sizeOrNone(lowest, highest int, field func(*Config) *int) setter {
	sized := size(lowest, highest, field)
	return func(c *Config, text string) error {
		if n, err := humanize.ParseBytes(text); err == nil && n == 0 {
			*field(c) = 0
			return nil
		}
		return sized(c, text)
	}
}

func integer(lowest, highest int, field func(*Config) *int) setter {
	return func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%s is no whole number", quoted(text))
		}
		if n < lowest || n > highest {
			return fmt.Errorf("%d is out of range: from %d to %d", n, lowest, highest)
		}
		*field(c) = n
		return nil
	}
}

// limit is a cap, where 0 means none.
func limit(field func(*Config) *int) setter { return integer(0, math.MaxInt32, field) }

func address(field func(*Config) *Address) setter {
	return func(c *Config, text string) error {
		a, err := parseAddress(text)
		*field(c) = a
		return err
	}
}

// brokers reads a list of host:port whose parts must both be there.
func brokers(field func(*Config) *[]string) setter {
	return list(field, func(text string) (string, error) {
		a, err := parseAddress(text)
		if err == nil && (a.host == "" || a.port == 0) {
			err = fmt.Errorf("%s needs a host and a port: write host:port", quoted(text))
		}
		return a.String(), err
	})
}

// originList reads a list of origins, or * alone for all.
func originList(field func(*Config) *[]string) setter {
	return func(c *Config, text string) error {
		err := list(field, func(text string) (string, error) {
			if text == origins.Any {
				return text, nil
			}
			entry, err := origins.Entry(text)
			if err != nil {
				return "", fmt.Errorf("%s is %w", quoted(text), err)
			}
			return entry, nil
		})(c, text)
		if err == nil && len(*field(c)) > 1 {
			for _, origin := range *field(c) {
				if origin == origins.Any {
					return errors.New("* means every origin: it stands alone")
				}
			}
		}
		return err
	}
}

// headerNames reads a list of names of headers.
func headerNames(field func(*Config) *[]string) setter {
	return list(field, func(text string) (string, error) {
		for _, c := range []byte(text) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
				return "", fmt.Errorf("%s is no name of a header", quoted(text))
			}
		}
		if text == "" {
			return "", errors.New("the name of a header is empty")
		}
		return text, nil
	})
}

// networks reads a list of networks (CIDR) and single addresses.
func networks(field func(*Config) *[]netip.Prefix) setter {
	return func(c *Config, text string) error {
		var texts []string
		if err := list(func(*Config) *[]string { return &texts }, parseNetwork)(c, text); err != nil {
			return err
		}
		for _, text := range texts {
			*field(c) = append(*field(c), netip.MustParsePrefix(text))
		}
		return nil
	}
}

// parseNetwork returns a network, or a single address as the network of it alone, in the form 192.0.2.0/24.
func parseNetwork(text string) (string, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()).String(), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network.Addr().Is4In6() {
		return "", fmt.Errorf("%s is neither an address nor a network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32", quoted(text))
	}
	if network != network.Masked() {
		return "", fmt.Errorf("%s has bits behind its length: write %s", quoted(text), network.Masked())
	}
	return network.String(), nil
}

// list reads what commas separate, with blanks around each; empty for none.
func list(field func(*Config) *[]string, parse func(string) (string, error)) setter {
	return func(c *Config, text string) error {
		if text == "" {
			return nil
		}
		var items []string
		for part := range strings.SplitSeq(text, ",") {
			item, err := parse(strings.TrimSpace(part))
			if err != nil {
				return err
			}
			items = append(items, item)
		}
		*field(c) = items
		return nil
	}
}

// webURL reads an http or https URL; empty for none.
func webURL(field func(*Config) *URL) setter {
	return func(c *Config, text string) error {
		if text == "" {
			return nil
		}
		u, err := parseURL(text)
		switch {
		case err != nil:
			return err
		case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return errors.New("is no http:// or https:// URL")
		case u.Fragment != "" || strings.ContainsAny(text, " \t\r\n"):
			return errors.New("is no http:// or https:// URL without blanks and fragment")
		}
		*field(c) = URL{hide(text)}
		return nil
	}
}

// parseURL reads a URL. Its errors hold nothing of it: those of the library quote parts, which may be of its password.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if _, _, _, plain := splitURL(text); err != nil || !plain {
		return nil, errPercentEncoded
	}
	return u, nil
}

// databaseURL reads a postgres:, postgresql: or sqlite: URL; empty for the file in the data directory.
func databaseURL(c *Config, text string) error {
	if text == "" {
		return nil
	}
	if file, is := strings.CutPrefix(text, sqliteScheme); is {
		if strings.Trim(file, "/") == "" || strings.ContainsFunc(file, unicode.IsControl) || strings.Contains(file, "@") {
			return errors.New("names no file: write sqlite:PATH, without @ in the path")
		}
		if _, parameters, has := strings.Cut(file, "?"); has && strings.Contains(parameters, "=") {
			return errors.New("has parameters: write sqlite:PATH alone")
		}
		c.Database.URL = URL{hide(text)}
		return nil
	}
	u, err := parseURL(text)
	switch {
	case err != nil && !strings.Contains(text, "://"):
		return errors.New("must begin with sqlite:, postgres:// or postgresql://, as in sqlite:FILE")
	case err != nil:
		return err
	case u.Scheme == "postgres" || u.Scheme == "postgresql":
		if !strings.HasPrefix(text, u.Scheme+"://") {
			return errors.New("is no PostgreSQL URL: write postgres://user:password@host:port/database")
		}
	default:
		return errors.New("must begin with sqlite:, postgres:// or postgresql://, as in sqlite:FILE")
	}
	c.Database.URL = URL{hide(text)}
	return nil
}

// secret reads a secret of at least so many bytes; empty for none.
func secret(lowest int, field func(*Config) *Secret) setter {
	return func(c *Config, text string) error {
		if text != "" && len(text) < lowest {
			return fmt.Errorf("has %d bytes: at least %d are needed", len(text), lowest)
		}
		*field(c) = Secret{hide(text)}
		return nil
	}
}

// path reads the name of a file or directory.
func path(mayBeEmpty bool, field func(*Config) *string) setter {
	return func(c *Config, text string) error {
		if text == "" && !mayBeEmpty {
			return errors.New("is empty")
		}
		if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, "-----BEGIN") || strings.Contains(text, "://") {
			return errors.New("is no file name: it is the name that is needed, not the content")
		}
		*field(c) = text
		return nil
	}
}

// host reads a host name or an IP address; empty for none.
func host(field func(*Config) *string) setter {
	return func(c *Config, text string) error {
		if !isHost(text) {
			return fmt.Errorf("%s is no host name", quoted(text))
		}
		*field(c) = text
		return nil
	}
}

// credential reads a user name, or what tokens must say; empty for none.
func credential(field func(*Config) *string) setter {
	return func(c *Config, text string) error {
		if !isCredential(text) {
			return errNoCredential
		}
		*field(c) = text
		return nil
	}
}

// audience reads one of several audiences.
func audience(text string) (string, error) {
	if text == "" {
		return "", errors.New("holds an empty audience")
	}
	if !isCredential(text) {
		return "", errNoCredential
	}
	return text, nil
}

func saslPassword(c *Config, text string) error {
	if !isCredential(text) {
		return errNoCredential
	}
	return secret(0, func(c *Config) *Secret { return &c.Kafka.SASL.Password })(c, text)
}

var errNoCredential = errors.New("is no UTF-8 text, or has control characters")

// isCredential accepts what every SASL mechanism can carry: PLAIN separates its parts by NUL (RFC 4616 §2), and SCRAM
// takes no control characters (RFC 4013 §2.3).
func isCredential(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

func saslMechanism(c *Config, text string) error {
	switch mechanism := SASLMechanism(strings.ToUpper(text)); mechanism {
	case SASLNone, SASLPlain, SASLScramSHA256, SASLScramSHA512:
		c.Kafka.SASL.Mechanism = mechanism
		return nil
	default:
		return fmt.Errorf("%s is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", quoted(text))
	}
}

func topicsMode(c *Config, text string) error {
	switch mode := TopicsMode(strings.ToLower(text)); mode {
	case TopicsCreate, TopicsVerify:
		c.Kafka.Topics = mode
		return nil
	default:
		return fmt.Errorf("%s is neither create nor verify", quoted(text))
	}
}

func offline(c *Config, text string) error {
	switch mode := OfflineMode(strings.ToLower(text)); mode {
	case OfflineReject, OfflineStore:
		c.Chat.Offline = mode
		return nil
	default:
		return fmt.Errorf("%s is neither reject nor store", quoted(text))
	}
}

// longestTopicSuffix is what the server puts behind the prefix at most, and maxTopicName what Kafka takes.
const (
	longestTopicSuffix = ".system-messages.dlt"
	maxTopicName       = 249
)

// topicPrefix reads the beginning of topic names: letters, digits, dot, underscore and hyphen (Kafka's Topic.validate).
func topicPrefix(c *Config, text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	for i := range len(text) {
		b := text[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '.' && b != '_' && b != '-' {
			return fmt.Errorf("%s has a character that topic names may not have: letters, digits, dot, _ and - are legal", quoted(text))
		}
	}
	if longest := maxTopicName - len(longestTopicSuffix); len(text) > longest {
		return fmt.Errorf("has %d characters: topic names leave room for %d", len(text), longest)
	}
	c.TopicPrefix = text
	return nil
}

func boolean(field func(*Config) *bool) setter {
	return func(c *Config, text string) error {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%s is neither true nor false", quoted(text))
		}
		*field(c) = on
		return nil
	}
}

// hideFromBlocked is as htmlEscape.
func hideFromBlocked(c *Config, text string) error {
	if text == "" {
		c.Presence.HideFromBlocked = !c.DropIn()
		return nil
	}
	return boolean(func(c *Config) *bool { return &c.Presence.HideFromBlocked })(c, text)
}

// htmlEscape reads a switch whose default depends on the mode; the table's default, "", leaves it to Load.
func htmlEscape(c *Config, text string) error {
	if text == "" {
		c.Chat.HTMLEscape = c.DropIn()
		return nil
	}
	return boolean(func(c *Config) *bool { return &c.Chat.HTMLEscape })(c, text)
}

// userFrames reads a limit whose default is that of a connection, twice; the table's default, "", leaves it to Load.
func userFrames(c *Config, text string) error {
	if text == "" {
		c.Limit.UserFramesPerSecond = 2 * c.Limit.FramesPerSecond
		return nil
	}
	return limit(func(c *Config) *int { return &c.Limit.UserFramesPerSecond })(c, text)
}

// trustLoopback reads a switch whose default depends on everything else; the table's default, "", leaves it to Load.
func trustLoopback(c *Config, text string) error {
	if text == "" {
		return nil
	}
	return boolean(func(c *Config) *bool { return &c.S2S.TrustLoopback })(c, text)
}

func logLevel(c *Config, text string) error {
	switch strings.ToLower(text) {
	case "debug":
		c.Log.Level = slog.LevelDebug
	case "info":
		c.Log.Level = slog.LevelInfo
	case "warn":
		c.Log.Level = slog.LevelWarn
	case "error":
		c.Log.Level = slog.LevelError
	default:
		return fmt.Errorf("%s is none of debug, info, warn and error", quoted(text))
	}
	return nil
}

func logFormat(c *Config, text string) error {
	switch format := LogFormat(strings.ToLower(text)); format {
	case LogAuto, LogText, LogJSON:
		c.Log.Format = format
		return nil
	default:
		return fmt.Errorf("%s is none of auto, text and json", quoted(text))
	}
}
