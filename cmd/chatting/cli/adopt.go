package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/configs"
)

func newAdoptCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Move the database to another topic prefix or Kafka cluster",
		Long: `Move the database to the configured topic_prefix and Kafka cluster. A database belongs to one of each, and a server
does not start on a database of another log. Stop all servers on the database first. While one runs, this command
fails after some seconds.
Users, friends, blocks and the history stay. What the old log has and the history does not have yet is lost. So
before you stop the servers, wait until their /readyz says that the history is 0 records behind.`,
		Example: `  chatting adopt
  CHATTING_TOPIC_PREFIX=chat2 CHATTING_KAFKA_BROKERS=k1:9092 chatting adopt`,
	}
	asJSON := jsonFlag(cmd, "print an object with the sentence as result")
	withConfig(cmd, s, append([]string{"data_dir"}, kafkaFlags...), func(ctx context.Context, cfg configs.Config) error {
		said, err := installation.Adopt(ctx, cfg, logging.New(cfg.Log, s.Err))
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(s.Out, map[string]string{"result": said})
		}
		_, err = fmt.Fprintln(s.Out, said)
		return err
	})
	return cmd
}
