package main

import (
	"context"
	"log/slog"
	"testing"

	"chatting/adapters/kafka"
	"chatting/domain"
	"chatting/test/harness"
)

// noRecords is for tails of topics where nothing is.
type noRecords struct{}

func (noRecords) Record(*kafka.TailRecord) {}
func (noRecords) BatchEnd(int, int64)      {}
func (noRecords) LeftOut(kafka.LeftOut)    {}
func (noRecords) Hole(int, int64, int64)   {}

func TestANodeIsReadyWhileEachOfItsTailsKeepsUp(t *testing.T) {
	w := newDeadLetterWorld(t)
	cluster := kafka.NewCluster(kafka.ClusterOptions{Brokers: []string{w.broker}})
	defer cluster.Close()
	tail := func(topic string) *kafka.Tail {
		return kafka.NewTail(cluster, kafka.TailOptions{
			Topic: topic, From: map[int]int64{0: 0}, Handler: noRecords{}, Logger: slog.New(slog.DiscardHandler),
		})
	}
	runs, stands := tail(w.names.Sessions), tail(w.names.Conversations)
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
	for _, tails := range [][]*kafka.Tail{{runs, stands}, {stands, runs}} {
		r.open(tails...)
		if err := r.probe(ctx); domain.CodeOf(err) != domain.CodeUnavailable || r.ready() != nil {
			t.Errorf("while one of two tails stands, the answer is %v", err)
		}
	}
}
