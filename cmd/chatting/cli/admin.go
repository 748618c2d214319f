package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/admin"
)

// newAdminCommand returns admin, whose commands find the server as send --platform does.
func newAdminCommand(s Process) *cobra.Command {
	return admin.New(admin.Options{
		Out: s.Out, Actor: osUser(s.Environ),
		Server: func(cmd *cobra.Command) func() (*url.URL, string, error) {
			w := &who{load: configFlags(cmd, s, "data_dir"), user: new(string), address: addSocketFlag(cmd), token: &textFlag{}}
			return w.platform
		},
	})
}

// osUser returns the name of the user of the operating system, as the environment has it; "" if it does not.
func osUser(environ []string) string {
	for _, name := range []string{"LOGNAME", "USER", "USERNAME"} {
		for _, entry := range environ {
			if value, is := strings.CutPrefix(entry, name+"="); is && value != "" {
				return value
			}
		}
	}
	return ""
}
