package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/doctor"
)

func newDoctorCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out what keeps a server from working, and what to change",
		Long: `Look at the configuration and at everything that it names: the limits of the process, the data directory, the
addresses to listen on, the database (whether it answers, its schema, rights, connections and clock), the brokers
(whether they answer, the topics and their settings, the rights), and the keys that verify tokens. For each finding,
say what to change. Doctor only reads. It works beside a running server, and before the first start.
With --token-file, say also whether a server would accept that token, and why not.
The exit code is 7 if a server would not start or not work. Warnings do not change it.`,
		Example: `  chatting doctor
  CHATTING_KAFKA_BROKERS=k1:9092 CHATTING_DATABASE_URL_FILE=/run/secrets/database chatting doctor --json
  chatting doctor --token-file token`,
	}
	load := configFlags(cmd, s, everyFlag)
	token := addText(cmd, "token-file", "file", "", "a file with a token to verify")
	asJSON := jsonFlag(cmd, "print an object with findings, failed and warnings")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var given string
		if token.given {
			content, err := os.ReadFile(token.value)
			if err != nil {
				return usage(fmt.Errorf("--token-file: %w", err))
			}
			given = strings.TrimSpace(string(content))
		}
		var report doctor.Report
		if cfg, err := load(); err != nil {
			report = doctor.Unreadable(err)
		} else {
			report = doctor.Examine(cmd.Context(), doctor.Examination{Config: cfg, Machine: doctor.ThisMachine(), Token: given})
		}
		var err error
		if *asJSON {
			err = printJSON(s.Out, report)
		} else {
			err = report.WriteText(s.Out, s.colours(cmd, s.Out))
		}
		return errors.Join(err, cmd.Context().Err(), report.Fault())
	}
	return cmd
}
