package main

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/fx/fxtest"

	"chatting/adapters/kafka"
	"chatting/configs"
)

func TestFilesForKafkaThatCannotBeUsedAreNamed(t *testing.T) {
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := file("text", "no PEM at all")
	for _, row := range []struct {
		options configs.KafkaTLS
		want    []string
	}{
		{configs.KafkaTLS{On: true, CAFile: "/nowhere/ca.pem"}, []string{"kafka.tls_ca_file", "/nowhere/ca.pem", "no such file"}},
		{configs.KafkaTLS{On: true, CAFile: text}, []string{"kafka.tls_ca_file", text, "no certificate"}},
		{configs.KafkaTLS{On: true, CertFile: text, KeyFile: text}, []string{"kafka.tls_cert_file " + text, "kafka.tls_key_file " + text, "PEM"}},
	} {
		config, err := kafkaTLS(row.options)
		if err == nil || config != nil {
			t.Errorf("%+v: no error", row.options)
			continue
		}
		for _, words := range row.want {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%+v: %v, want %q", row.options, err, words)
			}
		}
	}
}

func TestKafkaSpeaksPlainTextUnlessToldOtherwise(t *testing.T) {
	config, err := kafkaTLS(configs.KafkaTLS{})
	mechanism, err2 := kafkaSASL(configs.KafkaSASL{})
	if config != nil || err != nil || mechanism != nil || err2 != nil {
		t.Error(config, err, mechanism, err2)
	}
}

func TestTheMechanismIsTheConfiguredOne(t *testing.T) {
	for _, name := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		cfg := configured(t, "CHATTING_KAFKA_BROKERS=k:1", "CHATTING_KAFKA_SASL_MECHANISM="+name, "CHATTING_KAFKA_SASL_USERNAME=u",
			"CHATTING_KAFKA_SASL_PASSWORD=p")
		if mechanism, err := kafkaSASL(cfg.Kafka.SASL); err != nil || mechanism.Name() != name {
			t.Errorf("%s: %v, %v", name, mechanism, err)
		}
	}
}

func TestAPasswordThatScramCannotCarryIsNotShown(t *testing.T) {
	cfg, err := configs.Load(configs.Sources{Environ: []string{
		"CHATTING_KAFKA_BROKERS=k:1", "CHATTING_KAFKA_SASL_MECHANISM=SCRAM-SHA-256", "CHATTING_KAFKA_SASL_USERNAME=u",
		"CHATTING_KAFKA_SASL_PASSWORD=hunter2\ue000",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kafkaSASL(cfg.Kafka.SASL); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "kafka.sasl_password") {
		t.Error(err)
	}
}

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
	cluster := kafka.NewCluster(kafka.ClusterOptions{Brokers: []string{hangingUp}})
	defer cluster.Close()
	var log bytes.Buffer
	waiting := brokerWait{cluster: cluster, logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := waiting.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case <-asked:
		case <-time.After(time.Minute):
			t.Fatal("nobody asks")
		}
	}
	if err := waiting.stop(t.Context()); err != nil { // joins the goroutine, so that the log may be read
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
		lifecycle := fxtest.NewLifecycle(t)
		if _, err := newCluster(lifecycle, cfg, broker{}, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "crosses the network in clear text"); got != warned {
			t.Errorf("kafka.tls %s: warned: %t", tls, got)
		}
		lifecycle.RequireStart().RequireStop()
	}
}
