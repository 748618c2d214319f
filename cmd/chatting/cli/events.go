package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
	"chatting/configs"
	"chatting/domain"
)

func newEventsCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Look at the events in Kafka",
		Long: `Look at the topics in Kafka that every event goes through. This works with the broker inside a running server too.
docs/events.md describes the events.`,
		Example: `  chatting events tail
  chatting events tail --user 7 --since 1h --end`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTailCommand(s))
	return cmd
}

func newTailCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they come",
		Long: `Show events as they come, one a line, until interrupted. --since adds earlier events from that time on, and --end
without --since adds all. An event is shown if it passes all filters. Events of two users are in order, and so are
those of one user's presence. Other events may come in any order.

A line has the time, the topic, partition:offset, the type, who did it -> to whom, and what. Characters that a
terminal could take for commands are escaped. As JSON, a line is an object with topic, partition, offset, timestamp,
key and event. If a record is not an event, event is null, and the object has value and headers instead.

Records of transactions are shown once they are committed. Records that cannot be read are left out, and reported on
standard error.`,
		Example: `  chatting events tail
  chatting events tail --user 7 --type chat_message,invite_game --since 24h --end
  chatting events tail --topic presence --format json --kafka-brokers k1:9092 | jq .event.data`,
	}
	flags := tailFlags{
		topics: addText(cmd, "topic", "list of names", "conversations,presence", "the topics, with or without the prefix of their names"),
		user:   addText(cmd, "user", "id", "", "only events by, for or about this user"),
		types:  addText(cmd, "type", "list of types", "", "only events of these types, such as chat_message"),
		since:  addText(cmd, "since", "time", "", "only events since this time: 90m (ago), or 2026-01-02T15:04:05Z"),
		format: addText(cmd, "format", "text or json", formatText, "how a record is shown"),
	}
	end := cmd.Flags().Bool("end", false, "end where the topics end now")
	flags.asJSON = jsonFlag(cmd, "the same as --format json")
	withConfig(cmd, s, kafkaFlags, func(ctx context.Context, cfg configs.Config) error {
		t, err := flags.read(cfg, time.Now())
		if err != nil {
			return err
		}
		t.out, t.follow, t.notes = s.Out, !*end, s.Err
		if err := t.run(ctx, cfg); ctx.Err() == nil {
			return err
		}
		return nil // an interrupt is how a tail ends
	})
	return cmd
}

// The forms in which a record is shown.
const (
	formatText = "text"
	formatJSON = "json"
)

// tailFlags are what the command line says.
type tailFlags struct {
	topics, user, types, since, format *textFlag
	asJSON                             *bool
}

// tail shows records.
type tail struct {
	topics []string
	filter eventFilter
	since  time.Time // zero: not said
	follow bool
	render func(seenRecord) string
	notes  io.Writer

	mu  sync.Mutex
	out io.Writer
}

// read checks the flags.
func (f *tailFlags) read(cfg configs.Config, now time.Time) (*tail, error) {
	t := &tail{}
	var err error
	if t.topics, err = f.readTopics(kafka.NamesFor(cfg.TopicPrefix).All(), cfg.TopicPrefix); err != nil {
		return nil, err
	}
	since := func(text string) (time.Time, error) {
		at, err := parseSince(text, now)
		if err == nil && at.After(now) {
			err = errors.New("that is in the future")
		}
		return at, err
	}
	if err := cmp.Or(
		read(f.user, &t.filter.user, domain.ParseUserID), read(f.types, &t.filter.types, readTypes), read(f.since, &t.since, since),
	); err != nil {
		return nil, err
	}
	format := f.format.value
	if *f.asJSON {
		if f.format.given && format != formatJSON {
			return nil, usage(errors.New("--json and --format " + formatText + " exclude each other"))
		}
		format = formatJSON
	}
	switch format {
	case formatText:
		t.render = func(r seenRecord) string { return r.line(cfg.TopicPrefix) }
	case formatJSON:
		t.render = seenRecord.json
	default:
		return nil, usage(fmt.Errorf("--format %q: it is %s or %s", f.format.value, formatText, formatJSON))
	}
	return t, nil
}

// readTopics returns the whole names of the topics that are meant, each once.
func (f *tailFlags) readTopics(known []string, prefix string) ([]string, error) {
	var topics []string
	for name := range strings.SplitSeq(f.topics.value, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			name = prefix + "." + name
		}
		if !slices.Contains(known, name) {
			var short []string
			for _, topic := range known {
				short = append(short, strings.TrimPrefix(topic, prefix+"."))
			}
			return nil, usage(fmt.Errorf("--topic %q: the topics are %s", f.topics.value, strings.Join(short, ", ")))
		}
		if !slices.Contains(topics, name) {
			topics = append(topics, name)
		}
	}
	return topics, nil
}

// run shows records of all topics until their end, until ctx ends, or until one of them cannot be read.
func (t *tail) run(ctx context.Context, cfg configs.Config) error {
	cluster, err := installation.Dial(ctx, cfg, t.topics...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	logger := logging.New(cfg.Log, t.notes)
	ended := make(chan error, len(t.topics))
	for _, topic := range t.topics {
		reading := logclient.TopicReading{
			Topic: topic, Since: t.since, OnlyNew: t.follow && t.since.IsZero(), Follow: t.follow, Logger: logger,
		}
		go func() {
			ended <- logclient.ReadTopic(ctx, cluster, reading, func(r *recordbatch.StoredRecord) error { return t.show(topic, r) })
		}()
	}
	var failed error
	for range t.topics {
		if err := <-ended; err != nil {
			failed = errors.Join(failed, err)
			stop()
		}
	}
	return failed
}

// show writes a record that passes the filter.
func (t *tail) show(topic string, r *recordbatch.StoredRecord) error {
	seen := see(topic, r)
	if !t.filter.passes(seen) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := io.WriteString(t.out, t.render(seen)+"\n")
	return err
}
