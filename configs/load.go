package configs

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"strings"
)

// Sources are where a configuration comes from. A later one wins: defaults, the file, the environment, the flags.
type Sources struct {
	File    string            // path of the YAML file; empty: what CHATTING_CONFIG names, or none
	Environ []string          // NAME=value, as os.Environ returns it; names without the prefix CHATTING_ are ignored
	Flags   map[string]string // what was given on the command line, by Option.Key
}

// configEnv names the file in the environment.
const configEnv = envPrefix + "CONFIG"

// foreignPrefixes begin names in the environment that are for the tests.
var foreignPrefixes = []string{envPrefix + "TEST_", envPrefix + "CONTRACT_"}

// maxSecretFile bounds what is read of a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// setting is the value of one option as text, and where it comes from.
type setting struct {
	option Option
	text   Secret // whatever the option is
	source string // "" for the default
}

// name tells an option and its source.
func (s setting) name() string {
	if s.source == "" {
		return s.option.Key
	}
	return s.option.Key + " (" + s.source + ")"
}

// Load reads, merges and checks all sources. Its error is one sentence that names the option and its source; it holds
// no secret.
func Load(sources Sources) (Config, error) {
	merged, err := merge(sources)
	if err != nil {
		return Config{}, err
	}
	var c Config
	for _, o := range c.options() {
		s, err := merged.setting(o)
		if err != nil {
			return Config{}, err
		}
		c.settings = append(c.settings, s)
	}
	for _, s := range c.settings {
		if s.option.derived != nil && !s.text.IsSet() {
			continue
		}
		if err := s.option.value.set(s.text.Reveal()); err != nil {
			return Config{}, fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	c.Kafka.PartitionsGiven = c.Kafka.Partitions > 0
	c.Database.Embedded = !c.Database.URL.IsSet()
	if err := c.check(); err != nil {
		return Config{}, err
	}
	if err := c.derive(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// derive fills in the defaults that depend on other options.
func (c *Config) derive() error {
	if !c.Kafka.PartitionsGiven {
		c.Kafka.Partitions = defaultPartitions
		if c.Kafka.Embedded() {
			c.Kafka.Partitions = embeddedPartitions
		}
	}
	if c.Database.Embedded {
		c.Database.URL = c.sqliteFile()
	}
	for i, s := range c.settings {
		if s.option.derived == nil || s.text.IsSet() {
			continue
		}
		text := s.option.derived(*c)
		if err := s.option.value.set(text); err != nil {
			return fmt.Errorf("%s: %w", s.name(), err)
		}
		c.settings[i].text = newSecret(text)
	}
	return nil
}

// found is the text of a key in a source, and where it stands.
type found struct{ text, source string }

// layer is what sources say, by key.
type layer map[string]found

// merge reads all sources.
func merge(sources Sources) (layer, error) {
	environment, path, err := readEnvironment(sources.Environ)
	if err != nil {
		return nil, err
	}
	if sources.File != "" {
		path = sources.File
	}
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	flags := layer{}
	for key, value := range sources.Flags {
		flags[key] = found{value, "flag --" + Option{Key: key}.FlagName()}
	}
	merged := layer{}
	for _, o := range Options() {
		merged[o.Key] = found{text: o.Default}
	}
	for _, stronger := range []layer{file, environment, flags} {
		if err := merged.put(stronger); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// put adds what a stronger source says. There a secret replaces the name of its file.
func (l layer) put(stronger layer) error {
	for _, o := range Options() {
		switch own, file := stronger[o.Key], stronger[o.FileKey()]; {
		case !o.Secret:
		case file.text == "":
			delete(stronger, o.FileKey())
		case own.text != "":
			return fmt.Errorf("%s (%s) and %s (%s) are both set: set one of them", o.Key, own.source, o.FileKey(), file.source)
		}
	}
	for key := range stronger {
		delete(l, key+"_file")
	}
	maps.Copy(l, stronger)
	return nil
}

// setting returns what an option is given.
func (l layer) setting(o Option) (setting, error) {
	if file, named := l[o.FileKey()]; o.Secret && named {
		text, err := readSecret(file.text)
		if err != nil {
			return setting{}, fmt.Errorf("%s (%s): %w", o.Key, file.source, err)
		}
		return setting{o, newSecret(text), "file " + file.text + ", named by " + file.source}, nil
	}
	text := l[o.Key].text
	if !o.Secret {
		text = strings.TrimSpace(text)
	}
	return setting{o, newSecret(text), l[o.Key].source}, nil
}

// readEnvironment returns what the environment sets, and the file that it names. Unknown names with the server's prefix are
// errors.
func readEnvironment(environ []string) (values layer, path string, err error) {
	keys := map[string]string{}
	known := []string{configEnv}
	for _, o := range Options() {
		keys[o.Env()] = o.Key
		known = append(known, o.Env())
		if o.Secret {
			keys[envName(o.FileKey())] = o.FileKey()
			known = append(known, envName(o.FileKey()))
		}
	}
	values = layer{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix) || isForeign(name):
		case name == configEnv:
			path = value
		case keys[name] != "":
			values[keys[name]] = found{value, "environment " + name}
		default:
			if !variable.MatchString(name) {
				name = mask
			}
			return nil, "", fmt.Errorf("unknown environment variable %q%s", name, didYouMean(name, known))
		}
	}
	return values, path, nil
}

// variable is what a name in the environment looks like: what does not may have a value in it.
var variable = regexp.MustCompile(`^[A-Za-z0-9_]{1,100}$`)

func isForeign(name string) bool {
	for _, prefix := range foreignPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// readSecret returns what a file holds, without the newline that editors and echo leave at its end.
func readSecret(name string) (string, error) {
	what := "its file " + fileName(name, true)
	f, err := os.Open(name)
	if err != nil {
		return "", readable(what, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	switch {
	case err != nil:
		return "", readable(what, err)
	case len(content) > maxSecretFile:
		return "", fmt.Errorf("%s has more than %d bytes", what, maxSecretFile)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if text == "" {
		return "", fmt.Errorf("%s is empty", what)
	}
	return text, nil
}

// readable says what could not be read, without the name of the system call.
func readable(what string, err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return fmt.Errorf("%s cannot be read: %w", what, pathErr.Err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
