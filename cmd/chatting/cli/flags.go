package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"chatting/configs"
)

// everyFlag stands for all options that have a flag.
const everyFlag = "*"

// kafkaFlags are the options that a command has flags for when it asks the brokers itself.
var kafkaFlags = []string{"embedded_kafka.addr", "kafka.brokers", "topic_prefix"}

// withConfig makes a command run with its configuration. keys are the options that it has flags for.
func withConfig(cmd *cobra.Command, s Process, keys []string, run func(ctx context.Context, cfg configs.Config) error) {
	load := configFlags(cmd, s, keys...)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		return run(cmd.Context(), cfg)
	}
}

// configFlags adds --config and the flags of some options, by their keys, to a command. The function it returns loads
// the configuration once the command line is parsed.
func configFlags(cmd *cobra.Command, s Process, keys ...string) (load func() (configs.Config, error)) {
	file := addText(cmd, "config", "file", "", "YAML file with the configuration, also by CHATTING_CONFIG")
	flags := map[string]*textFlag{}
	for _, o := range configs.Options() {
		if !o.Flag || !slices.Contains(keys, o.Key) && !slices.Contains(keys, everyFlag) {
			continue
		}
		flags[o.Key] = addText(cmd, o.FlagName(), o.Unit(), o.Default, o.Doc)
	}
	return func() (configs.Config, error) {
		given := map[string]string{}
		for key, flag := range flags {
			if flag.given {
				given[key] = flag.value
			}
		}
		cfg, err := configs.Load(configs.Sources{File: file.value, Environ: s.Environ, Flags: given})
		return cfg, usage(err)
	}
}

// textFlag is a flag whose text somebody else checks; unit is what --help shows as its value.
type textFlag struct {
	name, value, unit string
	given             bool
}

// read parses the text of a flag into a field, if the flag is given.
func read[T any](f *textFlag, field *T, parse func(text string) (T, error)) error {
	if !f.given {
		return nil
	}
	value, err := parse(f.value)
	if err != nil {
		return usage(fmt.Errorf("--%s %q: %w", f.name, f.value, err))
	}
	*field = value
	return nil
}

// addText adds a flag to a command.
func addText(cmd *cobra.Command, name, unit, value, doc string) *textFlag {
	flag := &textFlag{name: name, value: value, unit: unit}
	cmd.Flags().Var(flag, name, doc)
	return flag
}

// String implements pflag.Value.
func (f *textFlag) String() string { return f.value }

// Set implements pflag.Value.
func (f *textFlag) Set(text string) error {
	f.value, f.given = text, true
	return nil
}

// Type implements pflag.Value.
func (f *textFlag) Type() string { return f.unit }
