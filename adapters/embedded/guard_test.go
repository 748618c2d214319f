package embedded

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// startWith is start with a guard that change has changed before it lets clients in.
func startWith(t *testing.T, change func(*guard)) *Broker {
	t.Helper()
	b := start(t, t.TempDir())
	b.guard.mu.Lock() // clients are let in under it
	defer b.guard.mu.Unlock()
	change(b.guard)
	return b
}

func dialRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// asked sends a request over an open connection and reads the answer.
func asked(t *testing.T, conn net.Conn, request kmsg.Request) error {
	t.Helper()
	return exchange(conn, frameOf(request))
}

// isClosed waits until the peer has closed the connection.
func isClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open: %v", err)
	}
}

// TestTheServerIsNotHungUpOn: however long it takes to read.
func TestTheServerIsNotHungUpOn(t *testing.T) {
	b := startWith(t, func(g *guard) { g.stallTimeout, g.frameTimeout = time.Nanosecond, time.Nanosecond })
	ownAsks(t, b, versioned(kmsg.NewPtrMetadataRequest()))
}

// ownAsks has the server itself ask for something, as often as it likes.
func ownAsks(t *testing.T, b *Broker, request kmsg.Request) {
	t.Helper()
	conn, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, frameOf(request)); err != nil {
		t.Fatalf("the server itself: %v", err)
	}
}

func TestAConnectionThatAsksForNothingMakesRoomForAnother(t *testing.T) {
	b := startWith(t, func(g *guard) { g.limit, g.spareIdle = 2, 0 })
	first, second := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())
	for _, conn := range []net.Conn{first, second} { // each asks, so that which one is idle longest is known
		if err := asked(t, conn, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
		until(t, func() bool { // which it is only a moment after its client has the answer
			b.guard.mu.Lock()
			defer b.guard.mu.Unlock()
			for c := range b.guard.clients {
				if c.idleSince.Load() == 0 {
					return false
				}
			}
			return true
		})
	}
	third := dialRaw(t, b.Addr())
	if err := asked(t, third, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Fatal(err)
	}
	isClosed(t, first)
	if err := asked(t, second, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Errorf("the connection that was idle for less time: %v", err)
	}
}

func TestAConnectionTooManyIsRefusedAndTheServerGetsIn(t *testing.T) {
	b := startWith(t, func(g *guard) { g.limit, g.spareIdle = 2, time.Hour })
	first, second := dialRaw(t, b.Addr()), dialRaw(t, b.Addr())
	for _, conn := range []net.Conn{first, second} {
		if err := asked(t, conn, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
	}
	isClosed(t, dialRaw(t, b.Addr()))
	for range 5 {
		ownAsks(t, b, versioned(kmsg.NewPtrMetadataRequest()))
	}
	if err := asked(t, first, versioned(kmsg.NewPtrMetadataRequest())); err != nil {
		t.Errorf("a connection that had its place: %v", err)
	}
}

func TestAFrameThatDoesNotComeHoldsNoRoomAndIsCut(t *testing.T) {
	b := startWith(t, func(g *guard) { g.stallTimeout = 100 * time.Millisecond })
	createTopic(t, b.Addr(), "room", 1)
	announce := append(binary.BigEndian.AppendUint32(nil, maxProduceFrame), 0, 0, 0, 3)
	for range 20 { // the head alone holds nothing, so that these do not keep others out
		if _, err := dialRaw(t, b.Addr()).Write(announce); err != nil {
			t.Fatal(err)
		}
	}
	var slow []net.Conn
	for range 9 { // more than there is room for
		conn := dialRaw(t, b.Addr())
		if _, err := conn.Write(append(announce, make([]byte, smallFrame)...)); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	large := batchOf(noStamp, time.Now(), strings.Repeat("x", 500<<10))
	ownAsks(t, b, produceRequest("room", 0, large))
	isAlive(t, b.Addr())
	for _, conn := range slow {
		isClosed(t, conn)
	}
	mustProduce(t, b.Addr(), "room", large) // its turn comes once they are cut
}

// TestAnswersThatNobodyReadsAreBounded: clients fetch all there is and do not read.
func TestAnswersThatNobodyReadsAreBounded(t *testing.T) {
	b := startWith(t, func(g *guard) { g.stallTimeout = 100 * time.Millisecond })
	createTopic(t, b.Addr(), "unread", 1)
	for range 20 {
		mustProduce(t, b.Addr(), "unread", batchOf(noStamp, time.Now(), strings.Repeat("x", 1<<20-200)))
	}
	request := frameOf(fetchRequest("unread", 0, 0))
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)
	var conns []net.Conn
	for range 30 {
		conn := dialRaw(t, b.Addr())
		if tcp, ok := conn.(*net.TCPConn); !ok || tcp.SetReadBuffer(4096) != nil {
			t.Fatal("no small buffer")
		}
		if _, err := conn.Write(bytes.Repeat(frame, 20)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	ownAsks(t, b, fetchRequest("unread", 0, 0))
	for b.guard.refusals.Load() < int64(len(conns)) { // each is cut off in the end; the test's time is the bound
		isAlive(t, b.Addr())
	}
	if !b.guard.answers.TryAcquire(MinClientBytes / 2) {
		t.Error("who was cut off holds room still")
	}
}

func TestOneFetchIsBounded(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "fetch", 1, "max.message.bytes", "5242880")
	for _, size := range []int{3 << 20, 300 << 10, 300 << 10, 300 << 10, 300 << 10} {
		mustProduce(t, b.Addr(), "fetch", batchOf(noStamp, time.Now(), strings.Repeat("x", size)))
	}
	for offset, want := range []int{3 << 20, 900 << 10} {
		response := answered(t, b.Addr(), fetchRequest("fetch", int64(offset), 0)).(*kmsg.FetchResponse)
		if got := len(response.Topics[0].Partitions[0].RecordBatches); got < want || got > want+1024 {
			t.Errorf("from offset %d: %d bytes, want %d", offset, got, want)
		}
	}
}

// TestManyConsumersWaitAtOnce: each waits for records, and each gets them, whoever writes.
func TestManyConsumersWaitAtOnce(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "many", 1)
	const consumers = 200
	got := make(chan int)
	for range consumers {
		conn := dialRaw(t, b.Addr())
		go func() {
			frame := frameOf(fetchRequest("many", 0, 20*time.Second))
			if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
				got <- 0
				return
			}
			var size [4]byte
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				got <- 0
				return
			}
			got <- int(binary.BigEndian.Uint32(size[:]))
		}()
	}
	ownAsks(t, b, produceRequest("many", 0, batchOf(noStamp, time.Now(), strings.Repeat("x", 1000))))
	begin := time.Now()
	for range consumers {
		if size := <-got; size < 1000 {
			t.Fatalf("a consumer got an answer of %d bytes", size)
		}
	}
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("they were woken after %s", took)
	}
}

// TestAClientThatLeavesWhileItWaitsIsForgotten: its place is free long before its wait is over.
func TestAClientThatLeavesWhileItWaitsIsForgotten(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "leave", 1)
	waiting := func() (busy bool) {
		b.guard.mu.Lock()
		defer b.guard.mu.Unlock()
		for c := range b.guard.clients {
			busy = busy || c.idleSince.Load() == 0
		}
		return busy
	}
	conn := dialRaw(t, b.Addr())
	frame := frameOf(fetchRequest("leave", 0, maxFetchWait))
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	until(t, waiting)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	until(t, func() bool { return !waiting() })
	if took := time.Since(begin); took > maxFetchWait/3 {
		t.Errorf("it had its place for %s", took)
	}
}

// until polls a condition.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !holds() {
		select {
		case <-ticker.C:
		case <-limit.Done():
			t.Fatal("waited in vain")
		}
	}
}

// TestARequestForManyPartitionsIsAnsweredWhole: it is worked on in parts, of which the client sees nothing.
func TestARequestForManyPartitionsIsAnsweredWhole(t *testing.T) {
	b := start(t, t.TempDir())
	const partitions = 50
	createTopic(t, b.Addr(), "parts", partitions)
	at := time.Now()
	produce := produceRequest("parts", 0, nil)
	produce.Topics[0].Partitions = nil
	list := versioned(kmsg.NewPtrListOffsetsRequest())
	list.ReplicaID = -1
	list.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "parts"}}
	commit := versioned(kmsg.NewPtrOffsetCommitRequest())
	commit.Group, commit.Generation = "g", -1
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "parts"}}
	for number := range int32(partitions) {
		produce.Topics[0].Partitions = append(produce.Topics[0].Partitions,
			kmsg.ProduceRequestTopicPartition{Partition: number, Records: batchOf(noStamp, at, "x")})
		list.Topics[0].Partitions = append(list.Topics[0].Partitions,
			kmsg.ListOffsetsRequestTopicPartition{Partition: number, Timestamp: at.UnixMilli(), CurrentLeaderEpoch: -1})
		commit.Topics[0].Partitions = append(commit.Topics[0].Partitions,
			kmsg.OffsetCommitRequestTopicPartition{Partition: number, Offset: 1})
	}
	produce.Topics[0].Partitions[20].Records = batchOf(noStamp, at.Add(48*time.Hour), "x")
	produced := answered(t, b.Addr(), produce).(*kmsg.ProduceResponse).Topics
	listed := answered(t, b.Addr(), list).(*kmsg.ListOffsetsResponse).Topics
	committed := answered(t, b.Addr(), commit).(*kmsg.OffsetCommitResponse).Topics
	if len(produced) != 1 || len(listed) != 1 || len(committed) != 1 || len(produced[0].Partitions) != partitions ||
		len(listed[0].Partitions) != partitions || len(committed[0].Partitions) != partitions {
		t.Fatalf("answers: %v, %v, %v", produced, listed, committed)
	}
	seen := make(map[int32]bool)
	for i := range partitions {
		p, l, c := produced[0].Partitions[i], listed[0].Partitions[i], committed[0].Partitions[i]
		seen[p.Partition] = true
		wantCode, wantOffset := int16(0), int64(0)
		if p.Partition == 20 {
			wantCode = 32
		}
		if l.Partition == 20 {
			wantOffset = -1
		}
		if p.ErrorCode != wantCode || l.ErrorCode != 0 || l.Offset != wantOffset || c.ErrorCode != 0 {
			t.Errorf("partition %d: produce %d, list %d at %d, commit %d", i, p.ErrorCode, l.ErrorCode, l.Offset, c.ErrorCode)
		}
	}
	if len(seen) != partitions {
		t.Errorf("%d partitions were answered", len(seen))
	}
}

func TestAProducerThatWantsNoAnswerGetsNone(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "quiet", 1)
	conn := dialRaw(t, b.Addr())
	quiet := produceRequest("quiet", 0, batchOf(noStamp, time.Now(), "x"))
	quiet.Acks = 0
	frame := frameOf(quiet)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	const next = 8 // the correlation id, unlike that of quiet
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, versioned(kmsg.NewPtrMetadataRequest()), next)); err != nil {
		t.Fatal(err)
	}
	var head [answerHead]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		t.Fatal(err)
	}
	if id := binary.BigEndian.Uint32(head[4:]); id != next {
		t.Errorf("the first answer is to request %d", id)
	}
	if end := listOffset(t, b.Addr(), "quiet", -1); end != 1 {
		t.Errorf("the log ends at %d", end)
	}
	// It learns of what is not even looked at by the end of its connection.
	conn = dialRaw(t, b.Addr())
	for number := range int32(maxAsked) {
		quiet.Topics[0].Partitions = append(quiet.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: number})
	}
	frame = frameOf(quiet)
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); err != nil {
		t.Fatal(err)
	}
	isClosed(t, conn)
}

// TestQuestionsWithoutReasonAreNotAnswered: each asks for an answer that is thousands of times as long.
func TestQuestionsWithoutReasonAreNotAnswered(t *testing.T) {
	b := start(t, t.TempDir())
	createTopic(t, b.Addr(), "wide", 500)
	metadata := versioned(kmsg.NewPtrMetadataRequest())
	for range 1000 { // kfake answers once
		metadata.Topics = append(metadata.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("wide")})
	}
	if topics := answered(t, b.Addr(), metadata).(*kmsg.MetadataResponse).Topics; len(topics) != 1 || len(topics[0].Partitions) != 500 {
		t.Errorf("%d topics", len(topics))
	}
	none := versioned(kmsg.NewPtrMetadataRequest())
	none.Topics = []kmsg.MetadataRequestTopic{} // of no topic, as opposed to all
	if topics := answered(t, b.Addr(), none).(*kmsg.MetadataResponse).Topics; len(topics) != 0 {
		t.Errorf("%d topics", len(topics))
	}
	describe := versioned(kmsg.NewPtrDescribeConfigsRequest())
	for range 1000 {
		describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "wide"})
	}
	if resources := answered(t, b.Addr(), describe).(*kmsg.DescribeConfigsResponse).Resources; len(resources) != 1 {
		t.Errorf("%d resources", len(resources))
	}
	for i := range describe.Resources {
		describe.Resources[i].ResourceName = fmt.Sprint("t", i)
	}
	if err := ask(t.Context(), b.Addr(), describe, describe.ResponseKind()); err == nil {
		t.Error("a question about 1000 resources was answered")
	}
	isAlive(t, b.Addr())
}

func TestOnlyLoopbackIsListenedOnUnlessRemoteIsAllowed(t *testing.T) {
	remote := ownAddress(t)
	var logged bytes.Buffer
	options := Options{Addr: net.JoinHostPort(remote, "0"), Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	if b, err := Start(t.Context(), options); err == nil {
		_ = b.Close()
		t.Fatal("it listens on the address of a network card")
	} else if !strings.Contains(err.Error(), "embedded_kafka.allow_remote") {
		t.Errorf("the error does not name the option: %v", err)
	}
	options.AllowRemote = true
	b, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(logged.String(), "asks for no password") {
		t.Errorf("no warning: %s", &logged)
	}
	options.AllowRemote = false
	for _, addr := range []string{"localhost:0", "127.0.0.2:0"} {
		options.Addr = addr
		b, err := Start(t.Context(), options)
		if err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// ownAddress returns an address of this machine that is not loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}
