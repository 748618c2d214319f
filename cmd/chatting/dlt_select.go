package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/kafka"
	"chatting/configs"
	"chatting/domain"
)

// deadLetterSelection is what the flags say of which letters are meant.
type deadLetterSelection struct {
	load   func() (configs.Config, error)
	values map[string]*textFlag
	notes  io.Writer // where it is said what cannot be read
}

// deadLetterFlags adds the flags that every command about dead letters has.
func deadLetterFlags(cmd *cobra.Command, s surroundings) *deadLetterSelection {
	d := &deadLetterSelection{load: configFlags(cmd, s, kafkaFlags...), values: map[string]*textFlag{}, notes: s.err}
	for _, f := range []struct{ name, unit, doc string }{
		{"code", "code", "only those of this code, such as invalid_json"},
		{"target", "id", "only those for this user"},
		{"since", "time", "only those that came since: 90m ago, or 2026-01-02T15:04:05Z"},
		{"partition", "number", "only those of this partition of the dead letters"},
		{"offset", "number", "only the one at this offset, with --partition"},
		{"limit", "number", "no more than so many, the oldest"},
	} {
		d.values[f.name] = &textFlag{unit: f.unit}
		cmd.Flags().Var(d.values[f.name], f.name, f.doc)
	}
	return d
}

// unfiltered tells whether all letters are meant.
func (d *deadLetterSelection) unfiltered() bool {
	for _, flag := range d.values {
		if flag.given {
			return false
		}
	}
	return true
}

// filter reads the flags. limit is 0 where there is none.
func (d *deadLetterSelection) filter(now time.Time) (filter kafka.DeadLetterFilter, limit int, err error) {
	wrong := func(name, complaint string) error {
		return fmt.Errorf("--%s %q: %s", name, d.values[name].value, complaint)
	}
	if code := d.values["code"]; code.given {
		filter.Code = "chatting." + strings.TrimPrefix(code.value, "chatting.")
		if !slices.Contains(kafka.DeadLetterCodes(), filter.Code) {
			return filter, 0, wrong("code", "the codes are "+strings.Join(kafka.DeadLetterCodes(), ", "))
		}
	}
	if target := d.values["target"]; target.given {
		if filter.Target, err = domain.ParseUserID(target.value); err != nil {
			return filter, 0, wrong("target", err.Error())
		}
	}
	if since := d.values["since"]; since.given {
		if filter.Since, err = parseSince(since.value, now); err != nil {
			return filter, 0, wrong("since", err.Error())
		}
	}
	number := func(name string, least int64) (n int64, err error) {
		n, err = strconv.ParseInt(d.values[name].value, 10, 32)
		if name == "offset" {
			n, err = strconv.ParseInt(d.values[name].value, 10, 64)
		}
		if err != nil || n < least {
			return 0, wrong(name, fmt.Sprintf("it is a number from %d on", least))
		}
		return n, nil
	}
	if d.values["partition"].given {
		n, err := number("partition", 0)
		if err != nil {
			return filter, 0, err
		}
		partition := int(n)
		filter.Partition = &partition
	}
	if d.values["offset"].given {
		n, err := number("offset", 0)
		if err != nil {
			return filter, 0, err
		}
		if filter.Partition == nil {
			return filter, 0, errors.New("--offset: of which partition? Say --partition, too")
		}
		filter.Offset = &n
	}
	if d.values["limit"].given {
		n, err := number("limit", 1)
		if err != nil {
			return filter, 0, err
		}
		limit = int(n)
	}
	return filter, limit, nil
}

// parseSince reads a time, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("write 90m or 24h, or a time such as 2026-01-02T15:04:05Z")
	}
	return at, nil
}

// selectedLetters are the dead letters that a command is about.
type selectedLetters struct {
	config  configs.Config
	source  *kafka.DeadLetters
	filter  kafka.DeadLetterFilter
	letters []kafka.DeadLetter // without their values, keys and headers; the oldest first
}

// with finds the letters that are meant and calls use with them.
func (d *deadLetterSelection) with(ctx context.Context, use func(*selectedLetters) error) error {
	filter, limit, err := d.filter(time.Now())
	if err != nil {
		return err
	}
	config, err := d.load()
	if err != nil {
		return err
	}
	names := kafka.NamesFor(config.TopicPrefix)
	cluster, err := dialKafka(ctx, config, names.SystemMessages, names.DeadLetters)
	if err != nil {
		return err
	}
	defer cluster.Close()
	source, err := kafka.OpenDeadLetters(ctx, cluster, names, newLogger(config.Log, d.notes))
	if err != nil {
		return err
	}
	selected := &selectedLetters{config: config, source: source, filter: filter}
	if err := selected.find(ctx, limit); err != nil {
		return err
	}
	return use(selected)
}

// find notes the letters that match.
func (s *selectedLetters) find(ctx context.Context, limit int) error {
	err := s.source.Each(ctx, s.filter, func(l kafka.DeadLetter) error {
		l.Key, l.Value, l.Headers = nil, nil, nil
		s.letters = append(s.letters, l)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(s.letters, func(a, b kafka.DeadLetter) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	if limit > 0 && len(s.letters) > limit {
		s.letters = s.letters[:limit]
	}
	return nil
}

// each reads the letters whole, those of a partition in their order. What came since they were found is none of them.
func (s *selectedLetters) each(ctx context.Context, do func(kafka.DeadLetter) error) error {
	meant := make(map[string]bool, len(s.letters))
	for _, l := range s.letters {
		meant[placeOf(l)] = true
	}
	return s.source.Each(ctx, s.filter, func(l kafka.DeadLetter) error {
		if !meant[placeOf(l)] {
			return nil
		}
		return do(l)
	})
}

// mustBeOne refuses a flag that is for one letter where more or none are meant.
func (s *selectedLetters) mustBeOne(flag string) error {
	if len(s.letters) != 1 {
		return fmt.Errorf("%s is for exactly one dead letter, not for %d: say which with --partition and --offset", flag, len(s.letters))
	}
	return nil
}
