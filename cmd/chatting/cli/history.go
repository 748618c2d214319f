package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka/projector"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
)

func newHistoryCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Maintain the history in the database",
		Long:  `Maintain the messages that the database keeps.`,
		Example: `  chatting history rebuild
  chatting history rebuild --partition 3`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRebuildCommand(s))
	return cmd
}

func newRebuildCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Project the history again from the log",
		Long: `Let the running servers project the history again, from the start of what the log still has. They replace it part
by part. Until then each part reads as before. What the log no longer has stays as it is. Erased messages do not
come back, and messages that a block hides stay hidden. With --wait, wait until the servers have done it.`,
		Example: `  chatting history rebuild
  chatting history rebuild --wait
  chatting history rebuild --partition 3
  CHATTING_KAFKA_BROKERS=k1:9092 CHATTING_DATABASE_URL_FILE=/run/secrets/database chatting history rebuild`,
	}
	only := addText(cmd, "partition", "number", "", "only this partition of the log")
	wait := cmd.Flags().Bool("wait", false, "wait until the servers have projected it again")
	asJSON := jsonFlag(cmd, "print each partition as a line of JSON")
	withConfig(cmd, s, append([]string{"data_dir"}, kafkaFlags...), func(ctx context.Context, cfg configs.Config) error {
		progress := terminal.NewProgress(s.Err, *asJSON)
		defer progress.Clear()
		say := func(partition int, rebuilt projector.Rebuilt) error { return sayRebuilt(s.Out, partition, rebuilt) }
		if *asJSON {
			say = func(partition int, rebuilt projector.Rebuilt) error {
				return printJSON(s.Out, rebuiltJSONOf(partition, rebuilt))
			}
		}
		var whole, before, still int64
		var tell func(left, of int64)
		if *wait {
			tell = func(left, of int64) {
				if whole = of; left != before {
					still = 0
				}
				before, still = left, still+1
				question := ""
				if still > 20 {
					question = "; nothing moves: is a server running?"
				}
				progress.Show("projecting again: %d of %d records%s", of-left, of, question)
			}
		}
		if err := installation.Rebuild(ctx, cfg, only.partitions, logging.New(cfg.Log, s.Err), say, tell); err != nil || !*wait {
			return err
		}
		progress.Clear()
		if *asJSON {
			return printJSON(s.Out, map[string]int64{"projected_again": whole})
		}
		_, err := fmt.Fprintf(s.Out, "projected again: %d records\n", whole)
		return err
	})
	return cmd
}

// rebuiltJSON is a partition whose history is projected again. The offsets are absent if nothing was projected yet.
type rebuiltJSON struct {
	Partition int    `json:"partition"`
	From      *int64 `json:"from_offset,omitempty"`
	To        *int64 `json:"to_offset,omitempty"` // the first that is not projected again
}

func rebuiltJSONOf(partition int, rebuilt projector.Rebuilt) rebuiltJSON {
	shown := rebuiltJSON{Partition: partition}
	if rebuilt.To.Generation > 0 {
		shown.From, shown.To = &rebuilt.From.Offset, &rebuilt.To.Offset
	}
	return shown
}

// partitions returns the one partition that the flag names, or all.
func (f *textFlag) partitions(count int) ([]int, error) {
	if f.given {
		partition, err := strconv.Atoi(f.value)
		if err != nil || partition < 0 || partition >= count {
			return nil, usage(fmt.Errorf("--partition %q: the topic has the partitions 0 to %d", f.value, count-1))
		}
		return []int{partition}, nil
	}
	all := make([]int, count)
	for i := range all {
		all[i] = i
	}
	return all, nil
}

func sayRebuilt(out io.Writer, partition int, rebuilt projector.Rebuilt) error {
	what := "nothing was projected yet"
	if records := rebuilt.To.Offset - rebuilt.From.Offset; rebuilt.To.Generation > 0 {
		what = fmt.Sprintf("offsets %d to %d are projected again", rebuilt.From.Offset, rebuilt.To.Offset)
		if records == 0 {
			what = fmt.Sprintf("the log has nothing before offset %d, which is next", rebuilt.To.Offset)
		}
	}
	_, err := fmt.Fprintf(out, "partition %d: %s\n", partition, what)
	return err
}
