package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/ingest"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
)

// jsonFlag adds --json to a command that prints data.
func jsonFlag(cmd *cobra.Command, doc string) *bool { return cmd.Flags().Bool("json", false, doc) }

// printJSON writes a value as one line of JSON. What other users wrote in it cannot steer a terminal.
func printJSON(out io.Writer, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, terminal.Printable(line))
	return err
}

// completeValues lets shells complete the values of flags that take one of a few, and offer no files for those that take none.
func completeValues(root *cobra.Command) {
	known := map[string][]string{
		colorFlag: {string(terminal.Auto), string(terminal.Always), string(terminal.Never)},
		"format":  {formatText, formatJSON}, "type": shortTypes,
		"log-format": {string(configs.LogAuto), string(configs.LogText), string(configs.LogJSON)},
		"log-level":  {"debug", "info", "warn", "error"},
	}
	for _, topic := range kafka.NamesFor("").All() {
		known["topic"] = append(known["topic"], strings.TrimPrefix(topic, "."))
	}
	for _, code := range ingest.DeadLetterCodes() {
		known["code"] = append(known["code"], code[len("chatting."):])
	}
	complete := func(cmd *cobra.Command) {
		add := func(flag *pflag.Flag) {
			values, few := known[flag.Name]
			if !few && (flag.Value.Type() == "file" || flag.Value.Type() == "directory") {
				return // the shell's own completion of files
			}
			// It fails only for a flag that the command does not have, or has twice.
			_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
		cmd.Flags().VisitAll(add)
		cmd.PersistentFlags().VisitAll(add)
	}
	complete(root)
	for _, cmd := range root.Commands() {
		complete(cmd)
		for _, below := range cmd.Commands() {
			complete(below)
		}
	}
}
