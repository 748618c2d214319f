// Package cli is the command line: its commands, their flags, and what they print. serve runs package server. The work of migrate,
// adopt and history rebuild is in package installation, that of bench in package bench.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Process is what a command knows of its process.
type Process struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
	Version  string
}

// Run executes one command line and returns the exit code. An error is one line on s.Err and the code 1.
func Run(ctx context.Context, args []string, s Process) int {
	root := newRoot(s)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(s.Err, "chatting: "+oneLine(err))
		return 1
	}
	return 0
}

// oneLine joins the lines of an error. It drops the period between a sentence for clients and its cause.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.ReplaceAll(strings.Join(lines, "; "), ".: ", ": ")
}

// newRoot returns the command line. Without a command it serves.
func newRoot(s Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "chatting",
		Short: "A real-time chat server",
		Long: `chatting is a real-time chat server: messages, presence, blocks and game invites over WebSocket.
Every event goes through Kafka first. Without a command, chatting runs the server.

Without any configuration, everything that the server needs runs inside the process and is kept in ./data.
Configuration comes from a YAML file, CHATTING_* variables and flags. A later source wins.
chatting config prints the values in force.`,
		Example: `  chatting                            serve on 127.0.0.1:8000
  chatting token --user 7             a token for user 7
  chatting connect --user 7           chat as user 7 in this terminal`,
		Version:       s.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		// An argument that reaches the root is no command's name.
		Args: unknownCommand,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), ".LocalFlags.FlagUsages", ".LocalFlags.FlagUsagesWrapped 110", 1))
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", flagError(err), cmd.CommandPath())
	})
	asServe(root, s)
	root.AddCommand(
		newServeCommand(s), newTokenCommand(s), newConnectCommand(s), newHealthCommand(s), newMigrateCommand(s), newConfigCommand(s),
		newDeadLettersCommand(s), newEventsCommand(s), newHistoryCommand(s), newAdoptCommand(s), newBenchCommand(s),
		newVersionCommand(s),
	)
	refuseArguments(root)
	return root
}

// refuseArguments lets the commands below cmd take no arguments but the names of subcommands.
func refuseArguments(cmd *cobra.Command) {
	for _, command := range cmd.Commands() {
		command.Args = noArguments
		if command.HasSubCommands() {
			command.Args = unknownCommand
			refuseArguments(command)
		}
	}
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = ": did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("unknown command %s%s (see %s --help)", word(args[0]), hint, cmd.CommandPath())
}

// flagError drops what may be a value from an error about a flag. The library takes -pSECRET for a flag.
func flagError(err error) error {
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		if name := unknown.GetSpecifiedName(); plainWord.MatchString(name) && unknown.GetSpecifiedShortnames() == "" {
			return fmt.Errorf("unknown flag: --%s", name)
		}
		return errors.New("unknown flag")
	}
	if wrong := (*pflag.InvalidSyntaxError)(nil); errors.As(err, &wrong) {
		return errors.New("bad flag syntax")
	}
	return err
}

// word returns an argument in quotes, or *** if it may be a secret that has lost its flag: a token, a password, a URL.
func word(argument string) string {
	if plainWord.MatchString(argument) {
		return strconv.Quote(argument)
	}
	return "***"
}

// plainWord matches what reads like the name of a command or a flag.
var plainWord = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument such as %s (see %s --help)", cmd.CommandPath(), word(args[0]), cmd.CommandPath())
	}
	return nil
}
