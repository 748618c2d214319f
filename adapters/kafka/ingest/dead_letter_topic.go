package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/domain"
)

// DeadLetter is a record that was not delivered, as operators see it.
type DeadLetter struct {
	// Partition and Offset are its place among the dead letters, Time when it came there.
	Partition int
	Offset    int64
	Time      time.Time

	// Code is why: one of DeadLetterCodes. Reason is a sentence that says more.
	Code, Reason string
	// Count is how often it was not delivered.
	Count int
	// Target is whom it is for; domain.System where that cannot be told.
	Target domain.UserID
	// Size is the length of its value, in bytes; -1 if that is unknown.
	Size int
	// LeftOut tells that the value is not in it, because it would not have fit.
	LeftOut bool

	// Topic, FirstPartition and FirstOffset are where it was first written, Written when.
	Topic          string
	FirstPartition int
	FirstOffset    int64
	Written        time.Time

	// Key and Value are as they were written; nil where there were none. Headers are those of a dead letter, too.
	Key, Value []byte
	Headers    []kafkago.Header
}

// DeadLetterFilter says which dead letters are meant. The zero value of each field means all.
type DeadLetterFilter struct {
	Code   string
	Target domain.UserID
	Since  time.Time
	// Partition and Offset are those of the place.
	Partition *int
	Offset    *int64
}

func (f DeadLetterFilter) matches(l DeadLetter) bool {
	return (f.Code == "" || f.Code == l.Code) && (f.Target == 0 || f.Target == l.Target) && !l.Time.Before(f.Since)
}

// DeadLetterTopic has the dead letters of one installation.
type DeadLetterTopic struct {
	cluster *logclient.Cluster
	names   kafka.TopicNames
	// partitions of the topics of system messages and of dead letters
	partitions, graves int
	logger             *slog.Logger
}

// deadLettersTimeout bounds asking where the topic begins and ends.
const deadLettersTimeout = 15 * time.Second

// OpenDeadLetterTopic finds the topics of an installation. The logger is told what cannot be read.
func OpenDeadLetterTopic(
	ctx context.Context, cluster *logclient.Cluster, names kafka.TopicNames, logger *slog.Logger,
) (*DeadLetterTopic, error) {
	ctx, cancel := context.WithTimeout(ctx, deadLettersTimeout)
	defer cancel()
	d := &DeadLetterTopic{cluster: cluster, names: names, logger: logger}
	var err error
	if d.partitions, err = cluster.Partitions(ctx, names.SystemMessages); err != nil {
		return nil, err
	}
	if d.graves, err = cluster.Partitions(ctx, names.DeadLetters); err != nil {
		return nil, err
	}
	return d, nil
}

// Each hands over the dead letters that are there now and match, those of a partition in their order, until take fails.
func (d *DeadLetterTopic) Each(ctx context.Context, filter DeadLetterFilter, take func(DeadLetter) error) error {
	from, to, err := d.bounds(ctx, filter)
	if err != nil {
		return err
	}
	options := logclient.TailOptions{Topic: d.names.DeadLetters, From: from, Logger: d.logger, MaxBatch: logclient.MaxForeignBatch}
	return logclient.Scan(ctx, d.cluster, options, to, func(r *recordbatch.StoredRecord) error {
		record := copyRecord(d.names.DeadLetters, r)
		if letter := describe(&record); filter.matches(letter) {
			return take(letter)
		}
		return nil
	})
}

// bounds returns from where to where a filter has to look.
func (d *DeadLetterTopic) bounds(ctx context.Context, filter DeadLetterFilter) (from, to map[int]int64, err error) {
	numbers := logclient.PartitionNumbers(d.graves)
	if filter.Partition != nil {
		if *filter.Partition < 0 || *filter.Partition >= d.graves {
			return nil, nil, fmt.Errorf("%s has the partitions 0 to %d", d.names.DeadLetters, d.graves-1)
		}
		numbers = []int{*filter.Partition}
	}
	ctx, cancel := context.WithTimeout(ctx, deadLettersTimeout)
	defer cancel()
	if err := logclient.CheckReadable(ctx, d.cluster, d.names.DeadLetters, 0); err != nil {
		return nil, nil, err
	}
	start := logclient.Start
	if !filter.Since.IsZero() {
		start = logclient.Since(filter.Since)
	}
	starts, ends, err := d.cluster.Bounds(ctx, d.names.DeadLetters, numbers, start, logclient.ReadableEnd)
	if err != nil {
		return nil, nil, err
	}
	from, to = make(map[int]int64), make(map[int]int64)
	for i, partition := range numbers {
		from[partition], to[partition] = starts[i], ends[i]
		if filter.Offset != nil {
			from[partition], to[partition] = max(starts[i], *filter.Offset), min(ends[i], *filter.Offset+1)
		}
	}
	return from, to, nil
}

// describe reads a record of the topic of dead letters, whoever wrote it.
func describe(r *foreignRecord) DeadLetter {
	first := r.origin()
	letter := DeadLetter{
		Partition: r.partition, Offset: r.offset, Time: r.time, Count: r.failures(), Size: len(r.value), Target: r.target(),
		Topic: first.topic, FirstPartition: first.partition, FirstOffset: first.offset, Written: time.UnixMilli(first.millis),
		Key: r.key, Value: r.value, Headers: append(r.headers, r.leftOut...),
	}
	letter.Code, _ = r.header(headerCode)
	letter.Reason, _ = r.header(headerSentence)
	if _, leftOut := r.header(headerLeftOut); leftOut {
		letter.LeftOut, letter.Size = true, int(r.number(headerLeftOut, 63))
	}
	if len(r.leftOut) > 0 { // it is none of ours
		letter.LeftOut, letter.Size = true, int(r.size)
	}
	return letter
}

// target returns whom a record is for, if that can be told; else domain.System.
func (r *foreignRecord) target() domain.UserID {
	if len(r.value) > maxForeignValue {
		return domain.System
	}
	_, body, refused := r.open()
	if refused != nil {
		body = r.value // what is wrong may be its headers
	}
	parsed, err := wire.ParseBody(body)
	if err != nil {
		return domain.System
	}
	target, _ := parsed[wire.TargetField].AsUser() // nobody's id is the system's
	return target
}

// Replayer writes dead letters to the topic that they came from. It must be closed.
type Replayer struct{ appender *appending.Appender }

// Replayer returns one.
func (d *DeadLetterTopic) Replayer(logger *slog.Logger) *Replayer {
	return &Replayer{kafka.NewAppender(d.cluster, appending.AppenderOptions{
		Topic: d.names.SystemMessages, Partitions: d.partitions, Deadline: 10 * time.Second, QueueBytes: 8 << 20, Logger: logger,
	})}
}

// ErrLeftOut is why a dead letter without its value is not replayed as it is.
var ErrLeftOut = errors.New("its value is not in the dead letter, because it did not fit")

// Replay writes a letter again, under the id that it had, with another value where that is not nil. It returns once that
// is durable; after CodeUnconfirmed it may be.
func (r *Replayer) Replay(ctx context.Context, letter DeadLetter, value []byte) error {
	if value == nil {
		if letter.LeftOut {
			return ErrLeftOut
		}
		value = letter.Value
	}
	from := origin{letter.Topic, letter.FirstPartition, letter.FirstOffset, letter.Written.UnixMilli()}
	headers := from.headers()
	if i := slices.IndexFunc(letter.Headers, func(h kafkago.Header) bool { return h.Key == headerCount }); i >= 0 {
		headers = append(headers, letter.Headers[i])
	}
	headers = append(headers, withoutHeaders(letter.Headers, deadLetterHeaders...)...)
	err := r.appender.Await(ctx, letter.FirstPartition%r.appender.Partitions(),
		recordbatch.Record{Key: letter.Key, Value: value, Headers: headers})
	if err != nil && errors.Is(err, ctx.Err()) {
		return domain.WrapError(domain.CodeUnconfirmed, "The append could not be confirmed.", err)
	}
	return err
}

// Close ends the replayer.
func (r *Replayer) Close(ctx context.Context) { r.appender.Close(ctx) }
