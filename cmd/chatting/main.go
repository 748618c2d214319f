// Command chatting is a real-time chat server and the tools around it: see chatting --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chatting/adapters/ownerfiles"
)

func main() {
	ownerfiles.Umask()
	os.Exit(run(untilSignal(), os.Args[1:], surroundings{in: os.Stdin, out: os.Stdout, err: os.Stderr, environ: os.Environ()}))
}

// surroundings are what a command knows of its process, handed in so that tests can run commands in theirs.
type surroundings struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
}

// run executes one command line and returns the exit code. Whatever goes wrong is one line on s.err and the code 1.
func run(ctx context.Context, args []string, s surroundings) int {
	root := newRoot(s)
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(s.err, "chatting: "+oneLine(err))
		return 1
	}
	return 0
}

// oneLine joins the lines of an error, and sentences for clients with the causes behind them.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.ReplaceAll(strings.Join(lines, "; "), ".: ", ": ")
}

// newRoot returns the command line. Without a command it serves.
func newRoot(s surroundings) *cobra.Command {
	root := &cobra.Command{
		Use:   "chatting",
		Short: "A real-time chat server",
		Long: `chatting is a real-time chat server: messages, presence, blocks and game invites over WebSocket,
every event through Kafka first. Without a command it serves.

With nothing configured everything it needs runs inside the process and is kept in ./data.
Configuration comes from a YAML file, CHATTING_* variables and flags; a later one wins.
chatting config shows what that comes to.`,
		Example: `  chatting                            serve on 127.0.0.1:8000
  chatting token --user 7             a token for user 7
  chatting connect --user 7           chat as user 7 in this terminal`,
		Version:       buildVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// An argument that reaches the root is no command's name.
		Args: unknownCommand,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
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
		newVersionCommand(),
	)
	refuseArguments(root)
	return root
}

// refuseArguments has the commands below cmd take none but the names of the commands below them.
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

// flagError returns an error about a flag without what may be a value: -pSECRET is a flag for the library.
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

// word returns an argument in quotes. What may be a secret that has lost its flag is not repeated: a token, a password, a URL.
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

// errNoUser says that a command was not told whose token it shall make.
var errNoUser = errors.New("whose token? say --user ID, such as --user 7")
