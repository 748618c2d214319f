package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/harness"
)

// sessionRecords returns the records of the last twenty minutes of users who came and went, and are online now.
func sessionRecords(topic, incarnation string, users, each int) []*kgo.Record {
	began := time.Now().Add(-19 * time.Minute)
	var records []*kgo.Record
	for n := range each {
		kind, count := "up", n/2+1
		if n%2 == 1 && n < each-1 {
			kind = "down"
		}
		at := began.Add(18 * time.Minute * time.Duration(n) / time.Duration(each))
		for user := 1; user <= users; user++ {
			records = append(records, sessionRecord(topic, kind, incarnation, user, count, at))
		}
	}
	return records
}

// sessionRecord is what a node writes when a user comes or goes.
func sessionRecord(topic, kind, incarnation string, user, count int, at time.Time) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: []byte(strconv.Itoa(user)), Timestamp: at,
		Value: fmt.Appendf(nil, `{"type":%q,"incarnation":%q,"user":%d,"count":%d}`, kind, incarnation, user, count),
	}
}

// beatRecord is a node's heartbeat, for partition 0.
func beatRecord(topic, incarnation string, count int, at time.Time) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: []byte(incarnation), Timestamp: at,
		Value: fmt.Appendf(nil, `{"type":"beat","incarnation":%q,"count":%d}`, incarnation, count),
	}
}

// A node starts beside one that has very many users.
func TestANodeStartsSoonBesideManySessions(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	began := time.Now()
	first := c.start()
	empty := time.Since(began)
	before := harness.ResidentMemory(t, first.PID)
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	users, each := scaled(10_000, 100_000), 10
	incarnation := uuid.NewString()
	writer := harness.Dial(t, c.parts.Brokers)
	records := sessionRecords(c.sessions(), incarnation, users, each)
	if err := writer.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	stop := c.keepAlive(ctx, incarnation)
	defer stop()

	var node *harness.Node
	// Others may have the machine while one of the two is measured. Of a node that is too slow every measurement is.
	for attempt := 1; ; attempt++ {
		began = time.Now()
		read := readBare(ctx, t, c.parts.Brokers, c.sessions())
		bare := time.Since(began)
		if read < len(records) {
			t.Fatalf("the bare library read %d of %d records", read, len(records))
		}
		began = time.Now()
		node = c.start()
		ready := time.Since(began)
		t.Logf("%d records of %d sessions: ready after %s; an empty node: %s; a bare read: %s (%.1f times)", len(records), users,
			ready.Round(time.Millisecond), empty.Round(time.Millisecond), bare.Round(time.Millisecond), float64(ready)/float64(bare))
		if ready <= 10*bare+empty {
			break
		}
		if attempt == 3 {
			t.Fatal("that is too slow, three times")
		}
		if err := node.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bytes of memory a session", (harness.ResidentMemory(t, node.PID)-before)/users)
	// Who watches them sees them online.
	var friends []int
	for user := 1; user <= users; user += users / 10 {
		friends = append(friends, user)
	}
	befriend(ctx, t, node, users+1, friends...)
	if online := connect(t, node, users+1).Frames()[0].Friends; fmt.Sprint(online) != fmt.Sprint(friends) {
		t.Errorf("of the friends %v, %v are online", friends, online)
	}
}

// keepAlive writes the heartbeats of a node that is not there, until what it returns is called.
func (c *cluster) keepAlive(ctx context.Context, incarnation string) (stop func()) {
	client := harness.Dial(c.t, c.parts.Brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			err := client.ProduceSync(ctx, beatRecord(c.sessions(), incarnation, n, time.Now())).FirstErr()
			if err != nil && ctx.Err() == nil {
				c.t.Errorf("a heartbeat: %v", err)
			}
			harness.Pause(ctx, beat)
		}
	})
	return func() {
		cancel()
		beating.Wait()
	}
}

// readBare reads a whole topic with nothing but the library, each partition on its own, and returns how many records it has.
func readBare(ctx context.Context, t *testing.T, brokers, topic string) int {
	t.Helper()
	transport := &kafka.Transport{} // of its own: a shared one may not have heard of the topic yet
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Timeout: 10 * time.Second, Transport: transport}
	const partitions = 16
	counts := make([]int, partitions)
	var reading sync.WaitGroup
	for partition := range partitions {
		reading.Go(func() {
			for offset, end := int64(0), int64(1); offset < end; {
				fetched, err := client.Fetch(ctx, &kafka.FetchRequest{
					Topic: topic, Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: 1 << 20,
					MaxWait: 100 * time.Millisecond,
				})
				if err == nil {
					err = fetched.Error
				}
				if err != nil {
					t.Error(err)
					return
				}
				end = fetched.HighWatermark
				for {
					record, err := fetched.Records.ReadRecord()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := kafka.ReadAll(record.Value); err != nil {
						t.Error(err)
						return
					}
					offset = record.Offset + 1
					counts[partition]++
				}
			}
		})
	}
	reading.Wait()
	all := 0
	for _, count := range counts {
		all += count
	}
	return all
}
