package embedded

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/protocol"
	"chatting/test/kafkawire"
)

// sendFrame sends a frame on a connection of its own and takes what comes back until the broker closes it or has
// answered.
func sendFrame(t testing.TB, addr string, size uint32, frame []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("the broker is gone: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(50 * time.Millisecond)); err != nil { // some requests have no answer
		t.Fatal(err)
	}
	_, _ = conn.Write(append(binary.BigEndian.AppendUint32(nil, size), frame...))
	_, _ = io.ReadFull(conn, make([]byte, 8))
}

func TestHostileFramesDoNotEndTheProcess(t *testing.T) {
	c := startChild(t, t.TempDir())
	kafkawire.CreateTopic(t, c.addr, "hostile", 1)
	alive := func(what string, frame []byte) {
		if t.Helper(); !processIsAlive(t, c) {
			t.Fatalf("%s ended the broker: %x\n%s", what, frame, c.stderr)
		}
	}
	seeds := kafkawire.SeedFrames()
	for _, frame := range seeds {
		sendFrame(t, c.addr, uint32(len(frame)), frame)
	}
	alive("a request of some version", nil)
	for _, key := range []uint16{5, 40, 99, 1000, 0x7fff, 0x8000, 0xffff} {
		frame := append(binary.BigEndian.AppendUint16(nil, key), 0, 0, 0, 0, 0, 1, 0, 0)
		sendFrame(t, c.addr, uint32(len(frame)), frame)
		alive("an unknown API key", frame)
	}
	// Records that are not what the batch says, read when somebody asks for a time.
	kafkawire.CreateTopic(t, c.addr, "rubbish", 1)
	for _, records := range [][]byte{{0x13, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0xff}, 20), {0x0e, 0, 0, 0, 1, 1, 0xff, 1}} {
		now := time.Now().UnixMilli()
		poison := kafkawire.Seal(kmsg.RecordBatch{Magic: 2, NumRecords: 9, LastOffsetDelta: 8, ProducerID: -1,
			FirstTimestamp: now - 1000, MaxTimestamp: now, Records: records})
		if _, code, err := kafkawire.Produce(t, c.addr, "rubbish", poison); code == 0 || err != nil {
			t.Errorf("a batch of rubbish: error %d, %v", code, err)
		}
		kafkawire.ListOffset(t, c.addr, "rubbish", now-500) // later than the first record, so that kfake goes on to the second
	}
	random := rand.New(rand.NewPCG(1, 2))
	var sent []byte
	for n := range 1000 {
		frame := mutate(random, seeds[random.IntN(len(seeds))])
		sendFrame(t, c.addr, uint32(len(frame)), frame)
		sent = append(append(sent, frame...), " | "...)
		if n%50 == 49 {
			alive("one of some mutated requests", sent)
			sent = sent[:0]
		}
	}
	for _, size := range []uint32{0, 1, 7, 1 << 31, 1<<32 - 1, protocol.MaxProduceFrame + 1} {
		sendFrame(t, c.addr, size, seeds[0])
		alive("a size", seeds[0])
	}
	if err := c.stop(); err != nil {
		t.Fatalf("%v\n%s", err, c.stderr)
	}
}

// processIsAlive asks the child something: a panic of any goroutine ends it, and then nobody answers.
func processIsAlive(t *testing.T, c *child) bool {
	request := kafkawire.Versioned(kmsg.NewPtrMetadataRequest())
	return kafkawire.Ask(t.Context(), c.addr, request, request.ResponseKind()) == nil
}

// mutate changes a frame somewhere behind its API key, mostly where numbers are.
func mutate(random *rand.Rand, frame []byte) []byte {
	frame = append([]byte{}, frame...)
	for range 1 + random.IntN(3) {
		at := 2 + random.IntN(len(frame)-2)
		switch random.IntN(5) {
		case 0:
			frame[at] = byte(random.Int())
		case 1:
			frame[at] = 0xff
		case 2:
			frame[at] = 0x7f
		case 3:
			frame = append(frame[:at], append([]byte{0xff, 0xff, 0xff, 0xff}, frame[at:]...)...)
		case 4:
			frame = frame[:max(at, 3)]
		}
	}
	return frame
}

// FuzzFrameAgainstTheBroker has the fuzzing engine notice what ends the process.
func FuzzFrameAgainstTheBroker(f *testing.F) {
	for _, frame := range kafkawire.SeedFrames() {
		f.Add(frame)
	}
	b := start(f, f.TempDir())
	kafkawire.CreateTopic(f, b.Addr(), "hostile", 1)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 8 || frame[0] != 0 {
			return
		}
		if key := kmsg.Key(frame[1]); key == kmsg.JoinGroup || key == kmsg.SyncGroup { // may wait without an answer
			return
		}
		sendFrame(t, b.Addr(), uint32(len(frame)), frame)
		kafkawire.IsAlive(t, b.Addr())
	})
}

func TestBatchesThatWouldPoisonTheLogAreRefused(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "poison", 1)
	now := time.Now()
	good := kafkawire.BatchOf(kafkawire.NoStamp, now, "a", "b")
	change := func(f func(*kmsg.RecordBatch)) []byte {
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(bytes.Clone(good)); err != nil {
			t.Fatal(err)
		}
		f(&batch)
		return kafkawire.Seal(batch)
	}
	const corrupt, invalidTimestamp, invalidRecord = 2, 32, 87
	for name, c := range map[string]struct {
		raw  []byte
		code int16
	}{
		"good":              {good, 0},
		"nothing":           {nil, corrupt},
		"a bad CRC":         {append(good[:len(good)-1:len(good)-1], 'x'), corrupt},
		"a byte behind it":  {append(change(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1, 0 }), 0), corrupt},
		"the broker's time": {change(func(b *kmsg.RecordBatch) { b.Attributes = 0x08 }), invalidRecord},
		"transactional":     {change(func(b *kmsg.RecordBatch) { b.Attributes = 0x10; b.ProducerID = 1 }), protocol.ErrTransactional.Code},
		"control":           {change(func(b *kmsg.RecordBatch) { b.Attributes = 0x20 }), invalidRecord},
		"an unknown codec":  {change(func(b *kmsg.RecordBatch) { b.Attributes = 7 }), invalidRecord},
		"no records":        {change(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 0, -1 }), invalidRecord},
		"minus records":     {change(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = -5, -6 }), invalidRecord},
		"too few records":   {change(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1, 0 }), invalidRecord},
		"too many":          {change(func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1<<30, 1<<30-1 }), invalidRecord},
		"no length":         {change(func(b *kmsg.RecordBatch) { b.Records = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff} }), invalidRecord},
		"minus length":      {change(func(b *kmsg.RecordBatch) { b.Records[0] = 0x13 }), invalidRecord},
		"bad gzip":          {change(func(b *kmsg.RecordBatch) { b.Attributes = 1 }), invalidRecord},
		"of the future":     {kafkawire.BatchOf(kafkawire.NoStamp, now.Add(2*time.Hour), "a"), invalidTimestamp},
		"of a future record": {change(func(b *kmsg.RecordBatch) {
			b.FirstTimestamp += (2 * time.Hour).Milliseconds()
		}), invalidTimestamp},
		"before all time": {change(func(b *kmsg.RecordBatch) { b.FirstTimestamp = -1 << 63 }), invalidTimestamp},
		"half a stamp":    {kafkawire.BatchOf(kafkawire.Stamp{ID: 1, Epoch: -1, First: 0}, now, "a"), invalidRecord},
	} {
		_, code, err := kafkawire.Produce(t, b.Addr(), "poison", c.raw)
		if err != nil || code != c.code {
			t.Errorf("%s: error %d, %v; want %d", name, code, err, c.code)
		}
	}
	if records := kafkawire.ReadAll(t, b.Addr(), "poison"); len(records) != 2 {
		t.Errorf("%d records", len(records))
	}
}

func TestBrokerAdvertisesWhatItAnswers(t *testing.T) {
	b := start(t, t.TempDir())
	keys := kafkawire.Answered(t, b.Addr(), kafkawire.Versioned(kmsg.NewPtrApiVersionsRequest())).(*kmsg.ApiVersionsResponse).ApiKeys
	if want := protocol.Versions(2).ApiKeys; !reflect.DeepEqual(keys, want) {
		t.Errorf("advertised: %+v, want %+v", keys, want)
	}
	// A client of today asks in a version of today and is told which one to use.
	modern := kmsg.NewPtrApiVersionsRequest()
	modern.SetVersion(4)
	modern.ClientSoftwareName, modern.ClientSoftwareVersion = "someone", "1.0"
	old := kmsg.NewPtrApiVersionsResponse() // an unknown version is answered in version 0
	if err := kafkawire.Ask(t.Context(), b.Addr(), modern, old); err != nil || old.ErrorCode != 35 {
		t.Errorf("error %d, %v", old.ErrorCode, err)
	}
}

func TestUnservedRequestsCloseTheConnection(t *testing.T) {
	b := start(t, t.TempDir())
	flexible := kmsg.NewPtrProduceRequest()
	flexible.SetVersion(9)
	for _, request := range []kmsg.Request{flexible, kmsg.NewPtrCreateACLsRequest(), kmsg.NewPtrShareFetchRequest()} {
		if err := kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind()); err == nil {
			t.Errorf("%T was answered", request)
		}
	}
	kafkawire.IsAlive(t, b.Addr())
}
