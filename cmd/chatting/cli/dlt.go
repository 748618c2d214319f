package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka/ingest"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

func newDeadLettersCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlt",
		Short: "Look at system messages that were not delivered, and deliver them again",
		Long: `Look at system messages from other programs that could not be delivered. They are in the topic of dead letters,
as they were written, with headers that say why.`,
		Example: `  chatting dlt list
  chatting dlt show --partition 3 --offset 17
  chatting dlt replay --code no_user_or_offline --since 1h`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newListCommand(s), newShowCommand(s), newReplayCommand(s))
	return cmd
}

func newListCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the oldest first",
		Long: `List dead letters, the oldest first, one a line: its place among the dead letters (partition/offset), when it
came there, why, how often it has failed, whom it is for, its length in bytes, and where it was first
written. The text is not shown.`,
		Example: `  chatting dlt list
  chatting dlt list --since 24h --code invalid_json
  chatting dlt list --target 7 --kafka-brokers k1:9092`,
	}
	letters := deadLetterFlags(cmd, s)
	asJSON := jsonFlag(cmd, "print each as a line of JSON, without its key, headers and value")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			if *asJSON {
				for _, l := range selected.letters {
					if err := printJSON(s.Out, letterJSONOf(l)); err != nil {
						return err
					}
				}
				return nil
			}
			return listLetters(s.Out, selected.letters)
		})
	}
	return cmd
}

// listLetters writes a table.
func listLetters(out io.Writer, letters []ingest.DeadLetter) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PLACE\tTIME\tCODE\tTIMES\tTARGET\tBYTES\tWRITTEN AT")
	for _, l := range letters {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", placeOf(l), stamp(l.Time), terminal.InLine(l.Code), l.Count, targetOf(l), sizeOf(l),
			terminal.InLine(fmt.Sprintf("%s %d/%d", l.Topic, l.FirstPartition, l.FirstOffset)))
	}
	return table.Flush()
}

func newShowCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show dead letters in full, with their text",
		Long: `Show dead letters in full: why each was not delivered, its key and headers, and its value. Characters that a
terminal could take for commands are escaped. --raw writes the value of exactly one unchanged, so that you can
correct it.`,
		Example: `  chatting dlt show --partition 3 --offset 17
  chatting dlt show --partition 3 --offset 17 --raw >value.json`,
	}
	letters := deadLetterFlags(cmd, s)
	raw := cmd.Flags().Bool("raw", false, "write only the value, unchanged")
	asJSON := jsonFlag(cmd, "print each as a line of JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *raw && *asJSON {
			return usage(errors.New("--raw and --json exclude each other"))
		}
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			if *raw {
				if err := selected.mustBeOne("--raw"); err != nil {
					return err
				}
			}
			return selected.each(cmd.Context(), func(l ingest.DeadLetter) error {
				if *asJSON {
					return printJSON(s.Out, letterJSONOf(l).inFull(l))
				}
				if !*raw {
					return showLetter(s.Out, l)
				}
				if l.LeftOut {
					return fmt.Errorf("%s: %w", placeOf(l), ingest.ErrLeftOut)
				}
				_, err := s.Out.Write(l.Value)
				return err
			})
		})
	}
	return cmd
}

// showLetter writes all of a letter.
func showLetter(out io.Writer, l ingest.DeadLetter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", placeOf(l), stamp(l.Time))
	fmt.Fprintf(&b, "  code     %s\n  reason   %s\n  times    %d\n", terminal.InLine(l.Code), terminal.InLine(l.Reason), l.Count)
	fmt.Fprintf(&b, "  written  %s %d/%d, %s\n", terminal.InLine(l.Topic), l.FirstPartition, l.FirstOffset, stamp(l.Written))
	fmt.Fprintf(&b, "  target   %s\n", targetOf(l))
	if l.Key != nil {
		fmt.Fprintf(&b, "  key      %s\n", terminal.InLine(string(l.Key)))
	}
	for _, h := range l.Headers {
		fmt.Fprintf(&b, "  header   %s: %s\n", terminal.InLine(h.Key), terminal.InLine(string(h.Value)))
	}
	switch {
	case l.LeftOut:
		fmt.Fprintf(&b, "  value    %s bytes, which are only where it was first written\n\n", sizeOf(l))
	case l.Value == nil:
		b.WriteString("  value    none\n\n")
	default:
		fmt.Fprintf(&b, "  value    %d bytes:\n%s\n\n", l.Size, terminal.Printable(l.Value))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func newReplayCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Deliver dead letters again",
		Long: `Write dead letters to the topic of system messages again, each under its old id. A connection that is still open
and has got one does not get it a second time. The server does not record which ones were replayed, so name
those that you mean. One that fails again becomes a new dead letter, with its count one higher.

--value replaces the value of exactly one letter by a file. The file has the whole value: for a CloudEvent in
structured mode, the event.`,
		Example: `  chatting dlt replay --code no_user_or_offline --since 1h --dry-run
  chatting dlt replay --partition 3 --offset 17
  chatting dlt replay --partition 3 --offset 17 --value value.json`,
	}
	letters := deadLetterFlags(cmd, s)
	dryRun := cmd.Flags().Bool("dry-run", false, "only list what would be replayed")
	all := cmd.Flags().Bool("all", false, "replay all dead letters, without a filter")
	file := addText(cmd, "value", "file", "", "a file with the new value, for exactly one letter")
	asJSON := jsonFlag(cmd, "print each outcome as a line of JSON, and a last line with their numbers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if letters.unfiltered() && !*all {
			return usage(errors.New("which ones? Say so with --code, --target, --since, --partition or --limit, or say --all"))
		}
		var value []byte
		if file.given {
			var err error
			if value, err = os.ReadFile(file.value); err != nil {
				return usage(fmt.Errorf("--value: %w", err))
			}
			value = append([]byte{}, value...) // not nil
		}
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			if file.given {
				if err := selected.mustBeOne("--value"); err != nil {
					return err
				}
			}
			replay := replay{s: s, selected: selected, value: value, dryRun: *dryRun, asJSON: *asJSON}
			return replay.run(cmd.Context())
		})
	}
	return cmd
}

func placeOf(l ingest.DeadLetter) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

func sizeOf(l ingest.DeadLetter) string {
	if l.Size < 0 {
		return "unknown"
	}
	return strconv.Itoa(l.Size)
}

func targetOf(l ingest.DeadLetter) string {
	if l.Target == domain.System {
		return "nobody known"
	}
	return "user " + l.Target.String()
}

// letterJSON is a dead letter as JSON. The fields from Key on are those of dlt show.
type letterJSON struct {
	Partition      int     `json:"partition"`
	Offset         int64   `json:"offset"`
	Time           string  `json:"time"`
	Code           string  `json:"code"`
	Reason         string  `json:"reason"`
	Times          int     `json:"times"`
	TargetID       int64   `json:"target_id,omitempty"` // absent if it is not known
	Bytes          int     `json:"bytes"`               // -1 if it is not known
	Topic          string  `json:"topic"`
	FirstPartition int     `json:"first_partition"`
	FirstOffset    int64   `json:"first_offset"`
	Written        string  `json:"written"`
	LeftOut        bool    `json:"left_out,omitempty"` // the value is only where it was first written
	Key            *string `json:"key,omitempty"`
	KeyBase64      string  `json:"key_base64,omitempty"`
	Value          *string `json:"value,omitempty"`
	ValueBase64    string  `json:"value_base64,omitempty"`

	Headers [][2]string `json:"headers,omitempty"`
}

func letterJSONOf(l ingest.DeadLetter) letterJSON {
	return letterJSON{
		Partition: l.Partition, Offset: l.Offset, Time: stamp(l.Time), Code: l.Code, Reason: l.Reason, Times: l.Count,
		TargetID: int64(l.Target), Bytes: l.Size, Topic: l.Topic, FirstPartition: l.FirstPartition, FirstOffset: l.FirstOffset,
		Written: stamp(l.Written), LeftOut: l.LeftOut,
	}
}

// inFull adds what dlt list does not show.
func (j letterJSON) inFull(l ingest.DeadLetter) letterJSON {
	j.Key, j.KeyBase64 = asText(l.Key)
	j.Value, j.ValueBase64 = asText(l.Value)
	for _, h := range l.Headers {
		j.Headers = append(j.Headers, [2]string{h.Key, string(h.Value)})
	}
	return j
}
