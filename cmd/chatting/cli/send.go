package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/auth"
	"chatting/cmd/chatting/talk"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
	"chatting/domain"
)

// maxText bounds what is read of a text on standard input, in bytes. A server allows less.
const maxText = 1 << 20

func newSendCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send --user ID --to ID TEXT",
		Short: "Send one message, and say what came of it",
		Long: `Send one message and wait until it is stored. Print its echo, or say on standard error why there is none. The exit
code tells them apart: 0 it is stored; 4 the server cannot now; 5 it was refused, as to a user who is offline; 6 it
may be stored, and the error names the --client-msg-id to send it again under.
Without --token, a token is made as chatting token does. With --platform, the message is a system message of the
platform: it goes through /s2sapi/ with s2s.token of the configuration, or the one in the data directory.
A text of - is read from standard input.`,
		Example: `  chatting send --user 201 --to 202 "hello there"
  chatting send --platform --to 202 "maintenance at noon"
  make report | chatting send --user 201 --to 202 - || echo "not sent: $?"`,
	}
	f := sendFlags{
		who:      whoFlags(cmd, s),
		to:       addText(cmd, "to", "id", "", "the user who gets it"),
		name:     addText(cmd, "client-msg-id", "id", "", "the name under which the message is sent, so that it is stored once"),
		platform: cmd.Flags().Bool("platform", false, "send it as the platform, not as a user"),
		room:     addText(cmd, "room", "UUID", "", "with --platform: a game invite into this room"),
		opponent: addText(cmd, "opponent", "id", "", "with --room: the other user of the game"),
		patience: cmd.Flags().Duration("wait", 10*time.Second, "how long to wait for each answer"),
	}
	asJSON := jsonFlag(cmd, "print the frame as it came, as a line of JSON")
	cmd.Args = oneArgument("the text")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		target, opponent, err := f.users()
		if err != nil {
			return err
		}
		text, err := textOf(args[0], s.In)
		if err != nil {
			return err
		}
		var frame []byte
		if *f.platform {
			frame, err = f.asPlatform(cmd.Context(), talk.SystemSending{Target: target, Text: text, Opponent: opponent})
		} else {
			frame, err = f.asUser(cmd.Context(), talk.Sending{Target: target, Text: text})
		}
		if err != nil {
			return err
		}
		if *asJSON {
			_, err = fmt.Fprintln(s.Out, terminal.Printable(frame))
		} else {
			_, err = fmt.Fprintf(s.Out, "sent to user %s: %s\n", target, talk.ID(frame))
		}
		return err
	}
	return cmd
}

// sendFlags are the flags of send.
type sendFlags struct {
	who                      *who
	to, name, room, opponent *textFlag
	platform                 *bool
	patience                 *time.Duration
}

// users checks the flags, and returns the users that they name.
func (f *sendFlags) users() (target, opponent domain.UserID, err error) {
	switch {
	case !f.to.given:
		return 0, 0, usage(errors.New("to whom? say --to ID, such as --to 7"))
	case !*f.platform && (f.room.given || f.opponent.given):
		return 0, 0, usage(errors.New("--room and --opponent are for --platform"))
	}
	err = cmp.Or(read(f.to, &target, domain.ParseUserID), read(f.opponent, &opponent, domain.ParseUserID))
	return target, opponent, err
}

func (f *sendFlags) asUser(ctx context.Context, m talk.Sending) ([]byte, error) {
	found, err := f.who.find()
	if err != nil {
		return nil, err
	}
	m.Socket, m.MadeWith, m.Name, m.Patience = found.socket, found.madeWith, f.name.value, *f.patience
	if m.Token, err = found.token(); err != nil {
		return nil, err
	}
	return m.Do(ctx)
}

func (f *sendFlags) asPlatform(ctx context.Context, m talk.SystemSending) (frame []byte, err error) {
	m.Name, m.Room = f.name.value, f.room.value
	if f.room.given {
		m.Type = "invite_game"
	}
	if m.Socket, m.Token, err = f.who.platform(); err != nil {
		return nil, err
	}
	return m.Do(ctx)
}

// textOf returns the text that an argument names.
func textOf(argument string, in io.Reader) (string, error) {
	if argument != "-" {
		return argument, nil
	}
	read, err := io.ReadAll(io.LimitReader(in, maxText+1))
	if err != nil {
		return "", fmt.Errorf("reading the text: %w", err)
	}
	if len(read) > maxText {
		return "", usage(fmt.Errorf("the text on standard input is longer than %d bytes", maxText))
	}
	return strings.TrimRight(string(read), "\r\n"), nil
}

// platform returns the server, and the token by which it knows servers of the platform; "" if it asks programs on its own machine for
// none.
func (w *who) platform() (socket socketURL, token string, err error) {
	if w.token.given || *w.user != "" {
		return nil, "", usage(errors.New("--platform is not a user: leave --user and --token away"))
	}
	cfg, err := w.load()
	if err != nil {
		return nil, "", err
	}
	address := w.address.value
	if address == "" {
		if address, err = defaultSocket(cfg); err != nil {
			return nil, "", err
		}
	}
	if socket, err = talk.ParseSocket(address); err != nil {
		return nil, "", usage(fmt.Errorf("--url: %w", err))
	}
	token, err = platformToken(cfg)
	return socket, token, err
}

func platformToken(cfg configs.Config) (string, error) {
	if !cfg.GeneratesS2SToken() {
		return cfg.S2S.Token.Reveal(), nil
	}
	token, err := auth.LoadS2SToken(cfg.DataDir)
	if err != nil {
		return "", fmt.Errorf("no server has made its token for other servers in %s, and s2s.token is not set: name the server's data "+
			"directory with --data-dir or CHATTING_DATA_DIR, or its token with CHATTING_S2S_TOKEN_FILE (%w)", cfg.DataDir, err)
	}
	return token, nil
}
