package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"go.uber.org/fx"

	"chatting/adapters/kafka"
	"chatting/configs"
)

// newCluster prepares the connection to the brokers. What the configuration names and cannot be used is an error; brokers
// that are away or refuse this server are waited for, and the log says why.
func newCluster(lc fx.Lifecycle, cfg configs.Config, own broker, logger *slog.Logger) (*kafka.Cluster, error) {
	if own.Broker != nil {
		cluster := kafka.NewCluster(kafka.ClusterOptions{Brokers: []string{own.Addr()}})
		lc.Append(fx.StopHook(cluster.Close))
		return cluster, nil
	}
	options := kafka.ClusterOptions{Brokers: cfg.Kafka.Brokers, Topics: kafka.NamesFor(cfg.TopicPrefix).All()}
	var err error
	if options.TLS, err = kafkaTLS(cfg.Kafka.TLS); err != nil {
		return nil, err
	}
	if options.SASL, err = kafkaSASL(cfg.Kafka.SASL); err != nil {
		return nil, err
	}
	if cfg.Kafka.SASL.Mechanism == configs.SASLPlain && !cfg.Kafka.TLS.On {
		logger.Warn("the password for Kafka crosses the network in clear text: " +
			"kafka.sasl_mechanism is PLAIN and kafka.tls is off")
	}
	cluster := kafka.NewCluster(options)
	lc.Append(fx.StopHook(cluster.Close))
	waiting := brokerWait{cluster: cluster, logger: logger}
	lc.Append(fx.Hook{OnStart: waiting.start, OnStop: waiting.stop})
	return cluster, nil
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

// brokerWait tells in the log why the brokers do not answer at the start: what waits for them only waits. Once they have
// answered, it ends; from then on readiness tells.
type brokerWait struct {
	cluster *kafka.Cluster
	logger  *slog.Logger

	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	brokerWaitEvery  = 2 * time.Second
	brokerWaitRepeat = time.Minute // the same reason is logged again
)

func (w *brokerWait) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.done.Go(func() { w.run(ctx) })
	return nil
}

func (w *brokerWait) stop(context.Context) error {
	w.cancel()
	w.done.Wait()
	return nil
}

func (w *brokerWait) run(ctx context.Context) {
	var hinted string
	var saidAt time.Time
	for {
		attempt, cancel := context.WithTimeout(ctx, brokerWaitEvery)
		err := w.cluster.Ping(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}
		// Not by the error's text, which may name a port that is another each time.
		if hint := brokerHint(err); saidAt.IsZero() || hint != hinted || time.Since(saidAt) > brokerWaitRepeat {
			hinted, saidAt = hint, time.Now()
			attributes := []any{"brokers", w.cluster.String(), "error", err}
			if hint != "" {
				attributes = append(attributes, "hint", hint)
			}
			w.logger.Warn("waiting for Kafka", attributes...)
		}
		select {
		case <-time.After(brokerWaitEvery):
		case <-ctx.Done():
			return
		}
	}
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
