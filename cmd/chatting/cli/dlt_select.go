package cli

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
	"chatting/adapters/kafka/ingest"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/logging"
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
func deadLetterFlags(cmd *cobra.Command, s Process) *deadLetterSelection {
	d := &deadLetterSelection{load: configFlags(cmd, s, kafkaFlags...), values: map[string]*textFlag{}, notes: s.Err}
	for _, f := range []struct{ name, unit, doc string }{
		{"code", "code", "only those with this code, such as invalid_json"},
		{"target", "id", "only those for this user"},
		{"since", "time", "only those since this time: 90m (ago), or 2026-01-02T15:04:05Z"},
		{"partition", "number", "only those in this partition of the dead letters"},
		{"offset", "number", "only the one at this offset, with --partition"},
		{"limit", "number", "at most this many, the oldest first"},
	} {
		d.values[f.name] = addText(cmd, f.name, f.unit, "", f.doc)
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

// filter reads the flags. limit is 0 if there is none.
func (d *deadLetterSelection) filter(now time.Time) (filter ingest.DeadLetterFilter, limit int, err error) {
	var partition, offset, most int64
	if err := cmp.Or(
		read(d.values["code"], &filter.Code, parseCode),
		read(d.values["target"], &filter.Target, domain.ParseUserID),
		read(d.values["since"], &filter.Since, func(text string) (time.Time, error) { return parseSince(text, now) }),
		read(d.values["partition"], &partition, number(0, 32)),
		read(d.values["offset"], &offset, number(0, 64)),
		read(d.values["limit"], &most, number(1, 32)),
	); err != nil {
		return filter, 0, err
	}
	if d.values["partition"].given {
		own := int(partition)
		filter.Partition = &own
	}
	if d.values["offset"].given {
		if filter.Partition == nil {
			return filter, 0, usage(errors.New("--offset: of which partition? Say --partition, too"))
		}
		filter.Offset = &offset
	}
	return filter, int(most), nil
}

func parseCode(text string) (string, error) {
	code := "chatting." + strings.TrimPrefix(text, "chatting.")
	if known := ingest.DeadLetterCodes(); !slices.Contains(known, code) {
		return "", errors.New("the codes are " + strings.Join(known, ", "))
	}
	return code, nil
}

// number parses a number of so many bits.
func number(least int64, bits int) func(text string) (int64, error) {
	return func(text string) (int64, error) {
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil || n < least {
			return 0, fmt.Errorf("it is a number from %d on", least)
		}
		return n, nil
	}
}

// selectedLetters are the dead letters that a command is about.
type selectedLetters struct {
	config  configs.Config
	source  *ingest.DeadLetterTopic
	filter  ingest.DeadLetterFilter
	letters []ingest.DeadLetter // without their values, keys and headers; the oldest first
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
	cluster, err := installation.Dial(ctx, config, names.SystemMessages, names.DeadLetters)
	if err != nil {
		return err
	}
	defer cluster.Close()
	source, err := ingest.OpenDeadLetterTopic(ctx, cluster, names, logging.New(config.Log, d.notes))
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
	err := s.source.Each(ctx, s.filter, func(l ingest.DeadLetter) error {
		l.Key, l.Value, l.Headers = nil, nil, nil
		s.letters = append(s.letters, l)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortStableFunc(s.letters, func(a, b ingest.DeadLetter) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	if limit > 0 && len(s.letters) > limit {
		s.letters = s.letters[:limit]
	}
	return nil
}

// each reads the letters in full, those of a partition in their order. It skips letters that came since they were found.
func (s *selectedLetters) each(ctx context.Context, do func(ingest.DeadLetter) error) error {
	meant := make(map[string]bool, len(s.letters))
	for _, l := range s.letters {
		meant[placeOf(l)] = true
	}
	return s.source.Each(ctx, s.filter, func(l ingest.DeadLetter) error {
		if !meant[placeOf(l)] {
			return nil
		}
		return do(l)
	})
}

// mustBeOne refuses a flag that is for one letter if more or none are selected.
func (s *selectedLetters) mustBeOne(flag string) error {
	if len(s.letters) != 1 {
		return usage(fmt.Errorf("%s is for exactly one dead letter, not for %d: say which with --partition and --offset", flag, len(s.letters)))
	}
	return nil
}
