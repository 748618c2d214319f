package installation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
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
		cluster, err := Dial(t.Context(), configured(t, row.environ), "chatting.conversations")
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
		if hint := BrokerHint(fmt.Errorf("wrapped: %w", err)); !strings.Contains(hint, want) {
			t.Errorf("%v: the hint is %q, want %q", err, hint, want)
		}
	}
	if hint := BrokerHint(errors.New("something else")); hint != "" {
		t.Errorf("of an unknown failure it says %q", hint)
	}
}

func TestACommandThatIsInterruptedStopsDialling(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	if _, err := Dial(ctx, configured(t, "CHATTING_KAFKA_BROKERS=127.0.0.1:1")); err != context.Canceled { //nolint:errorlint // as it is
		t.Error(err)
	}
}

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
