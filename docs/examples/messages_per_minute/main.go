// Command messages_per_minute counts chat messages, a minute, in what chatting.conversations holds now. It is an example of
// a program that relies on docs/events.md and on nothing else of this repository:
//
//	go run ./docs/examples/messages_per_minute -brokers 127.0.0.1:9092
//	2026-01-02T03:04Z 17
//	2026-01-02T03:05Z 4
//
// The server writes in no transactions. A program that reads topics which others write in transactions sets its client's
// isolation.level to read_committed; kafka-go then still hands over what was aborted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "messages_per_minute:", err)
		os.Exit(1)
	}
}

// run reads each partition from its start to where it ends now, and prints the counts.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("messages_per_minute", flag.ContinueOnError)
	brokers := flags.String("brokers", "127.0.0.1:9092", "host:port of some brokers, separated by commas")
	topic := flags.String("topic", "chatting.conversations", "the topic of conversations")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addresses := strings.Split(*brokers, ",")
	partitions, err := kafka.DefaultDialer.LookupPartitions(ctx, "tcp", addresses[0], *topic)
	if err != nil {
		return fmt.Errorf("asking %s for %s: %w", addresses[0], *topic, err)
	}
	count := newCounter()
	for _, partition := range partitions {
		if err := read(ctx, addresses, partition, count); err != nil {
			return fmt.Errorf("reading partition %d of %s: %w", partition.ID, *topic, err)
		}
	}
	return count.print(out)
}

// read counts what one partition holds.
func read(ctx context.Context, brokers []string, partition kafka.Partition, count *counter) error {
	leader, err := kafka.DefaultDialer.DialPartition(ctx, "tcp", brokers[0], partition)
	if err != nil {
		return err
	}
	defer leader.Close()
	first, end, err := leader.ReadOffsets()
	if err != nil {
		return err
	}
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: brokers, Topic: partition.Topic, Partition: partition.ID, MaxBytes: 10e6,
		MaxWait: 100 * time.Millisecond, // Close waits for the fetch under way, which finds nothing more
	})
	defer reader.Close()
	if err := reader.SetOffset(first); err != nil {
		return err
	}
	for next := first; next < end; {
		record, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		if record.Offset < end {
			count.add(record.Value)
		}
		next = record.Offset + 1
	}
	return nil
}

// event is what this program needs of an event. It has more fields, and gets others: those are ignored.
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Type        string    `json:"type"`
	Time        time.Time `json:"time"`
}

// counter counts events by their time, each once.
type counter struct {
	minutes map[time.Time]int
	// seen are the ids so far: a message that a client sent again stands in the log again, under the same one.
	seen map[string]bool
}

func newCounter() *counter {
	return &counter{minutes: map[time.Time]int{}, seen: map[string]bool{}}
}

// add counts a record, if it is a chat message that was not counted. There may be other types of events, today's and
// tomorrow's, and records that are no events at all: anybody with the right to write the topic could have written them.
func (c *counter) add(value []byte) {
	var e event
	if json.Unmarshal(value, &e) != nil || e.SpecVersion != "1.0" || e.Type != "chatting.chat_message.v1" || c.seen[e.ID] {
		return
	}
	c.seen[e.ID] = true
	c.minutes[e.Time.UTC().Truncate(time.Minute)]++
}

// print writes a line for each minute in which there was a message.
func (c *counter) print(out io.Writer) error {
	var minutes []time.Time
	for minute := range c.minutes {
		minutes = append(minutes, minute)
	}
	slices.SortFunc(minutes, time.Time.Compare)
	for _, minute := range minutes {
		if _, err := fmt.Fprintf(out, "%s %d\n", minute.Format("2006-01-02T15:04Z"), c.minutes[minute]); err != nil {
			return err
		}
	}
	return nil
}
