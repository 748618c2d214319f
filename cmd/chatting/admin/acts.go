package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// act is an act as the server tells of it.
type act struct {
	Act    string        `json:"act"`
	User   domain.UserID `json:"user_id"`
	Until  string        `json:"until,omitempty"`
	Reason string        `json:"reason,omitempty"`
	Actor  string        `json:"actor,omitempty"`
	Time   string        `json:"time,omitempty"`
}

// line is the act in a line.
func (a act) line() string {
	line := fmt.Sprintf("%s %s user %d", terminal.InLine(a.Time), terminal.InLine(a.Act), a.User)
	if a.Until != "" {
		line += " until " + terminal.InLine(a.Until)
	}
	if a.Actor != "" {
		line += " by " + terminal.InLine(a.Actor)
	}
	if a.Reason != "" {
		line += ": " + terminal.InLine(a.Reason)
	}
	return line
}

// newAct returns the command for one kind of act. ends tells that such an act may end by itself.
func newAct(o Options, kind, short string, ends bool) *cobra.Command {
	long := short + ".\nThe act counts on all nodes once the command has ended, and stands in chatting.audit.\n" +
		"Exit codes: 4 the server cannot now; 5 it was refused; 6 it may be done."
	example := "  chatting admin " + kind + " 201 --reason \"report 17\""
	if ends {
		example += "\n  chatting admin " + kind + " 201 --for 168h --reason spam"
	}
	c := newCommand(o, kind+" USER", short, long, example, "print the act as the server tells of it, as a line of JSON")
	who := c.whoActs()
	length := new(time.Duration)
	if ends {
		length = c.Flags().Duration("for", 0, "how long; without it until it is ended")
	}
	return c.forUser(func(ctx context.Context, user domain.UserID) error {
		if *who.actor == "" {
			return usage(errNoActor)
		}
		if *length < 0 {
			return usage(errors.New("--for has to be longer than nothing"))
		}
		body := act{Act: kind, User: user, Reason: *who.reason, Actor: *who.actor}
		if *length > 0 {
			body.Until = time.Now().Add(*length).UTC().Format(time.RFC3339)
		}
		answer, err := c.ask(ctx, "", nil, body, "")
		if err != nil {
			return err
		}
		return c.print(answer, func(out io.Writer) error {
			var done act
			if json.Unmarshal(answer, &done) != nil {
				return errNoAnswer
			}
			_, err := fmt.Fprintln(out, done.line())
			return err
		})
	})
}

// newActs returns the command that shows what is in force for a user.
func newActs(o Options) *cobra.Command {
	c := newCommand(o, "acts USER", "Show what is in force for a user, and the latest acts on it",
		"Show whether a user is muted or banned, and the latest acts on it, the newest first.",
		"  chatting admin acts 201", "print the answer of the server as a line of JSON")
	return c.forUser(func(ctx context.Context, user domain.UserID) error {
		answer, err := c.ask(ctx, "", url.Values{"user_id": {user.String()}}, nil, "")
		if err != nil {
			return err
		}
		return c.print(answer, func(out io.Writer) error {
			var is struct {
				Muted, Banned bool
				Acts          []act
			}
			if json.Unmarshal(answer, &is) != nil {
				return errNoAnswer
			}
			fmt.Fprintf(out, "user %d: %s\n", user, inForce(is.Muted, is.Banned))
			return printActs(out, is.Acts)
		})
	})
}

// inForce says what is in force.
func inForce(muted, banned bool) string {
	switch {
	case muted && banned:
		return "muted and banned"
	case muted:
		return "muted"
	case banned:
		return "banned"
	default:
		return "neither muted nor banned"
	}
}

func printActs(out io.Writer, acts []act) error {
	for _, a := range acts {
		if _, err := fmt.Fprintln(out, a.line()); err != nil {
			return err
		}
	}
	return nil
}
