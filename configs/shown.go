package configs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// mask stands where something would be printed that may be a secret.
const mask = "***"

// sqliteScheme begins the URL of an SQLite file; the rest is the file's name as it is, without escapes.
const sqliteScheme = "sqlite:"

// shown returns a value of the option as it may be printed. A URL in the value of any option, or in a list, is shown as
// ShownURL does.
func (o Option) shown(text string) string {
	switch {
	case text == "":
		return ""
	case o.value.unit == unitURL:
		return ShownURL(text)
	case o.Secret:
		return mask
	}
	items := strings.Split(text, ",")
	for i, item := range items {
		if strings.Contains(item, "://") {
			items[i] = ShownURL(item)
		} else if credentials.MatchString(item) {
			items[i] = mask
		}
	}
	return strings.Join(items, ",")
}

// credentials finds a user and a password before a host, in a URL that has lost its scheme.
var credentials = regexp.MustCompile(`:.*@`)

// scheme is that of RFC 3986 §3.1.
var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*$`)

// ShownURL returns a URL as it may be printed: its scheme, host and port, with *** for what stands before and after them. If
// the host may be a part of a password that is not percent-encoded, or the text is no URL, it is hidden too. The name of an SQLite
// file is shown.
func ShownURL(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if file, is := strings.CutPrefix(text, sqliteScheme); is && !strings.Contains(file, "@") && !hasAuthority(file) {
		return text
	}
	name, _, has := strings.Cut(text, "://")
	if !has || !scheme.MatchString(name) {
		return mask
	}
	user, host, after, plain := splitURL(text)
	if !plain || !isHostList(host) {
		return name + "://" + mask
	}
	shown := name + "://"
	if user != "" {
		shown += mask + "@"
	}
	shown += host
	switch after {
	case "", "/":
		return shown + after
	default:
		return shown + "/" + mask
	}
}

// hasAuthority tells whether a host follows the scheme. Three slashes begin a path.
func hasAuthority(afterScheme string) bool {
	return strings.HasPrefix(afterScheme, "//") && !strings.HasPrefix(afterScheme, "///")
}

// splitURL cuts a URL with an authority (RFC 3986 §3) into what stands before the host, with its @, the host with its port, and
// the rest. plain is false if an @ stands where it has to be percent-encoded: then nobody can tell a password from a host.
func splitURL(text string) (user, host, after string, plain bool) {
	_, text, _ = strings.Cut(text, "://")
	host = text
	if end := strings.IndexAny(text, "/?#\\"); end >= 0 {
		host, after = text[:end], text[end:]
	}
	if at := strings.IndexByte(host, '@'); at >= 0 {
		user, host = host[:at+1], host[at+1:]
	}
	return user, host, after, !strings.Contains(host, "@") && !strings.Contains(after, "@")
}

// isHostList accepts hosts with ports, separated by commas as PostgreSQL has them. * may begin a name, as in origins.
func isHostList(text string) bool {
	for host := range strings.SplitSeq(text, ",") {
		if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
			if _, err := strconv.ParseUint(host[at+1:], 10, 16); err != nil {
				return false
			}
			host = host[:at]
		}
		if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
			host = strings.TrimSuffix(inner, "]")
		}
		if !isHost(strings.TrimPrefix(host, "*.")) {
			return false
		}
	}
	return true
}

// maxQuoted is how long a text may be that an error repeats: no secret of the usual lengths is as short.
const maxQuoted = 40

// quoted returns a text between quotes, for an error about an option that is no secret. What may be a secret in the wrong
// place is not repeated: user names and passwords, what follows the host of a URL, and long texts.
func quoted(text string) string {
	switch {
	case strings.Contains(text, "://"):
		text = ShownURL(text)
	case len(text) > maxQuoted, strings.ContainsAny(text, "@="), strings.ContainsFunc(text, unicode.IsControl):
		text = mask
	}
	return strconv.Quote(text)
}

// quotedKey returns the name of a key in quotes. One that is not like any known name may be a value in the wrong place, such as
// in {secret:abc}, and is not repeated.
func quotedKey(key string, known []string) string {
	if keyLike.MatchString(key) && didYouMean(key, known) != "" {
		return strconv.Quote(key)
	}
	return mask
}

var keyLike = regexp.MustCompile(`^[a-z0-9_.]+$`)

// fileName returns the name of a file for an error that says that it cannot be read: it may be a text that was given where a
// name is expected. A relative name without a folder may be a secret itself.
func fileName(name string, isSecret bool) string {
	switch {
	case len(name) > 1024, strings.Contains(name, "://"), strings.ContainsFunc(name, unicode.IsControl),
		isSecret && !secretPath.MatchString(filepath.ToSlash(name)):
		return mask
	default:
		return name
	}
}

// secretPath matches names with a folder that no key in base64 looks like.
var secretPath = regexp.MustCompile(`^([A-Za-z]:)?(\.{0,2}/)[A-Za-z0-9 ._/-]*$`)

// percentEncoded says what most often makes a URL one that cannot be read.
const percentEncoded = "a user name or password in it must be percent-encoded (%40 for @, %2F for /, %3A for :, %23 for #, %3F for ?)"

var errPercentEncoded = fmt.Errorf("is no URL: %s", percentEncoded)
