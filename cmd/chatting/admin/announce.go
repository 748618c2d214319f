package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// newAnnounce returns the command that makes an announcement.
func newAnnounce(o Options) *cobra.Command {
	c := newCommand(o, "announce (--online | --to ID,…) TEXT", "Say something to all who are online, or to a list of users",
		`Say something to all who are online, or to a list of users. Clients get it as a system message. What is for
all who are online is kept for nobody else. What is for a list is kept as system messages are, and the
output names the users who are offline and get nothing. The announcement stands in chatting.audit. Exit
codes: 4 the server cannot now; 5 it was refused; 6 some may have got it, and the error names the --key
under which to make it again: nobody gets it twice.`,
		`  chatting admin announce --online "maintenance at noon"
  chatting admin announce --to 201,202 "you won" --reason "tournament 7"`,
		"print the announcement as the server tells of it, as a line of JSON")
	who := c.whoActs()
	online := c.Flags().Bool("online", false, "to all who are online")
	to := c.Flags().String("to", "", "to these users: ids with commas between")
	key := c.Flags().String("key", "", "the name under which it is made, so that it is made once")
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(fmt.Errorf("%s takes one argument, the text, and got %d: quote it if it has blanks (see %s --help)",
				cmd.CommandPath(), len(args), cmd.CommandPath()))
		}
		return nil
	}
	c.ValidArgsFunction = cobra.NoFileCompletions
	c.RunE = func(cmd *cobra.Command, args []string) error {
		body := announcement{Message: args[0], Actor: *who.actor, Reason: *who.reason}
		switch {
		case *online == (*to != ""):
			return usage(errors.New("to whom? say --online, or --to ID,ID"))
		case *who.actor == "":
			return usage(errNoActor)
		case *online:
			body.To = "online"
		}
		if *to != "" {
			for id := range strings.SplitSeq(*to, ",") {
				user, err := domain.ParseUserID(strings.TrimSpace(id))
				if err != nil {
					return usage(fmt.Errorf("--to %q: %w", id, err))
				}
				body.Users = append(body.Users, user)
			}
		}
		if *key == "" {
			*key = uuid.NewString()
		}
		answer, err := c.ask(cmd.Context(), "announcements/", nil, body, *key)
		if err != nil {
			return err
		}
		return c.print(answer, func(out io.Writer) error { return printAnnouncement(out, answer) })
	}
	return c.Command
}

// announcement is one as the server takes it, and tells of it.
type announcement struct {
	To      string          `json:"to,omitempty"`
	Users   []domain.UserID `json:"user_ids,omitempty"`
	Message string          `json:"message"`
	Reason  string          `json:"reason,omitempty"`
	Actor   string          `json:"actor"`
	ID      string          `json:"id,omitempty"`
	Offline []domain.UserID `json:"offline_ids,omitempty"`
}

func printAnnouncement(out io.Writer, answer []byte) error {
	var made announcement
	if json.Unmarshal(answer, &made) != nil {
		return errNoAnswer
	}
	if len(made.Users) == 0 {
		_, err := fmt.Fprintf(out, "announced to all who are online: %s\n", terminal.InLine(made.ID))
		return err
	}
	fmt.Fprintf(out, "announced to %d of %d users: %s\n", len(made.Users)-len(made.Offline), len(made.Users), terminal.InLine(made.ID))
	for _, user := range made.Offline {
		if _, err := fmt.Fprintf(out, "offline: %d\n", user); err != nil {
			return err
		}
	}
	return nil
}
