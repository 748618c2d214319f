package main

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
	"chatting/configs"
)

// kafkaFlags are the options that a command has flags for when it asks the brokers itself.
var kafkaFlags = []string{"embedded_kafka.addr", "kafka.brokers", "topic_prefix"}

// dialTimeout is how long a command waits for one of the brokers to answer.
const dialTimeout = 5 * time.Second

// dialKafka returns a connection to the brokers that a server with this configuration uses, the embedded one of a running
// server included, once one of them has answered; that none does is an error that says why. The caller closes it. topics
// are those that the command will use.
func dialKafka(ctx context.Context, cfg configs.Config, topics ...string) (*kafka.Cluster, error) {
	options := kafka.ClusterOptions{Topics: topics}
	if cfg.Kafka.Embedded() {
		if cfg.EmbeddedKafka.Addr.Port() == 0 {
			return nil, errors.New("embedded_kafka.addr has no fixed port: say where the broker is with --embedded-kafka-addr")
		}
		options.Brokers = []string{ownHost(cfg.EmbeddedKafka.Addr)}
	} else {
		var err error
		if options, err = clusterOptions(cfg.Kafka, topics...); err != nil {
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
	return nil, fmt.Errorf("no Kafka broker answers at %s (%w)%s", cluster, plainCause(err), dialHint(cfg, err))
}

// plainCause returns an error of the network without the addresses in it, of which one's own is another each time.
func plainCause(err error) error {
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
	if hint := brokerHint(err); hint != "" {
		return ": " + hint
	}
	if cfg.Kafka.Embedded() && errors.Is(err, syscall.ECONNREFUSED) {
		return ": is the server running? The broker is inside it, unless kafka.brokers names others"
	}
	return ""
}

// ownHost returns host:port of a listener as its own machine reaches it.
func ownHost(listener configs.Address) string {
	host := listener.Host()
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, fmt.Sprint(listener.Port()))
}

// clusterOptions returns how to reach configured brokers. What the configuration names and cannot be used is an error.
func clusterOptions(c configs.Kafka, topics ...string) (kafka.ClusterOptions, error) {
	options := kafka.ClusterOptions{Brokers: c.Brokers, Topics: topics}
	var err error
	if options.TLS, err = kafkaTLS(c.TLS); err != nil {
		return kafka.ClusterOptions{}, err
	}
	if options.SASL, err = kafkaSASL(c.SASL); err != nil {
		return kafka.ClusterOptions{}, err
	}
	return options, nil
}

// kafkaTLS returns how to speak TLS to the brokers; nil where it is off. The files are read once.
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

// kafkaSASL returns how to authenticate to the brokers; nil where it is off.
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

// brokerHint names the options that a failure to speak with the brokers points to; "" where nothing is known.
func brokerHint(err error) string {
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
