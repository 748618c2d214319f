package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// node names a node.
type node struct{ Node, Incarnation string }

func (n node) name() string {
	if n.Node == "" {
		return terminal.InLine(n.Incarnation)
	}
	return terminal.InLine(n.Node)
}

// newConnections returns the command that shows where a user is connected.
func newConnections(o Options) *cobra.Command {
	c := newCommand(o, "connections USER", "Show where a user is connected, on all nodes",
		`Show the connections of a user on all nodes, one a line: the node, since when, the address that limits count the client
under, and the features that it named. If a node did not answer, the command says so and ends with 7.`,
		"  chatting admin connections 201", "print the answer of the server as a line of JSON")
	return c.forUser(func(ctx context.Context, user domain.UserID) error {
		answer, err := c.ask(ctx, "connections/", url.Values{"user_id": {user.String()}}, nil, "")
		if err != nil {
			return err
		}
		var found struct {
			Connections []struct {
				node

				Address, Since string
				Features       []string
			}
			More       bool
			Unanswered []node
		}
		if json.Unmarshal(answer, &found) != nil {
			return errNoAnswer
		}
		err = c.print(answer, func(out io.Writer) error {
			for _, of := range found.Connections {
				line := fmt.Sprintf("%s since %s from %s %s", of.name(), of.Since, of.Address, strings.Join(of.Features, ","))
				if _, err := fmt.Fprintln(out, terminal.InLine(strings.TrimRight(line, " "))); err != nil {
					return err
				}
			}
			more := ""
			if found.More {
				more = " or more"
			}
			_, err := fmt.Fprintf(out, "user %d has %d%s connections\n", user, len(found.Connections), more)
			return err
		})
		if err != nil || len(found.Unanswered) == 0 {
			return err
		}
		names := make([]string, len(found.Unanswered))
		for i, of := range found.Unanswered {
			names[i] = of.name()
		}
		return exit.With(exit.Findings, fmt.Errorf("the user may be connected elsewhere, too: no answer of %s", strings.Join(names, ", ")))
	})
}

// newActivity returns the command that shows what a user did.
func newActivity(o Options) *cobra.Command {
	c := newCommand(o, "activity USER", "Show what a user did lately",
		`Show what is in force for a user, how much it did within a day, whom it blocks and who blocks it, and its
latest messages and invites, the newest first. --texts shows the texts of messages, too. That needs --reason,
and stands in chatting.audit.`,
		`  chatting admin activity 201
  chatting admin activity 201 --texts --reason "report 17"`, "print the answer of the server as a line of JSON")
	who := c.whoActs()
	texts := c.Flags().Bool("texts", false, "show the texts of messages")
	limit := c.Flags().Int("limit", 20, "how many messages and invites to show at most: 1 to 50")
	before := c.Flags().String("before", "", "go on behind an earlier answer: its next")
	return c.forUser(func(ctx context.Context, user domain.UserID) error {
		query := url.Values{"user_id": {user.String()}, "limit": {strconv.Itoa(*limit)}}
		if *before != "" {
			query.Set("before", *before)
		}
		if *texts {
			switch {
			case *who.actor == "":
				return usage(errNoActor)
			case *who.reason == "":
				return usage(errors.New("why? To read texts needs --reason TEXT"))
			}
			query.Set("texts", "true")
			query.Set("actor", *who.actor)
			query.Set("reason", *who.reason)
		}
		answer, err := c.ask(ctx, "activity/", query, nil, "")
		if err != nil {
			return err
		}
		return c.print(answer, func(out io.Writer) error { return printActivity(out, user, answer) })
	})
}

// printActivity prints what a user did.
func printActivity(out io.Writer, user domain.UserID, answer []byte) error {
	var did struct {
		FirstSeen             string `json:"first_seen"`
		Online, Muted, Banned bool
		Friends, Blocks       int
		BlockedBy             int `json:"blocked_by"`
		Lately                struct{ Messages, Invites int }
		Acts                  []act
		Events                []struct {
			Type, Status, Message, Time string
			To                          domain.UserID `json:"to_id"`
		}
		Next string
	}
	if json.Unmarshal(answer, &did) != nil {
		return errNoAnswer
	}
	seen, online := "never seen", "offline"
	if did.FirstSeen != "" {
		seen = "first seen " + terminal.InLine(did.FirstSeen)
	}
	if did.Online {
		online = "online"
	}
	fmt.Fprintf(out, "user %d: %s, %s, %s\n", user, online, inForce(did.Muted, did.Banned), seen)
	fmt.Fprintf(out, "%d friends, blocks %d, blocked by %d\n", did.Friends, did.Blocks, did.BlockedBy)
	fmt.Fprintf(out, "within a day: %d messages, %d invites\n", did.Lately.Messages, did.Lately.Invites)
	if err := printActs(out, did.Acts); err != nil {
		return err
	}
	for _, e := range did.Events {
		line := fmt.Sprintf("%s %s -> %d %s%s", e.Time, e.Type, e.To, e.Status, e.Message)
		if _, err := fmt.Fprintln(out, terminal.InLine(strings.TrimRight(line, " "))); err != nil {
			return err
		}
	}
	if did.Next != "" {
		_, err := fmt.Fprintf(out, "earlier: --before %s\n", terminal.InLine(did.Next))
		return err
	}
	return nil
}
