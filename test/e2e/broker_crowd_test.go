package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/harness"
)

// What a crowd of hostile Kafka clients may cost the server.
const (
	crowdLasts  = 20 * time.Second
	crowdMemory = 384 << 20 // bytes resident
)

// TestACrowdOfKafkaClientsTakesTheServerFromNobody: 1,100 clients of the embedded broker say a word every two seconds, nine
// announce 8 MiB and stall, nine more stall after the first part of it, and 60 fetch 16 MiB and do not read. Two users
// chat all the time, and the server's memory stays within a bound.
func TestACrowdOfKafkaClientsTakesTheServerFromNobody(t *testing.T) {
	s := startServer(t, t.TempDir())
	fillTopic(t, s.Kafka, "unread")
	ada, bob := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
	before := harness.ResidentMemory(t, s.PID)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var crowd sync.WaitGroup
	defer crowd.Wait()
	many := func(number int, behave func(context.Context, net.Conn)) {
		for range number {
			crowd.Go(func() {
				for ctx.Err() == nil { // whom the broker cuts off comes again
					meet(ctx, s.Kafka, behave)
					harness.Pause(ctx, 100*time.Millisecond)
				}
			})
		}
	}
	many(1100, func(ctx context.Context, conn net.Conn) {
		for ctx.Err() == nil {
			if _, err := conn.Write(framed(kmsg.NewPtrApiVersionsRequest())); err != nil {
				return
			}
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
				return
			}
			harness.Pause(ctx, 2*time.Second)
		}
	})
	announced := append(binary.BigEndian.AppendUint32(nil, 8<<20), 0, 0, 0, 3)
	many(9, func(ctx context.Context, conn net.Conn) {
		_, _ = conn.Write(announced)
		_, _ = io.Copy(io.Discard, conn)
	})
	// Without a bound of what all of them send, these would hold more than crowdMemory.
	most := append(announced, make([]byte, 6<<20)...)
	many(75, func(ctx context.Context, conn net.Conn) {
		_, _ = conn.Write(most)
		_, _ = io.Copy(io.Discard, conn)
		harness.Pause(ctx, 3*time.Second) // the crowd's own copying must not keep the machine busy
	})
	fetch := framed(fetchAll("unread"))
	many(60, func(ctx context.Context, conn net.Conn) {
		for range 20 {
			_, _ = conn.Write(fetch)
		}
		<-ctx.Done()
	})

	peak, said, began := before, 0, time.Now()
	for pair := [2]*client{ada, bob}; said < 20 || time.Since(began) < crowdLasts; said++ { // each message has its own limit
		from, to := pair[said%2], pair[(said+1)%2]
		text := fmt.Sprint("canary ", said)
		if err := from.Send(to.User, text); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{from, to} {
			if f, err := c.next(); err != nil || f.Message != text {
				t.Fatalf("canary %d to user %d: %+v, %v", said, c.User, f, err)
			}
		}
		peak = max(peak, harness.ResidentMemory(t, s.PID))
		harness.Pause(ctx, 50*time.Millisecond)
	}
	cancel()
	crowd.Wait()
	t.Logf("%d messages; %d MiB resident before, %d MiB at most", said, before>>20, peak>>20)
	if peak > crowdMemory {
		t.Errorf("%d MiB were resident, more than %d", peak>>20, crowdMemory>>20)
	}
	// The places are free again: a client of today gets in and reads what the two said.
	if records := harness.ReadTopic(waiting(t), t, s.Kafka, "chatting.conversations"); len(records) < said {
		t.Errorf("the log has %d of %d messages", len(records), said)
	}
}

// meet opens a connection for a while.
func meet(ctx context.Context, addr string, behave func(context.Context, net.Conn)) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	behave(ctx, conn)
}

// framed encodes a request with its size.
func framed(request kmsg.Request) []byte {
	return kmsg.NewRequestFormatter().AppendRequest(nil, request, 1)
}

// fetchAll asks for as much of a topic as a client may.
func fetchAll(topic string) kmsg.Request {
	request := kmsg.NewPtrFetchRequest()
	request.SetVersion(11)
	request.ReplicaID, request.SessionEpoch, request.MaxBytes = -1, -1, 16<<20
	request.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{
		{PartitionMaxBytes: 16 << 20, CurrentLeaderEpoch: -1}}}}
	return request
}

// fillTopic makes a topic of 18 MB.
func fillTopic(t *testing.T, brokers, topic string) {
	t.Helper()
	client := harness.Dial(t, brokers, kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer client.Close()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 10_000
	request.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}
	if response, err := request.RequestWith(t.Context(), client); err != nil || response.Topics[0].ErrorCode != 0 {
		t.Fatalf("creating %s: %+v, %v", topic, response, err)
	}
	for range 20 {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(strings.Repeat("x", 900_000))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}
