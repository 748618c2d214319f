package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"chatting/adapters/origins"
)

// value is the place of an option in the configuration, and how its text is read.
type value struct {
	unit string
	// set parses the text, checks it and puts it into its place. Errors quote the text only where it cannot be a secret.
	set func(text string) error
}

// parsed is a value that parse reads.
func parsed[T any](unit string, field *T, parse func(text string) (T, error)) value {
	return value{unit, func(text string) error {
		v, err := parse(text)
		if err == nil {
			*field = v
		}
		return err
	}}
}

// checked is a text that has nothing against it.
func checked(unit string, field *string, check func(text string) error) value {
	return parsed(unit, field, func(text string) (string, error) { return text, check(text) })
}

// optional leaves the field as it is if the text is empty.
func optional(v value) value {
	return value{v.unit, func(text string) error {
		if text == "" {
			return nil
		}
		return v.set(text)
	}}
}

// list reads what commas separate, with blanks around each; empty for none.
func list[T any](unit string, field *[]T, parse func(text string) (T, error)) value {
	return optional(parsed(unit, field, func(text string) ([]T, error) {
		var items []T
		for part := range strings.SplitSeq(text, ",") {
			item, err := parse(strings.TrimSpace(part))
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	}))
}

// oneOf reads one of several words, in upper or lower case.
func oneOf[T ~string](field *T, words ...T) value {
	return parsed(enumerate(words, "or"), field, func(text string) (T, error) {
		for _, word := range words {
			if strings.EqualFold(text, string(word)) {
				return word, nil
			}
		}
		if len(words) == 2 {
			return "", fmt.Errorf("%s is neither %s nor %s", quoted(text), words[0], words[1])
		}
		return "", fmt.Errorf("%s is none of %s", quoted(text), enumerate(words, "and"))
	})
}

// enumerate returns words as in: a, b or c.
func enumerate[T ~string](words []T, last string) string {
	var b strings.Builder
	for i, word := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" " + last + " ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(word))
	}
	return b.String()
}

func boolean(field *bool) value {
	return parsed("true or false", field, func(text string) (bool, error) {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return false, fmt.Errorf("%s is neither true nor false", quoted(text))
		}
		return on, nil
	})
}

func level(field *slog.Level) value {
	var name string
	word := oneOf(&name, "debug", "info", "warn", "error")
	return value{word.unit, func(text string) error {
		if err := word.set(text); err != nil {
			return err
		}
		return field.UnmarshalText([]byte(name))
	}}
}

func duration(field *time.Duration, lowest, highest time.Duration) value {
	return parsed("duration", field, func(text string) (time.Duration, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, fmt.Errorf("%s is no duration: write a number with its unit, such as 500ms, 10s or 5m", quoted(text))
		}
		if d < lowest || d > highest {
			return 0, fmt.Errorf("%s is out of range: from %s to %s", text, shortDuration(lowest), shortDuration(highest))
		}
		return d, nil
	})
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

const (
	kib = 1 << 10
	mib = 1 << 20
)

func size(field *int, lowest, highest int) value {
	return parsed("size", field, func(text string) (int, error) {
		n, err := humanize.ParseBytes(text)
		if err != nil {
			return 0, fmt.Errorf("%s is no size: write bytes, or a number with its unit, such as 64KiB or 1MiB", quoted(text))
		}
		if n < uint64(lowest) || n > uint64(highest) {
			return 0, fmt.Errorf("%s is out of range: from %s to %s", text, humanize.IBytes(uint64(lowest)), humanize.IBytes(uint64(highest)))
		}
		return int(n), nil
	})
}

// sizeOrNone is size, or 0 for no limit.
func sizeOrNone(field *int, lowest, highest int) value {
	sized := size(field, lowest, highest)
	return value{sized.unit, func(text string) error {
		if n, err := humanize.ParseBytes(text); err == nil && n == 0 {
			*field = 0
			return nil
		}
		return sized.set(text)
	}}
}

func integer(field *int, lowest, highest int) value {
	return parsed("number", field, func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%s is no whole number", quoted(text))
		}
		if n < lowest || n > highest {
			return 0, fmt.Errorf("%d is out of range: from %d to %d", n, lowest, highest)
		}
		return n, nil
	})
}

// limit is a cap, where 0 means none.
func limit(field *int) value { return integer(field, 0, math.MaxInt32) }

func address(field *Address) value { return parsed("host:port", field, parseAddress) }

// optionalAddress reads an address, or the empty text: then there is none.
func optionalAddress(there *bool, field *Address) value {
	set := address(field).set
	return optional(value{unit: "host:port", set: func(text string) error {
		*there = text != ""
		if !*there {
			return nil
		}
		return set(text)
	}})
}

// parseBroker reads host:port, where both must be there.
func parseBroker(text string) (string, error) {
	a, err := parseAddress(text)
	if err == nil && (a.host == "" || a.port == 0) {
		err = fmt.Errorf("%s needs a host and a port: write host:port", quoted(text))
	}
	return a.String(), err
}

// originList reads a list of origins, or * alone for all.
func originList(field *[]string) value {
	entries := list("list of origins", field, func(text string) (string, error) {
		if text == origins.Any {
			return text, nil
		}
		entry, err := origins.Entry(text)
		if err != nil {
			return "", fmt.Errorf("%s is %w", quoted(text), err)
		}
		return entry, nil
	})
	return value{entries.unit, func(text string) error {
		err := entries.set(text)
		if err == nil && len(*field) > 1 && slices.Contains(*field, origins.Any) {
			return errors.New("* means every origin: it stands alone")
		}
		return err
	}}
}

func parseHeaderName(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("the name of a header is empty")
	case !headerName.MatchString(text):
		return "", fmt.Errorf("%s is no name of a header", quoted(text))
	}
	return text, nil
}

// headerName is token of RFC 9110 §5.6.2.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// parseNetwork reads a network (CIDR), or a single address as the network of it alone.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	switch {
	case err != nil || network.Addr().Is4In6():
		return network, fmt.Errorf("%s is neither an address nor a network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32", quoted(text))
	case network != network.Masked():
		return network, fmt.Errorf("%s has bits behind its length: write %s", quoted(text), network.Masked())
	}
	return network, nil
}

// topicPrefix reads the beginning of topic names (Kafka's Topic.validate).
func topicPrefix(field *string) value {
	return checked("text", field, func(text string) error {
		switch {
		case text == "":
			return errors.New("is empty")
		case !topicName.MatchString(text):
			return fmt.Errorf("%s has a character that topic names may not have: letters, digits, dot, _ and - are legal", quoted(text))
		case len(text) > maxTopicPrefix:
			return fmt.Errorf("has %d characters: topic names leave room for %d", len(text), maxTopicPrefix)
		}
		return nil
	})
}

var topicName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// maxTopicPrefix leaves room for the longest name that the server puts behind the prefix. Kafka takes names of 249 bytes.
const maxTopicPrefix = 249 - len(".system-messages.dlt")

// filePath reads the name of a file; empty for none.
func filePath(field *string) value {
	return checked("file", field, func(text string) error {
		if strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, "-----BEGIN") || strings.Contains(text, "://") {
			return errors.New("is no file name: it is the name that is needed, not the content")
		}
		return nil
	})
}

// directory reads the name of a directory.
func directory(field *string) value {
	name := filePath(field)
	return value{"directory", func(text string) error {
		if text == "" {
			return errors.New("is empty")
		}
		return name.set(text)
	}}
}

// host reads a host name or an IP address; empty for none.
func host(field *string) value {
	return checked("host", field, func(text string) error {
		if !isHost(text) {
			return fmt.Errorf("%s is no host name", quoted(text))
		}
		return nil
	})
}

// plainText reads a user name, or what tokens must say; empty for none. It takes what every SASL mechanism can carry: PLAIN
// separates its parts by NUL (RFC 4616 §2), and SCRAM takes no control characters (RFC 4013 §2.3).
func plainText(field *string) value { return checked("text", field, checkPlain) }

func checkPlain(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("is no UTF-8 text, or has control characters")
	}
	return nil
}

func parseAudience(text string) (string, error) {
	if text == "" {
		return "", errors.New("holds an empty audience")
	}
	return text, checkPlain(text)
}

// userClaim refuses the claims of RFC 7519 §4.1 that mean something else than the user. sub is the one that names it.
func userClaim(field *string) value {
	return checked("text", field, func(text string) error {
		if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "jti"}, text) {
			return fmt.Errorf("%s cannot name the user: RFC 7519 gives that claim another meaning", text)
		}
		return checkPlain(text)
	})
}
