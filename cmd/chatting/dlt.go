package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka"
	"chatting/domain"
)

func newDeadLettersCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlt",
		Short: "Look at system messages that were not delivered, and deliver them again",
		Long: `Look at what other programs wrote to the topic of system messages and what could not be delivered: it is in
the topic of dead letters, as it was written, with headers that say why.`,
		Example: `  chatting dlt list
  chatting dlt show --partition 3 --offset 17
  chatting dlt replay --code no_user_or_offline --since 1h`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newListCommand(s), newShowCommand(s), newReplayCommand(s))
	return cmd
}

func newListCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, the oldest first",
		Long: `List dead letters, the oldest first, one a line: place among the dead letters (partition/offset), when it
came there, why, how often it has failed, whom it is for, its length in bytes, and where it was first
written. What it says is not shown.`,
		Example: `  chatting dlt list
  chatting dlt list --since 24h --code invalid_json
  chatting dlt list --target 7 --kafka-brokers k1:9092`,
	}
	letters := deadLetterFlags(cmd, s)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			return listLetters(s.out, selected.letters)
		})
	}
	return cmd
}

// listLetters writes a table.
func listLetters(out io.Writer, letters []kafka.DeadLetter) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PLACE\tTIME\tCODE\tTIMES\tTARGET\tBYTES\tWRITTEN AT")
	for _, l := range letters {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", placeOf(l), stamp(l.Time), inLine(l.Code), l.Count, targetOf(l), sizeOf(l),
			inLine(fmt.Sprintf("%s %d/%d", l.Topic, l.FirstPartition, l.FirstOffset)))
	}
	return table.Flush()
}

func newShowCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show dead letters in full, with what they say",
		Long: `Show dead letters in full: why each was not delivered, its key and headers, and its value. Characters that a
terminal could take for commands are escaped; --raw writes the value of exactly one as it is, to be mended.`,
		Example: `  chatting dlt show --partition 3 --offset 17
  chatting dlt show --partition 3 --offset 17 --raw >value.json`,
	}
	letters := deadLetterFlags(cmd, s)
	raw := cmd.Flags().Bool("raw", false, "write nothing but the value, as it is")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			if *raw {
				if err := selected.mustBeOne("--raw"); err != nil {
					return err
				}
			}
			return selected.each(cmd.Context(), func(l kafka.DeadLetter) error {
				if !*raw {
					return showLetter(s.out, l)
				}
				if l.LeftOut {
					return fmt.Errorf("%s: %w", placeOf(l), kafka.ErrLeftOut)
				}
				_, err := s.out.Write(l.Value)
				return err
			})
		})
	}
	return cmd
}

// showLetter writes all of a letter.
func showLetter(out io.Writer, l kafka.DeadLetter) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", placeOf(l), stamp(l.Time))
	fmt.Fprintf(&b, "  code     %s\n  reason   %s\n  times    %d\n", inLine(l.Code), inLine(l.Reason), l.Count)
	fmt.Fprintf(&b, "  written  %s %d/%d, %s\n", inLine(l.Topic), l.FirstPartition, l.FirstOffset, stamp(l.Written))
	fmt.Fprintf(&b, "  target   %s\n", targetOf(l))
	if l.Key != nil {
		fmt.Fprintf(&b, "  key      %s\n", inLine(string(l.Key)))
	}
	for _, h := range l.Headers {
		fmt.Fprintf(&b, "  header   %s: %s\n", inLine(h.Key), inLine(string(h.Value)))
	}
	switch {
	case l.LeftOut:
		fmt.Fprintf(&b, "  value    %s bytes, which are only where it was first written\n\n", sizeOf(l))
	case l.Value == nil:
		b.WriteString("  value    none\n\n")
	default:
		fmt.Fprintf(&b, "  value    %d bytes:\n%s\n\n", l.Size, printable(l.Value))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func newReplayCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Deliver dead letters again",
		Long: `Write dead letters to the topic of system messages again, each under the id that it had: whoever got it on
a connection that is still open does not get it a second time. Which of them have been replayed is not
noted: say which are meant. One that fails again is a new dead letter, with its count one higher.

Exactly one letter may be given another value from a file: the whole of it, so of a CloudEvent in
structured mode the event.`,
		Example: `  chatting dlt replay --code no_user_or_offline --since 1h --dry-run
  chatting dlt replay --partition 3 --offset 17
  chatting dlt replay --partition 3 --offset 17 --value value.json`,
	}
	letters := deadLetterFlags(cmd, s)
	dryRun := cmd.Flags().Bool("dry-run", false, "only say which would be replayed")
	all := cmd.Flags().Bool("all", false, "replay all there are, without a filter")
	file := &textFlag{unit: "file"}
	cmd.Flags().Var(file, "value", "what to say instead, for exactly one letter")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if letters.unfiltered() && !*all {
			return errors.New("which ones? Say so with --code, --target, --since, --partition or --limit, or say --all")
		}
		var value []byte
		if file.given {
			var err error
			if value, err = os.ReadFile(file.value); err != nil {
				return fmt.Errorf("--value: %w", err)
			}
			value = append([]byte{}, value...) // not nil
		}
		return letters.with(cmd.Context(), func(selected *selectedLetters) error {
			if file.given {
				if err := selected.mustBeOne("--value"); err != nil {
					return err
				}
			}
			return replayLetters(cmd.Context(), s, selected, value, *dryRun)
		})
	}
	return cmd
}

func replayLetters(ctx context.Context, s surroundings, selected *selectedLetters, value []byte, dryRun bool) error {
	if dryRun {
		for _, l := range selected.letters {
			fmt.Fprintf(s.out, "would replay %s (%s, for %s)\n", placeOf(l), inLine(l.Code), targetOf(l))
		}
		_, err := fmt.Fprintf(s.out, "would replay %d\n", len(selected.letters))
		return err
	}
	replayer := selected.source.Replayer(newLogger(selected.config.Log, s.err))
	defer replayer.Close(ctx)
	replayed, skipped := 0, 0
	err := selected.each(ctx, func(l kafka.DeadLetter) error {
		switch err := replayer.Replay(ctx, l, value); {
		case errors.Is(err, kafka.ErrLeftOut):
			skipped++
			fmt.Fprintf(s.out, "left out %s: %v\n", placeOf(l), err)
			return nil
		case err != nil:
			return fmt.Errorf("replaying %s: %w", placeOf(l), err)
		}
		replayed++
		_, err := fmt.Fprintf(s.out, "replayed %s (%s, for %s)\n", placeOf(l), inLine(l.Code), targetOf(l))
		return err
	})
	fmt.Fprintf(s.out, "replayed %d\n", replayed)
	if err == nil && skipped > 0 {
		err = fmt.Errorf("%d were left out", skipped)
	}
	return err
}

func placeOf(l kafka.DeadLetter) string { return fmt.Sprintf("%d/%d", l.Partition, l.Offset) }

func sizeOf(l kafka.DeadLetter) string {
	if l.Size < 0 {
		return "unknown"
	}
	return strconv.Itoa(l.Size)
}

func targetOf(l kafka.DeadLetter) string {
	if l.Target == domain.System {
		return "nobody known"
	}
	return "user " + l.Target.String()
}

func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// inLine returns text as a terminal may see it within a line: what is no text, and what could be taken for commands, is
// escaped.
func inLine(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}
