package configs

import (
	_ "embed" // the example file
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// Option describes one setting. Loading, the flags, the printed configuration and the documentation follow the table of all
// options. Their defaults and their meaning are in the example file.
type Option struct {
	Key     string // in the file, its levels joined by dots: http.addr
	Flag    bool   // may be given on the command line, too
	Secret  bool   // never printed, but for the host of a URL, and readable from a file: see FileKey
	Default string // as it would be written in the environment; "" where there is none
	Doc     string // one or more sentences; what an empty value means, what the bounds are for

	value value
	// derived returns what an empty text stands for, if that depends on other options.
	derived func(Config) string
}

// envPrefix begins the name of every environment variable that is for this server.
const envPrefix = "CHATTING_"

// Options returns the table, in the order in which the example file shows it.
func Options() []Option { return new(Config).options() }

// exampleFile has the default and the meaning of each option.
//
//go:embed chatting.example.yaml
var exampleFile string

// described is what the example file says of each section and option: its meaning as Doc, and its default.
var described = sync.OnceValue(func() map[string]Option {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(exampleFile), &document); err != nil {
		panic(err) // a test loads it
	}
	lines := strings.Split(exampleFile, "\n")
	found := map[string]Option{}
	var describe func(prefix string, section *yaml.Node)
	describe = func(prefix string, section *yaml.Node) {
		for i := 0; i+1 < len(section.Content); i += 2 {
			name, value := section.Content[i], section.Content[i+1]
			option := Option{Doc: commentAbove(lines, name.Line)}
			if value.Kind == yaml.MappingNode {
				describe(name.Value+".", value)
			} else if !isNull(value) {
				option.Default = value.Value
			}
			found[prefix+name.Value] = option
		}
	}
	describe("", document.Content[0])
	return found
})

// commentAbove returns the comment above a line, without the names of variables and flags that end it.
func commentAbove(lines []string, line int) string {
	begin := line - 1
	for begin > 0 && strings.HasPrefix(strings.TrimSpace(lines[begin-1]), "#") {
		begin--
	}
	var words []string
	for _, comment := range lines[begin : line-1] {
		if text := strings.TrimSpace(comment)[1:]; !strings.HasPrefix(text, " "+envPrefix) {
			words = append(words, strings.Fields(text)...)
		}
	}
	return strings.Join(words, " ")
}

// Unit says what kind of value it is: "host:port", "duration", "size", "URL", ...
func (o Option) Unit() string { return o.value.unit }

// Env returns the name of the environment variable: CHATTING_HTTP_ADDR for http.addr.
func (o Option) Env() string { return envName(o.Key) }

// FlagName returns the name of the flag, without hyphens before it: http-addr for http.addr.
func (o Option) FlagName() string { return strings.NewReplacer(".", "-", "_", "-").Replace(o.Key) }

// FileKey returns the key under which the name of a file that holds a secret can be given instead: jwt.secret_file for
// jwt.secret, and so CHATTING_JWT_SECRET_FILE.
func (o Option) FileKey() string { return o.Key + "_file" }

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// CausedBy returns an error that names the option whose value caused it, by its key, unless it does already. It does not show
// the value, which may be a secret. nil stays nil.
func CausedBy(key string, err error) error {
	if err == nil || strings.Contains(err.Error(), key) {
		return err
	}
	return fmt.Errorf("%s (%s): %w", key, envName(key), err)
}
