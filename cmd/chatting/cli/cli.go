// Package cli is the command line: its commands, their flags, and what they print. serve runs package server. The work of migrate,
// adopt and history rebuild is in package installation, that of bench in package bench.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
)

// Process is what a command knows of its process.
type Process struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string
	Version  string
}

// socketURL is where a server has its socket.
type socketURL = *url.URL

// Run executes one command line and returns the exit code, which package exit explains. An error is one line on s.Err.
func Run(ctx context.Context, args []string, s Process) int {
	root := newRoot(s)
	root.SetArgs(args)
	ran, err := root.ExecuteContextC(ctx)
	if err != nil {
		fmt.Fprintln(s.Err, s.colours(ran, s.Err).Red("chatting:"), terminal.OneLine(err))
	}
	return int(exit.CodeOf(err))
}

// usage is the error of a command line that is wrong: nothing was done.
func usage(err error) error { return exit.With(exit.Usage, err) }

// colours returns the colours for a stream of this process. A --color that cannot be read is told elsewhere.
func (s Process) colours(cmd *cobra.Command, stream any) terminal.Colours {
	when := terminal.Auto
	if flag := cmd.Flag(colorFlag); flag != nil {
		if said, err := terminal.ParseWhen(flag.Value.String()); err == nil {
			when = said
		}
	}
	return terminal.ColoursFor(when, stream, s.Environ)
}

// colorFlag is the flag of all commands that says when their output has colours.
const colorFlag = "color"

// newRoot returns the command line. Without a command it serves.
func newRoot(s Process) *cobra.Command {
	root := &cobra.Command{
		Use:   "chatting",
		Short: "A real-time chat server",
		Long: `chatting is a real-time chat server: messages, presence, blocks and game invites over WebSocket.
Every event goes through Kafka first. Without a command, chatting runs the server.

Without any configuration, everything that the server needs runs inside the process and is kept in ./data.
Configuration comes from a YAML file, CHATTING_* variables and flags. A later source wins.
chatting config prints the values in force.

Exit codes:
` + strings.TrimRight(exit.Table(), "\n"),
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
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), ".LocalFlags.FlagUsages", ".LocalFlags.FlagUsagesWrapped 110", 1))
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w (see %s --help)", flagError(err), cmd.CommandPath()))
	})
	when := terminal.Auto
	root.PersistentFlags().Var(&colorValue{&when}, colorFlag, "colours: auto (on a terminal, unless NO_COLOR is set), always or never")
	asServe(root, s)
	root.AddCommand(
		newServeCommand(s), newTokenCommand(s), newConnectCommand(s), newSendCommand(s), newHealthCommand(s), newMigrateCommand(s),
		newConfigCommand(s),
		newDoctorCommand(s), newDeadLettersCommand(s), newEventsCommand(s), newHistoryCommand(s), newAdoptCommand(s), newBenchCommand(s),
		newAdminCommand(s), newVersionCommand(s),
	)
	refuseArguments(root)
	completeValues(root)
	return root
}

// colorValue is the value of --color.
type colorValue struct{ when *terminal.When }

// String implements pflag.Value.
func (v *colorValue) String() string { return string(*v.when) }

// Set implements pflag.Value.
func (v *colorValue) Set(text string) (err error) {
	*v.when, err = terminal.ParseWhen(text)
	return err
}

// Type implements pflag.Value.
func (v *colorValue) Type() string { return "when" }

// refuseArguments lets the commands below cmd take no arguments but the names of subcommands, unless they say which.
func refuseArguments(cmd *cobra.Command) {
	for _, command := range cmd.Commands() {
		if command.Args != nil {
			continue
		}
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
	return usage(fmt.Errorf("unknown command %s%s (see %s --help)", word(args[0]), hint, cmd.CommandPath()))
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
		return usage(fmt.Errorf("%s takes no argument such as %s (see %s --help)", cmd.CommandPath(), word(args[0]), cmd.CommandPath()))
	}
	return nil
}

// oneArgument returns a check that a command has exactly one argument, which name describes.
func oneArgument(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(fmt.Errorf("%s takes one argument, %s, and got %d: quote it if it has blanks (see %s --help)",
				cmd.CommandPath(), name, len(args), cmd.CommandPath()))
		}
		return nil
	}
}
