package logclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
)

// AskAnew sends a request to the first bootstrap broker that answers, over a connection of its own. RoundTrip answers requests for
// metadata from a cache, and has no rights there.
func (c *Cluster) AskAnew(ctx context.Context, request protocol.Message) (answer protocol.Message, err error) {
	for _, broker := range c.options.Brokers {
		if answer, err = (bootstrap{&c.options, broker}).ask(ctx, request); err == nil || ctx.Err() != nil {
			break
		}
	}
	return answer, err
}

// bootstrap is one of the brokers that the options name, asked over a connection of its own.
type bootstrap struct {
	options *ClusterOptions
	broker  string // host:port
}

// ping asks the broker for the cluster's metadata.
func (b bootstrap) ping(ctx context.Context) error {
	dialer := kafkago.Dialer{
		ClientID: b.options.ClientID, Timeout: 3 * time.Second, TLS: b.options.TLS, SASLMechanism: b.options.SASL,
		DialFunc: b.options.Dial,
	}
	conn, err := dialer.DialContext(ctx, "tcp", b.broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_, err = conn.Brokers()
	return err
}

// ask sends the broker a request.
func (b bootstrap) ask(ctx context.Context, request protocol.Message) (protocol.Message, error) {
	plain, err := b.options.Dial(ctx, "tcp", b.broker)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	defer context.AfterFunc(ctx, func() { _ = plain.SetDeadline(time.Unix(1, 0)) })()
	secured := plain
	if b.options.TLS != nil {
		config := b.options.TLS.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(b.broker); err != nil {
				return nil, err
			}
		}
		secured = tls.Client(plain, config)
	}
	conn := protocol.NewConn(secured, b.options.ClientID)
	answer, err := conn.RoundTrip(&apiversions.Request{})
	if err != nil {
		return nil, err
	}
	told, ok := answer.(*apiversions.Response)
	if !ok {
		return nil, ErrAnswer
	}
	versions := make(map[protocol.ApiKey]int16, len(told.ApiKeys))
	for _, api := range told.ApiKeys {
		key := protocol.ApiKey(api.ApiKey)
		versions[key] = key.SelectVersion(api.MinVersion, api.MaxVersion)
	}
	conn.SetVersions(versions)
	if err := b.authenticate(ctx, conn); err != nil {
		return nil, err
	}
	return conn.RoundTrip(request)
}

// authenticate does what SASL asks for, if it is on (KIP-43, KIP-152).
func (b bootstrap) authenticate(ctx context.Context, conn *protocol.Conn) error {
	mechanism := b.options.SASL
	if mechanism == nil {
		return nil
	}
	answer, err := conn.RoundTrip(&saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return err
	}
	if shaken, ok := answer.(*saslhandshake.Response); !ok {
		return ErrAnswer
	} else if shaken.ErrorCode != 0 {
		return kafkago.Error(shaken.ErrorCode)
	}
	session, state, err := mechanism.Start(ctx)
	if err != nil {
		return err
	}
	for done := false; !done; {
		answer, err := conn.RoundTrip(&saslauthenticate.Request{AuthBytes: state})
		if errors.Is(err, io.EOF) { // how some brokers refuse
			return kafkago.SASLAuthenticationFailed
		}
		if err != nil {
			return err
		}
		told, ok := answer.(*saslauthenticate.Response)
		if !ok {
			return ErrAnswer
		}
		if told.ErrorCode != 0 {
			return kafkago.Error(told.ErrorCode)
		}
		if done, state, err = session.Next(ctx, told.AuthBytes); err != nil {
			return fmt.Errorf("authenticating: %w", err)
		}
	}
	return nil
}
