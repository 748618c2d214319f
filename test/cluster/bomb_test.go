package cluster

import (
	"strings"
	"testing"

	"chatting/test/harness"
)

// Anybody who may write the topics can write a few kilobytes that unpack to much more than a node has.
func TestPackedRecordsOfAnySizeDoNotTakeANodeDown(t *testing.T) {
	const allowed = 400 << 20 // what a node may take more, for all of it together
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	node := c.start()
	before := harness.PeakMemory(t, node.PID)
	one, two := connect(t, node, 1), connect(t, node, 2)

	large := harness.PackedZeros(t, "1", 900<<20)
	many := harness.PackedZeros(t, "1:2", 30<<20)
	harness.Poison(make([]byte, 30<<20))
	for partition := range int32(2) {
		if err := harness.ProduceBatch(ctx, t, c.parts.Brokers, c.systemMessages(), partition, large); err != nil {
			t.Fatal(err)
		}
	}
	for i := range int32(40) {
		if err := harness.ProduceBatch(ctx, t, c.parts.Brokers, c.conversations(), i%16, many); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d bytes, and 40 times %d", len(large), len(many))
	canaries := func(node *harness.Node, one, two *harness.Client, text string) {
		t.Helper()
		if err := one.Send(2, text); err != nil {
			t.Fatal(err)
		}
		// A system message of the same partition, behind the large one.
		harness.ProduceMessages(ctx, t, c.parts.Brokers, c.systemMessages(), says(2, "to 2, "+text))
		for _, what := range []string{text, "to 2, " + text} {
			if _, err := two.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == what }); err != nil {
				t.Fatalf("%q does not come: %v", what, err)
			}
		}
		if one.Err() != nil || two.Err() != nil {
			t.Errorf("connections were closed: %v, %v", one.Err(), two.Err())
		}
		peak := harness.PeakMemory(t, node.PID)
		t.Logf("%s: %d MiB more", text, (peak-before)>>20)
		if peak-before > allowed {
			t.Errorf("%s, the node took %d MiB more", text, (peak-before)>>20)
		}
	}
	canaries(node, one, two, "while it runs")
	letters := 0
	harness.Until(ctx, t, "the dead letters", func() bool {
		letters = 0
		for _, r := range harness.ReadTopic(ctx, t, c.parts.Brokers, c.deadLetters()) {
			for _, h := range r.Headers {
				if strings.HasSuffix(h.Key, "exception-fqcn") && string(h.Value) == "chatting.too_large" {
					letters++
				}
			}
		}
		return letters >= 2
	})

	node.Kill()
	node = c.start()
	canaries(node, connect(t, node, 1), connect(t, node, 2), "after a start")
}
