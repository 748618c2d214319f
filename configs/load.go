package configs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
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

// Load reads, merges and checks all sources. Its error is one sentence that names the option and its source; it holds
// no secret.
func Load(sources Sources) (Config, error) {
	settings, err := merge(sources)
	if err != nil {
		return Config{}, err
	}
	c := Config{settings: settings}
	for _, s := range settings {
		text := s.text.Reveal()
		if !s.option.Secret {
			text = strings.TrimSpace(text)
		}
		if err := s.option.set(&c, text); err != nil {
			return Config{}, fmt.Errorf("%s: %w", s.name(), err)
		}
	}
	if err := c.check(); err != nil {
		return Config{}, err
	}
	if c.Database.Embedded = c.Database.URL.IsZero(); c.Database.Embedded {
		c.Database.URL = URL{hide(c.sqliteFile())}
	}
	if !c.given("s2s.trust_loopback") {
		c.S2S.TrustLoopback = c.isTrial()
	}
	return c, nil
}

// name tells an option and its source.
func (s setting) name() string {
	if s.source == "" {
		return s.option.Key
	}
	return s.option.Key + " (" + s.source + ")"
}

// layer is one source: values by key, and where each was found.
type layer struct {
	values *koanf.Koanf
	source func(key string) string
}

// merge returns what each option is given, in the order of the table.
func merge(sources Sources) ([]setting, error) {
	layers, err := layers(sources)
	if err != nil {
		return nil, err
	}
	merged := koanf.New(".")
	found := map[string]string{}
	for _, l := range layers {
		for _, o := range options {
			if !o.Secret || !l.values.Exists(o.FileKey()) {
				continue
			}
			switch {
			case l.values.String(o.FileKey()) == "":
				l.values.Delete(o.FileKey())
			case l.values.String(o.Key) != "":
				return nil, fmt.Errorf("%s (%s) and %s (%s) are both set: set one of them",
					o.Key, l.source(o.Key), o.FileKey(), l.source(o.FileKey()))
			}
		}
		for _, key := range l.values.Keys() {
			found[key] = l.source(key)
			merged.Delete(key + "_file")
		}
		if err := merged.Merge(l.values); err != nil {
			return nil, err
		}
	}
	settings := make([]setting, 0, len(options))
	for _, o := range options {
		s := setting{option: o, text: Secret{hide(merged.String(o.Key))}, source: found[o.Key]}
		if o.Secret && merged.Exists(o.FileKey()) {
			name := merged.String(o.FileKey())
			s.source = "file " + name + ", named by " + found[o.FileKey()]
			text, err := readSecret(name)
			if err != nil {
				return nil, fmt.Errorf("%s (%s): %w", o.Key, found[o.FileKey()], err)
			}
			s.text = Secret{hide(text)}
		}
		settings = append(settings, s)
	}
	return settings, nil
}

// layers reads every source, the weakest first.
func layers(sources Sources) ([]layer, error) {
	defaults := map[string]any{}
	for _, o := range options {
		defaults[o.Key] = o.Default
	}
	environment, path, err := readEnvironment(sources.Environ)
	if err != nil {
		return nil, err
	}
	if sources.File != "" {
		path = sources.File
	}
	flags := map[string]any{}
	for key, value := range sources.Flags {
		flags[key] = value
	}
	parser := &strictYAML{path: path, lines: map[string]int{}}
	stack := []struct {
		provider koanf.Provider
		parser   koanf.Parser
		source   func(key string) string
	}{
		{confmap.Provider(defaults, "."), nil, func(string) string { return "" }},
		{file.Provider(path), parser, parser.source},
		{environment, nil, func(key string) string { return "environment " + envName(key) }},
		{confmap.Provider(flags, "."), nil, func(key string) string { return "flag --" + Option{Key: key}.FlagName() }},
	}
	var layers []layer
	for _, s := range stack {
		if s.parser != nil && path == "" {
			continue
		}
		values := koanf.New(".")
		if err := values.Load(s.provider, s.parser); err != nil {
			return nil, readable("the configuration file "+fileName(path, false), err)
		}
		layers = append(layers, layer{values, s.source})
	}
	return layers, nil
}

// readEnvironment returns what the environment sets, by key, and the file that it names. Unknown names with the
// server's prefix are errors.
func readEnvironment(environ []string) (provider *env.Env, path string, err error) {
	keys := map[string]string{}
	known := []string{configEnv}
	for _, o := range options {
		keys[o.Env()] = o.Key
		known = append(known, o.Env())
		if o.Secret {
			keys[envName(o.FileKey())] = o.FileKey()
			known = append(known, envName(o.FileKey()))
		}
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, envPrefix) || isForeign(name):
		case name == configEnv:
			path = value
		case keys[name] == "":
			if !variable.MatchString(name) {
				name = mask
			}
			return nil, "", fmt.Errorf("unknown environment variable %q%s", name, didYouMean(name, known))
		}
	}
	return env.Provider(".", env.Opt{
		Prefix:        envPrefix,
		EnvironFunc:   func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) { return keys[name], value },
	}), path, nil
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
