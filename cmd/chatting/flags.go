package main

import (
	"slices"

	"github.com/spf13/cobra"

	"chatting/configs"
)

// everyFlag stands for all options that have a flag.
const everyFlag = "*"

// configFlags adds --config and the flags of some options, by their keys, to a command. The function it returns loads
// the configuration once the command line is parsed.
func configFlags(cmd *cobra.Command, s surroundings, keys ...string) (load func() (configs.Config, error)) {
	file := &textFlag{unit: "file"}
	cmd.Flags().Var(file, "config", "YAML file with the configuration; also CHATTING_CONFIG")
	flags := map[string]*textFlag{}
	for _, o := range configs.Options() {
		if !o.Flag || !slices.Contains(keys, o.Key) && !slices.Contains(keys, everyFlag) {
			continue
		}
		flag := &textFlag{value: o.Default, unit: o.Unit}
		cmd.Flags().Var(flag, o.FlagName(), o.Doc)
		flags[o.Key] = flag
	}
	return func() (configs.Config, error) {
		given := map[string]string{}
		for key, flag := range flags {
			if flag.given {
				given[key] = flag.value
			}
		}
		return configs.Load(configs.Sources{File: file.value, Environ: s.environ, Flags: given})
	}
}

// textFlag is a flag whose text somebody else checks; unit is what --help shows as its value.
type textFlag struct {
	value, unit string
	given       bool
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
