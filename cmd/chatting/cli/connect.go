package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/logging"
	"chatting/cmd/chatting/talk"
	"chatting/configs"
)

// tokenTTL is for how long the tokens of connect and send are good.
const tokenTTL = 12 * time.Hour

func newConnectCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "connect --user ID",
		Short: "Chat in this terminal, and see every frame",
		Long: `Log in to a server and chat. Standard output shows every frame of the server as it comes, as one line of JSON.
Standard error shows answers to REST calls, and errors. Without --token, a token is made as chatting token
does, with the secret that the server uses. You may type:

` + talk.Help + `
On a terminal, connect opens another connection when one ends: it waits as docs/clients.md says, takes up where
it stopped, and sends again what had no answer.
Input from a pipe is sent line by line. After its end, connect stays until no frame has come for --linger.`,
		Example: `  chatting connect --user 201
  echo '202 hello there' | chatting connect --user 201
  chatting connect --url wss://chat.example.com/ws/chatting/ --token "$TOKEN"`,
	}
	who := whoFlags(cmd, s)
	linger := cmd.Flags().Duration("linger", time.Second, "how long to stay after the end of piped input while no frame comes")
	reconnect := cmd.Flags().Bool("reconnect", false, "connect again when a connection ends (default: on a terminal)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c := &talk.Chat{
			In: s.In, Out: s.Out, Notes: s.Err, Linger: *linger, Interactive: logging.IsTerminal(s.In), Reconnect: *reconnect,
			Colours: s.colours(cmd, s.Out), NoteColours: s.colours(cmd, s.Err),
		}
		if !cmd.Flags().Changed("reconnect") {
			c.Reconnect = c.Interactive
		}
		found, err := who.find()
		if err != nil {
			return err
		}
		c.Socket, c.Token, c.Renews, c.MadeWith = found.socket, found.token, found.madeWith != "", found.madeWith
		return c.Run(cmd.Context())
	}
	return cmd
}

// who are the flags that say as whom to log in, and where.
type who struct {
	load           func() (configs.Config, error)
	user           *string
	address, token *textFlag
}

func whoFlags(cmd *cobra.Command, s Process) *who {
	return &who{
		load: configFlags(cmd, s, "data_dir"), user: userFlag(cmd), address: addSocketFlag(cmd),
		token: addText(cmd, "token", "token", "", "the token to log in with; without it one is made for --user"),
	}
}

// login is a server, and how to log in to it. madeWith names the secret of tokens that are made here; "" if the token was given.
type login struct {
	socket   socketURL
	token    func() (string, error)
	madeWith string
}

// find reads the flags. A token is made here first if the address comes from the configuration, because a missing secret may be why no
// server runs.
func (w *who) find() (login, error) {
	found := login{token: func() (string, error) { return w.token.value, nil }}
	address := w.address.value
	if w.token.value == "" || address == "" {
		cfg, err := w.load()
		if err != nil {
			return login{}, err
		}
		if w.token.value == "" {
			if *w.user == "" {
				return login{}, usage(errNoUser)
			}
			found.madeWith = secretOf(cfg)
			found.token = func() (string, error) { return mint(cfg, *w.user, tokenTTL) }
			if address == "" {
				if _, err := found.token(); err != nil {
					return login{}, err
				}
			}
		}
		if address == "" {
			if address, err = defaultSocket(cfg); err != nil {
				return login{}, err
			}
		}
	}
	var err error
	if found.socket, err = talk.ParseSocket(address); err != nil {
		return login{}, exit.With(exit.Usage, fmt.Errorf("--url: %w", err))
	}
	return found, nil
}

func addSocketFlag(cmd *cobra.Command) *textFlag {
	return addText(cmd, "url", "URL", "", "the server's socket (default ws:// at http.addr of the configuration, path "+talk.SocketPath+")")
}

// defaultSocket returns where a server with this configuration can be reached from its own machine.
func defaultSocket(cfg configs.Config) (string, error) {
	host, err := ownAddress(cfg)
	if err != nil {
		return "", err
	}
	return "ws://" + host + talk.SocketPath, nil
}
