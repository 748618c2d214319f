package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
)

func TestWaitingForBrokersSaysWhyOnceAndEndsWhenAsked(t *testing.T) {
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hangingUp := closed.Addr().String()
	asked := make(chan struct{}, 100)
	go func() { // a broker that does not like what it hears
		for {
			conn, err := closed.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			asked <- struct{}{}
		}
	}()
	defer closed.Close()
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{hangingUp}})
	defer cluster.Close()
	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- brokerWait{cluster: cluster, logger: slog.New(slog.NewTextHandler(&log, nil))}.run(ctx)
	}()
	for range 2 {
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatal("nobody asks")
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if said := log.String(); strings.Count(said, "waiting for Kafka") != 1 || !strings.Contains(said, "kafka.tls") || !strings.Contains(said, hangingUp) {
		t.Error(said)
	}
}

func TestAPasswordInClearTextIsWarnedOf(t *testing.T) {
	for tls, warned := range map[string]bool{"false": true, "true": false} {
		var log bytes.Buffer
		cfg := configured(t, "CHATTING_KAFKA_BROKERS=127.0.0.1:1", "CHATTING_KAFKA_TLS="+tls, "CHATTING_KAFKA_SASL_MECHANISM=PLAIN",
			"CHATTING_KAFKA_SASL_USERNAME=u", "CHATTING_KAFKA_SASL_PASSWORD=p")
		cluster, err := newCluster(cfg, broker{}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		cluster.Close()
		if got := strings.Contains(log.String(), "crosses the network in clear text"); got != warned {
			t.Errorf("kafka.tls %s: warned: %t", tls, got)
		}
	}
}
