package server

import (
	"context"
	"log/slog"
	"testing"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/harness"
)

// noRecords is for tails of topics where nothing is.
type noRecords struct{}

func (noRecords) Record(*recordbatch.StoredRecord) {}
func (noRecords) BatchEnd(int, int64)              {}
func (noRecords) LeftOut(recordbatch.LeftOut)      {}
func (noRecords) Hole(int, int64, int64)           {}

func TestANodeIsReadyWhileEachOfItsTailsKeepsUp(t *testing.T) {
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	broker, err := embedded.Start(t.Context(), embedded.Options{Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{broker.Addr()}})
	defer cluster.Close()
	names := kafka.NamesFor("chatting")
	if err := (kafka.TopicSetup{Names: names, Partitions: 4, Logger: logger}).Ensure(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	tail := func(topic string) *logclient.Tail {
		return logclient.NewTail(cluster, logclient.TailOptions{
			Topic: topic, From: map[int]int64{0: 0}, Handler: noRecords{}, Logger: slog.New(slog.DiscardHandler),
		})
	}
	runs, stands := tail(names.Sessions), tail(names.Conversations)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = runs.Run(ctx)
	}()
	defer func() { stop(); <-ended }()

	r := newReadiness()
	if err := r.probe(ctx); domain.CodeOf(err) != domain.CodeUnavailable || r.ready() == nil {
		t.Errorf("before it serves, the answer is %v", err)
	}
	r.open(runs)
	harness.Until(ctx, t, "a tail that keeps up", func() bool { return r.probe(ctx) == nil })
	for _, tails := range [][]*logclient.Tail{{runs, stands}, {stands, runs}} {
		r.open(tails...)
		if err := r.probe(ctx); domain.CodeOf(err) != domain.CodeUnavailable || r.ready() != nil {
			t.Errorf("while one of two tails stands, the answer is %v", err)
		}
	}
}
