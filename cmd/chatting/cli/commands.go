package cli

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/cmd/chatting/server"
	"chatting/configs"
)

// asServe makes a command serve: the root and serve itself.
func asServe(cmd *cobra.Command, s Process) {
	withConfig(cmd, s, []string{everyFlag}, func(ctx context.Context, cfg configs.Config) error {
		outliveReaders()
		return server.Run(ctx, cfg, s.Version, s.Err)
	})
}

// outliveReaders lets the process go on when nobody reads its standard error any more. Log lines are lost then. Go ends a
// process that writes to a broken pipe, unless the process itself ignores SIGPIPE. Other commands end in that way, as cat does.
func outliveReaders() { signal.Ignore(syscall.SIGPIPE) }

func newServeCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server, as chatting without a command does",
		Long: `Run the server until SIGINT, SIGTERM or SIGHUP. Then it closes the sockets, ends its sessions and leaves.
Only some options have a flag. Every option has a CHATTING_* variable: see chatting config.`,
		Example: `  chatting serve
  chatting serve --http-addr :8000 --data-dir /var/lib/chatting
  CHATTING_KAFKA_BROKERS=k1:9092,k2:9092 CHATTING_DATABASE_URL_FILE=/run/secrets/database chatting serve`,
	}
	asServe(cmd, s)
	return cmd
}

func newMigrateCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Migrate the database to the schema of this program",
		Long: `Migrate the database to the schema version of this program, and print the version. A server does this when it
starts. Use this command to do it earlier, with another role. Running it again changes nothing. If an embedded
database is missing, it is created, and its data directory too if you name it.`,
		Example: `  chatting migrate
  CHATTING_DATABASE_URL='postgres://chatting@db/chatting?sslmode=require' chatting migrate`,
	}
	asJSON := jsonFlag(cmd, "print an object with schema_version")
	withConfig(cmd, s, []string{"data_dir"}, func(ctx context.Context, cfg configs.Config) error {
		version, err := installation.Migrate(ctx, cfg, logging.New(cfg.Log, s.Err))
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(s.Out, map[string]int64{"schema_version": version})
		}
		_, err = fmt.Fprintf(s.Out, "schema version %d\n", version)
		return err
	})
	return cmd
}

func newConfigCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the configuration in force, with secrets masked",
		Long: `Print every option with its value in force, as YAML. A comment says where a value comes from that is not the
default: the file, the environment or a flag. Secrets are masked, and so is all of a URL except its host.`,
		Example: `  chatting config
  CHATTING_HTTP_ADDR=:8000 chatting config --config chatting.yaml`,
	}
	asJSON := jsonFlag(cmd, "print an object: each option by its key, with its value and its source")
	withConfig(cmd, s, []string{everyFlag}, func(_ context.Context, cfg configs.Config) error {
		if *asJSON {
			return printJSON(s.Out, cfg.Shown())
		}
		_, err := fmt.Fprint(s.Out, cfg.Masked())
		return err
	})
	return cmd
}

func newVersionCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  chatting version",
	}
	asJSON := jsonFlag(cmd, "print an object with version")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *asJSON {
			return printJSON(s.Out, map[string]string{"version": s.Version})
		}
		_, err := fmt.Fprintln(s.Out, "chatting", s.Version)
		return err
	}
	return cmd
}
