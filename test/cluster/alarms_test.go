package cluster

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/alarms/watch"
	"chatting/test/harness"
)

// Three alerts, seen by a real Prometheus. test/alarms has a fault for each of the others.
func TestAlertsFireAtTheirFaultsAndEndAfterThem(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	addresses := map[string]string{"full": harness.FreeAddress(t), "killed": harness.FreeAddress(t)}
	const limit = 10
	began := time.Now()
	full := c.start("CHATTING_METRICS_ADDR="+addresses["full"], "CHATTING_LIMIT_CONNECTIONS="+strconv.Itoa(limit))
	killed := c.start("CHATTING_METRICS_ADDR=" + addresses["killed"])
	prometheus, err := watch.Start(ctx, watch.Options{
		Dir: t.TempDir(), Addr: harness.FreeAddress(t), Rules: "../../docs/prometheus", Factor: 60, Nodes: addresses,
	})
	if errors.Is(err, watch.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Stop)
	isFiring := func(name, instance string) bool {
		alerts, err := prometheus.Alerts(ctx)
		return err == nil && slices.ContainsFunc(alerts, func(a watch.Alert) bool { return a.Is(name, instance) })
	}
	expected := []struct{ name, instance string }{
		{"ChattingNodeDown", "killed"}, {"ChattingConnectionsFull", "full"}, {"ChattingDeadLetters", ""},
	}
	for _, e := range expected {
		if isFiring(e.name, e.instance) {
			t.Errorf("%s fires before its fault", e.name)
		}
	}

	var crowd []*harness.Client
	for user := range limit {
		crowd = append(crowd, connect(t, full, 1+user))
	}
	if err := crowd[0].Send(2, "hello"); err != nil {
		t.Error(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.parts.Brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: c.systemMessages(), Value: []byte("nonsense")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	awaitFiring := func(name, instance string) {
		harness.Until(ctx, t, name+" fires", func() bool { return isFiring(name, instance) })
	}
	awaitFiring("ChattingConnectionsFull", "full")
	// Either node may write the letter, and what it counted between a scrape and its end is not seen.
	awaitFiring("ChattingDeadLetters", "")
	killed.Kill()
	awaitFiring("ChattingNodeDown", "killed")

	c.start("CHATTING_METRICS_ADDR=" + addresses["killed"])
	for _, client := range crowd {
		client.Close()
	}
	for _, e := range expected {
		harness.Until(ctx, t, e.name+" ends", func() bool { return !isFiring(e.name, e.instance) })
	}

	d, err := watch.ReadDashboard("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Ask(ctx, prometheus, began, time.Now()); err != nil {
		t.Errorf("Prometheus does not understand the dashboard: %v", err)
	}
	pictures := os.Getenv("CHATTING_TEST_PICTURES")
	if pictures == "" {
		pictures = t.TempDir()
	}
	if _, err := d.Draw(ctx, pictures); err != nil && !errors.Is(err, watch.ErrNoBrowser) {
		t.Error(err)
	}
}
