package cli

import (
	"context"
	"errors"
	"fmt"

	"chatting/adapters/kafka/ingest"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/logging"
	"chatting/cmd/chatting/terminal"
)

// replay writes dead letters to their topic again.
type replay struct {
	s              Process
	selected       *selectedLetters
	value          []byte // in the place of the letter's own; nil for that
	dryRun, asJSON bool

	progress          *terminal.Progress
	replayed, leftOut int
}

// replayJSON is the outcome of one letter.
type replayJSON struct {
	letterJSON

	Outcome string `json:"outcome"` // replayed, left_out or would_replay
}

// run replays the letters, or says which it would.
func (r *replay) run(ctx context.Context) error {
	r.progress = terminal.NewProgress(r.s.Err, r.asJSON)
	defer r.progress.Clear()
	if r.dryRun {
		for _, l := range r.selected.letters {
			line := fmt.Sprintf("would replay %s (%s, for %s)", placeOf(l), terminal.InLine(l.Code), targetOf(l))
			if err := r.say(l, "would_replay", line); err != nil {
				return err
			}
		}
		return r.sum("would_replay", len(r.selected.letters), fmt.Sprintf("would replay %d", len(r.selected.letters)))
	}
	replayer := r.selected.source.Replayer(logging.New(r.selected.config.Log, r.s.Err))
	defer replayer.Close(ctx)
	err := r.selected.each(ctx, func(l ingest.DeadLetter) error {
		r.progress.Show("replaying: %d of %d", r.replayed+r.leftOut, len(r.selected.letters))
		switch err := replayer.Replay(ctx, l, r.value); {
		case errors.Is(err, ingest.ErrLeftOut):
			r.leftOut++
			return r.say(l, "left_out", fmt.Sprintf("left out %s: %v", placeOf(l), err))
		case err != nil:
			return fmt.Errorf("replaying %s: %w", placeOf(l), err)
		}
		r.replayed++
		return r.say(l, "replayed", fmt.Sprintf("replayed %s (%s, for %s)", placeOf(l), terminal.InLine(l.Code), targetOf(l)))
	})
	r.progress.Clear()
	// How many were replayed is told also when the command fails: they are.
	err = errors.Join(err, r.sum("replayed", r.replayed, fmt.Sprintf("replayed %d", r.replayed)))
	if err == nil && r.leftOut > 0 {
		err = exit.With(exit.Findings, fmt.Errorf("%d were left out", r.leftOut))
	}
	return err
}

// say tells what became of a letter.
func (r *replay) say(l ingest.DeadLetter, outcome, line string) error {
	r.progress.Clear()
	if r.asJSON {
		return printJSON(r.s.Out, replayJSON{letterJSONOf(l), outcome})
	}
	_, err := fmt.Fprintln(r.s.Out, line)
	return err
}

// sum tells how many there were.
func (r *replay) sum(outcome string, n int, line string) error {
	if !r.asJSON {
		_, err := fmt.Fprintln(r.s.Out, line)
		return err
	}
	return printJSON(r.s.Out, map[string]int{outcome: n, "left_out": r.leftOut})
}
