// Package kafka is the event log: it appends, tails and sets up the topics, and translates between their bytes and the
// domain. The same code speaks to Apache Kafka (4.0 or newer) and to the broker inside the process.
package kafka

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
)

// ClusterOptions say how to reach the brokers.
type ClusterOptions struct {
	Brokers []string // host:port of one or more bootstrap brokers
	TLS     *tls.Config
	SASL    sasl.Mechanism
	// Dial connects to a broker; nil: over TCP. It has the signature of net.Dialer.DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Topics are those whose layout is asked for, once or twice a second; of a cluster that is shared with others, the
	// layout of all topics can be large. nil: all.
	Topics []string
	// Embedded tells that the broker is the one inside a server.
	Embedded bool
}

// Cluster is the connection to the brokers that appenders, tails and topic setup share. It must be closed after them.
type Cluster struct {
	options   ClusterOptions
	addr      net.Addr
	transport *kafka.Transport
	client    *kafka.Client
	stop      context.CancelFunc
	groups    groupStates
}

// clientID is by what brokers know the server's connections.
const clientID = "chatting"

// metadataTTL bounds how long the transport sends to a broker that no longer leads: it answers metadata requests from a
// cache and has no way to be told.
const metadataTTL = time.Second

// NewCluster prepares connections; it dials nothing yet.
func NewCluster(options ClusterOptions) *Cluster {
	if options.Dial == nil {
		options.Dial = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	}
	ctx, stop := context.WithCancel(context.Background())
	transport := &kafka.Transport{
		Dial:        dialUntil(ctx, options.Dial),
		DialTimeout: 3 * time.Second,
		MetadataTTL: metadataTTL,
		ClientID:    clientID,
		TLS:         options.TLS,
		SASL:        options.SASL,
		Context:     ctx,

		MetadataTopics: options.Topics,
	}
	addr := kafka.TCP(options.Brokers...)
	return &Cluster{
		options: options, addr: addr, transport: transport, stop: stop,
		client: &kafka.Client{Addr: addr, Transport: transport},
	}
}

// Close ends the connections, those that wait for an answer included, and the transport's metadata loop.
func (c *Cluster) Close() {
	c.stop()
	c.transport.CloseIdleConnections()
}

// String names the bootstrap brokers, for logs.
func (c *Cluster) String() string { return strings.Join(c.options.Brokers, ",") }

// Ping asks the bootstrap brokers for the cluster's metadata, all at once, over connections of their own: the transport
// would answer from its cache. It returns nil once one of them answers, or else why one did not.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	answers := make(chan error, len(c.options.Brokers))
	for _, broker := range c.options.Brokers {
		asked.Go(func() { answers <- c.ping(ctx, broker) })
	}
	var failed error
	for range c.options.Brokers {
		if failed = <-answers; failed == nil {
			return nil
		}
	}
	return failed
}

func (c *Cluster) ping(ctx context.Context, broker string) error {
	conn, err := c.dialer().DialContext(ctx, "tcp", broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_, err = conn.Brokers()
	return err
}

// dialer returns a dialer for the parts of kafka-go that do not use a transport.
func (c *Cluster) dialer() *kafka.Dialer {
	return &kafka.Dialer{
		ClientID: clientID, Timeout: 3 * time.Second, TLS: c.options.TLS, SASLMechanism: c.options.SASL,
		DialFunc: c.options.Dial,
	}
}

// dialFunc opens a connection.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialUntil returns a dialer like dial, whose connections are closed when ctx ends.
func dialUntil(ctx context.Context, dial dialFunc) dialFunc {
	return func(dialing context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(dialing, network, address)
		if err != nil {
			return nil, err
		}
		return connUntil{Conn: conn, forget: context.AfterFunc(ctx, func() { _ = conn.Close() })}, nil
	}
}

// connUntil is a connection that something else may close, too.
type connUntil struct {
	net.Conn

	forget func() bool
}

// Close implements net.Conn.
func (c connUntil) Close() error {
	c.forget()
	return c.Conn.Close()
}
