package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/configs"
)

// configured loads a configuration from variables alone.
func configured(t *testing.T, environ ...string) configs.Config {
	t.Helper()
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestACommandSaysWhyNoBrokerAnswers(t *testing.T) {
	hangsUp, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			conn, err := hangsUp.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	for _, row := range []struct {
		environ string
		want    []string
	}{
		{"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:1", []string{"no Kafka broker answers at 127.0.0.1:1 (connection refused)", "is the server running?"}},
		{"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", []string{"no fixed port", "--embedded-kafka-addr"}},
		{"CHATTING_KAFKA_BROKERS=127.0.0.1:1", []string{"no Kafka broker answers at 127.0.0.1:1 (connection refused)"}},
		{"CHATTING_KAFKA_BROKERS=" + hangsUp.Addr().String(), []string{hangsUp.Addr().String(), "the broker hangs up", "kafka.tls"}},
	} {
		cluster, err := dialKafka(t.Context(), configured(t, row.environ), "chatting.conversations")
		if err == nil {
			cluster.Close()
			t.Errorf("%s: no error", row.environ)
			continue
		}
		for _, words := range row.want {
			if !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v; want %q", row.environ, err, words)
			}
		}
	}
}

func TestWhatABrokerRefusesPointsToItsOption(t *testing.T) {
	for want, err := range map[string]error{
		"kafka.tls_ca_file":                     x509.UnknownAuthorityError{},
		"kafka.tls_server_name":                 x509.HostnameError{Certificate: &x509.Certificate{}},
		"does not speak TLS":                    tls.RecordHeaderError{},
		"kafka.tls_cert_file":                   errors.New("remote error: tls: certificate required"),
		"kafka.sasl_password":                   kafkago.SASLAuthenticationFailed,
		"see kafka.sasl_mechanism and the port": kafkago.UnsupportedSASLMechanism,
		"the broker hangs up":                   io.ErrUnexpectedEOF,
	} {
		if hint := brokerHint(fmt.Errorf("wrapped: %w", err)); !strings.Contains(hint, want) {
			t.Errorf("%v: the hint is %q, want %q", err, hint, want)
		}
	}
	if hint := brokerHint(errors.New("something else")); hint != "" {
		t.Errorf("of an unknown failure it says %q", hint)
	}
}

func TestACommandThatIsInterruptedStopsDialling(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := dialKafka(ctx, configured(t, "CHATTING_KAFKA_BROKERS=127.0.0.1:1")); err != context.Canceled { //nolint:errorlint // as it is
		t.Error(err)
	}
}
