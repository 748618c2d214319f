package e2e

import (
	"context"
	"testing"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// The embedded broker takes no batch that unpacks to more than 32 MiB; as many of them as somebody likes it takes.
func TestPackedRecordsDoNotTakeAServerDown(t *testing.T) {
	const partitions = 4      // of the embedded broker
	const allowed = 600 << 20 // the broker unpacks each of them, too

	// Everything is unpacked several times.
	ctx, cancel := context.WithTimeout(t.Context(), 10*harness.FrameWait)
	defer cancel()
	s := startServer(t, t.TempDir())
	before := harness.PeakMemory(t, s.PID)
	many := harness.PackedZeros(t, "1:2", 30<<20)
	harness.Poison(make([]byte, 30<<20))
	for i := range int32(24) { // 1.4 GiB
		if err := harness.ProduceBatch(ctx, t, s.Kafka, "chatting.conversations", i%partitions, many); err != nil {
			t.Fatal(err)
		}
		if err := harness.ProduceBatch(ctx, t, s.Kafka, systemMessages, i%partitions, many); err != nil {
			t.Fatal(err)
		}
	}
	canaries := func(text string) {
		t.Helper()
		one, two := mustConnect(t, s.HTTP, s.token(1)), mustConnect(t, s.HTTP, s.token(2))
		if err := one.Send(2, text); err != nil {
			t.Fatal(err)
		}
		harness.ProduceMessages(ctx, t, s.Kafka, systemMessages, kafka.Message{Value: []byte(says(2, "to 2, "+text))})
		for _, what := range []string{text, "to 2, " + text} {
			if _, err := two.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == what }); err != nil {
				t.Fatalf("%q does not come: %v", what, err)
			}
		}
		grown := harness.PeakMemory(t, s.PID) - before
		t.Logf("%s: %d MiB more", text, grown>>20)
		if grown > allowed {
			t.Errorf("%s, the server took %d MiB more", text, grown>>20)
		}
	}
	canaries("while it runs")
	s.Kill()
	s = startServer(t, s.dir)
	canaries("after a start")
}
