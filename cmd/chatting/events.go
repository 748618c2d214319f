package main

import (
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
	"chatting/configs"
	"chatting/domain"
)

func newEventsCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Look at what the servers log",
		Long: `Look at the topics in Kafka that every event goes through, those of the broker inside a running server included.
docs/events.md says what the events are.`,
		Example: `  chatting events tail
  chatting events tail --user 7 --since 1h --end`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTailCommand(s))
	return cmd
}

func newTailCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Show events as they are logged",
		Long: `Show events as they are logged, one a line, until interrupted. What was logged before is shown from --since on;
with --end alone, everything is. What passes all filters is shown. Events of one pair of users, and those of one
user's presence, come in their order; others need not.

A line has the time, the topic, partition:offset, the type, who did it -> to whom, and what. Characters that a
terminal could take for commands are escaped. As JSON, a line is an object with topic, partition, offset, timestamp,
key and event; of a record that is no event, event is null, and value and headers are there instead.

Records of transactions are shown once they are committed. What cannot be read is left out, and said on standard error.`,
		Example: `  chatting events tail
  chatting events tail --user 7 --type chat_message,invite_game --since 24h --end
  chatting events tail --topic presence --format json --kafka-brokers k1:9092 | jq .event.data`,
	}
	load := configFlags(cmd, s, kafkaFlags...)
	flags := tailFlags{}
	for _, f := range []struct {
		flag      *textFlag
		name, doc string
	}{
		{&flags.topics, "topic", "the topics, by their names with or without the prefix"},
		{&flags.user, "user", "only events that this user did, or that are for or about it"},
		{&flags.types, "type", "only events of these types, such as chat_message"},
		{&flags.since, "since", "only what was logged since: 90m ago, or 2026-01-02T15:04:05Z"},
		{&flags.format, "format", "how a record is shown"},
	} {
		cmd.Flags().Var(f.flag, f.name, f.doc)
	}
	flags.topics = textFlag{unit: "list of names", value: "conversations,presence"}
	flags.user.unit, flags.types.unit, flags.since.unit = "id", "list of types", "time"
	flags.format = textFlag{unit: "text or json", value: formatText}
	cmd.Flags().Lookup("topic").DefValue, cmd.Flags().Lookup("format").DefValue = flags.topics.value, flags.format.value
	end := cmd.Flags().Bool("end", false, "leave where the topics end now")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		t, err := flags.read(cfg, time.Now())
		if err != nil {
			return err
		}
		t.out, t.follow, t.notes = s.out, !*end, s.err
		if err := t.run(cmd.Context(), cfg); cmd.Context().Err() == nil {
			return err
		}
		return nil // to be interrupted is how a tail ends
	}
	return cmd
}

// The forms in which a record is shown.
const (
	formatText = "text"
	formatJSON = "json"
)

// tailFlags are what the command line says.
type tailFlags struct {
	topics, user, types, since, format textFlag
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
	if f.user.given {
		if t.filter.user, err = domain.ParseUserID(f.user.value); err != nil {
			return nil, fmt.Errorf("--user %q: %w", f.user.value, err)
		}
	}
	if f.types.given {
		if t.filter.types, err = readTypes(f.types.value); err != nil {
			return nil, fmt.Errorf("--type %q: %w", f.types.value, err)
		}
	}
	if f.since.given {
		if t.since, err = parseSince(f.since.value, now); err != nil {
			return nil, fmt.Errorf("--since %q: %w", f.since.value, err)
		}
		if t.since.After(now) {
			return nil, fmt.Errorf("--since %q: that is in the future", f.since.value)
		}
	}
	switch f.format.value {
	case formatText:
		t.render = func(r seenRecord) string { return r.line(cfg.TopicPrefix) }
	case formatJSON:
		t.render = seenRecord.json
	default:
		return nil, fmt.Errorf("--format %q: it is %s or %s", f.format.value, formatText, formatJSON)
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
			return nil, fmt.Errorf("--topic %q: the topics are %s", f.topics.value, strings.Join(short, ", "))
		}
		if !slices.Contains(topics, name) {
			topics = append(topics, name)
		}
	}
	return topics, nil
}

// run shows what is wanted of all topics until there is no more, ctx ends, or one of them cannot be read.
func (t *tail) run(ctx context.Context, cfg configs.Config) error {
	cluster, err := dialKafka(ctx, cfg, t.topics...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	logger := newLogger(cfg.Log, t.notes)
	ended := make(chan error, len(t.topics))
	for _, topic := range t.topics {
		reading := kafka.TopicReading{
			Topic: topic, Since: t.since, OnlyNew: t.follow && t.since.IsZero(), Follow: t.follow, Logger: logger,
		}
		go func() {
			ended <- cluster.ReadTopic(ctx, reading, func(r *kafka.TailRecord) error { return t.show(topic, r) })
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
func (t *tail) show(topic string, r *kafka.TailRecord) error {
	seen := see(topic, r)
	if !t.filter.passes(seen) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := io.WriteString(t.out, t.render(seen)+"\n")
	return err
}
