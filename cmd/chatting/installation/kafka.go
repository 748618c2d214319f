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
	"strings"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
)

// dialTimeout is how long a command waits for one of the brokers to answer.
const dialTimeout = 5 * time.Second

// Dial connects to the brokers of a configuration, for a command that uses these topics. The embedded broker is that of a running
// server. The error says why no broker answers. The caller closes the cluster.
func Dial(ctx context.Context, cfg configs.Config, topics ...string) (*logclient.Cluster, error) {
	options := logclient.ClusterOptions{Topics: topics}
	if cfg.Kafka.Embedded() {
		if cfg.EmbeddedKafka.Addr.Port() == 0 {
			return nil, errors.New("embedded_kafka.addr has no fixed port: say where the broker is with --embedded-kafka-addr")
		}
		options.Brokers = []string{cfg.EmbeddedKafka.Addr.Reachable()}
	} else {
		var err error
		if options, err = ClusterOptions(cfg.Kafka, topics...); err != nil {
			return nil, err
		}
	}
	cluster := kafka.NewCluster(options)
	attempt, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	err := cluster.Ping(attempt)
	if err == nil {
		return cluster, nil
	}
	cluster.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, exit.With(exit.Unavailable,
		fmt.Errorf("no Kafka broker answers at %s (%w)%s", cluster, PlainCause(err), dialHint(cfg, err)))
}

// PlainCause returns an error of the network without the addresses in it. The local one differs each time.
func PlainCause(err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if call := (*os.SyscallError)(nil); errors.As(err, &call) {
		err = call.Err
	}
	return err
}

// dialHint says what to look at when no broker answers.
func dialHint(cfg configs.Config, err error) string {
	if hint := BrokerHint(err); hint != "" {
		return ": " + hint
	}
	if cfg.Kafka.Embedded() && errors.Is(err, syscall.ECONNREFUSED) {
		return ": is the server running? The broker is inside it, unless kafka.brokers names others"
	}
	return ""
}

// ClusterOptions returns how to reach configured brokers. It fails if a file of the configuration cannot be used.
func ClusterOptions(c configs.Kafka, topics ...string) (logclient.ClusterOptions, error) {
	options := logclient.ClusterOptions{Brokers: c.Brokers, Topics: topics}
	var err error
	if options.TLS, err = kafkaTLS(c.TLS); err != nil {
		return logclient.ClusterOptions{}, exit.With(exit.Usage, err)
	}
	if options.SASL, err = kafkaSASL(c.SASL); err != nil {
		return logclient.ClusterOptions{}, exit.With(exit.Usage, err)
	}
	return options, nil
}

// kafkaTLS returns how to speak TLS to the brokers; nil if it is off. The files are read once.
func kafkaTLS(c configs.KafkaTLS) (*tls.Config, error) {
	if !c.On {
		return nil, nil //nolint:nilnil // nil is how kafka-go is told to speak plain text
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls_ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.tls_ca_file: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls_cert_file %s and kafka.tls_key_file %s: %w", c.CertFile, c.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// kafkaSASL returns how to authenticate to the brokers; nil if it is off.
func kafkaSASL(c configs.KafkaSASL) (sasl.Mechanism, error) {
	algorithm := scram.SHA256
	switch c.Mechanism {
	case configs.SASLNone:
		return nil, nil //nolint:nilnil // nil is how kafka-go is told to authenticate to nobody
	case configs.SASLPlain:
		return plain.Mechanism{Username: c.Username, Password: c.Password.Reveal()}, nil
	case configs.SASLScramSHA512:
		algorithm = scram.SHA512
	case configs.SASLScramSHA256:
	}
	mechanism, err := scram.Mechanism(algorithm, c.Username, c.Password.Reveal())
	if err != nil {
		// The library's error quotes the password.
		return nil, errors.New("kafka.sasl_username or kafka.sasl_password has characters that SCRAM does not allow (RFC 4013)")
	}
	return mechanism, nil
}

// BrokerHint names the options to look at after a failure to speak with the brokers; "" if it knows none.
func BrokerHint(err error) string {
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return "the broker's certificate comes from nobody whom kafka.tls_ca_file (or, without it, the system) trusts"
	case errors.As(err, &wrongHost):
		return "the broker's certificate is for another host: see kafka.brokers and kafka.tls_server_name"
	case errors.As(err, &noTLS):
		return "this listener does not speak TLS: see kafka.tls and the port in kafka.brokers"
	case strings.Contains(err.Error(), "remote error: tls: "): // the type of alerts is not exported
		return "the broker refuses the TLS handshake: see kafka.tls_cert_file, which it may ask for or not trust"
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return "the broker refuses kafka.sasl_username with kafka.sasl_password"
	case errors.Is(err, kafkago.UnsupportedSASLMechanism), errors.Is(err, kafkago.IllegalSASLState):
		return "this listener does not offer the mechanism: see kafka.sasl_mechanism and the port in kafka.brokers"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the broker hangs up: does this listener speak what kafka.tls and kafka.sasl_mechanism say?"
	}
	return ""
}
