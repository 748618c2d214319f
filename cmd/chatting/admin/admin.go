// Package admin is what moderators do on the command line: chatting admin. Its commands ask a running server, by the API for the
// platform's servers. So they are for everybody who has the token of that API.
package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/talk"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// Options are what the commands need of their process.
type Options struct {
	Out io.Writer
	// Server adds flags to a command which say where the server is. The function that it returns reads them: the socket, beside which
	// the API is, and the token for the platform's servers.
	Server func(cmd *cobra.Command) func() (socket *url.URL, token string, err error)
	// Actor is who acts if nobody is named: the user of the operating system; "" if that is not known.
	Actor string
}

// New returns the command admin.
func New(o Options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Moderate: act on users, announce, and see what users do",
		Long: `Moderate: act on users, make announcements, and see where users are connected and what they did.
Every command asks a running server, by the API for the platform's servers (/s2sapi/moderation/). It takes
the token from s2s.token of the configuration, or from the data directory of the server. What an act promises
is in docs/moderation.md.`,
		Example: `  chatting admin mute 201 --for 24h --reason spam
  chatting admin activity 201
  chatting admin announce --online "maintenance at noon"`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newConnections(o), newActs(o), newActivity(o), newAnnounce(o),
		newAct(o, "mute", "Keep what a user says from everybody", true),
		newAct(o, "unmute", "End a mute", false),
		newAct(o, "ban", "End the connections of a user, and keep it out", true),
		newAct(o, "unban", "End a ban", false),
		newAct(o, "end", "End the connections of a user, which may come again at once", false),
		newAct(o, "revoke", "Let no token count that a user has, and end its connections", false),
	)
	return cmd
}

// path is where the API for moderators is.
const path = "/s2sapi/moderation/"

// command is a command that asks a server.
type command struct {
	*cobra.Command

	options Options
	server  func() (*url.URL, string, error)
	asJSON  *bool
}

// newCommand makes a command of one argument.
func newCommand(o Options, use, short, long, example, asJSON string) *command {
	c := &command{options: o, Command: &cobra.Command{Use: use, Short: short, Long: long, Example: example}}
	c.server = o.Server(c.Command)
	c.asJSON = c.Flags().Bool("json", false, asJSON)
	return c
}

// forUser lets the command take a user as its argument.
func (c *command) forUser(run func(ctx context.Context, user domain.UserID) error) *cobra.Command {
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(fmt.Errorf("%s takes one argument, the id of a user (see %s --help)", cmd.CommandPath(), cmd.CommandPath()))
		}
		return nil
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.RunE = func(cmd *cobra.Command, args []string) error {
		user, err := domain.ParseUserID(args[0])
		if err != nil {
			return usage(fmt.Errorf("%q: %w", args[0], err))
		}
		return run(cmd.Context(), user)
	}
	return c.Command
}

// usage is the error of a command line that is wrong: nothing was done.
func usage(err error) error { return exit.With(exit.Usage, err) }

// ask asks the server. body is nil for a question that changes nothing.
func (c *command) ask(ctx context.Context, below string, query url.Values, body any, key string) ([]byte, error) {
	socket, token, err := c.server()
	if err != nil {
		return nil, err
	}
	call := talk.PlatformCall{Socket: socket, Token: token, Method: http.MethodGet, Path: path + below, Body: body, Key: key}
	if body != nil {
		call.Method = http.MethodPost
	}
	if len(query) > 0 {
		call.Path += "?" + query.Encode()
	}
	return call.Do(ctx)
}

// print prints an answer: as it came with --json, or else as text says.
func (c *command) print(answer []byte, text func(io.Writer) error) error {
	if *c.asJSON {
		_, err := fmt.Fprintln(c.options.Out, terminal.Printable(answer))
		return err
	}
	return text(c.options.Out)
}

// whoActs are the flags that say who acts, and why.
type whoActs struct {
	actor, reason *string
}

func (c *command) whoActs() whoActs {
	return whoActs{
		actor:  c.Flags().String("actor", c.options.Actor, "who acts, for the audit"),
		reason: c.Flags().String("reason", "", "why"),
	}
}

// errNoActor is for a process that does not know whose it is.
var errNoActor = errors.New("who acts? say --actor NAME")

// errNoAnswer is an answer that no server of this kind gives.
var errNoAnswer = errors.New("this is no answer of a chat server")
