package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// roundTrips measures what one record takes to the topic (acks=all) and back by a fetch, at a rate, as the floor of what a message
// through Kafka can take.
func (l *load) roundTrips(ctx context.Context, rate int) (times, error) {
	topic := fmt.Sprintf("load-%d.trips", time.Now().UnixNano())
	if err := l.createTopic(ctx, topic); err != nil {
		return times{}, err
	}
	// Two clients, as a client answers one request after the other on a connection.
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(l.brokers, ",")...), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return times{}, err
	}
	defer producer.Close()
	consumer, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(l.brokers, ",")...), kgo.ConsumeTopics(topic), kgo.FetchMinBytes(1),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return times{}, err
	}
	defer consumer.Close()
	took := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	ticks := time.NewTicker(time.Second / time.Duration(rate))
	defer ticks.Stop()
	warm := int(warmup.Seconds()) * rate
	for n := range warm + int(l.duration.Seconds()*float64(rate)) {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return times{}, ctx.Err()
		}
		begun := time.Now()
		value := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(n))
		producer.Produce(ctx, &kgo.Record{Key: value, Value: value[:64]}, nil)
		for back := false; !back; {
			fetched := consumer.PollFetches(ctx)
			if err := fetched.Err(); err != nil {
				return times{}, err
			}
			fetched.EachRecord(func(r *kgo.Record) { back = back || binary.BigEndian.Uint64(r.Key) == uint64(n) })
		}
		if n >= warm {
			if err := took.RecordValue(time.Since(begun).Microseconds()); err != nil {
				return times{}, err
			}
		}
	}
	return times{P50: float64(took.ValueAtQuantile(50)) / 1000, P99: float64(took.ValueAtQuantile(99)) / 1000}, nil
}
