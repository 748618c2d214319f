// Package logclient is a client of a Kafka log for programs that append to it and follow it, over kafka-go: the Cluster that all
// share, a Tail that reads on whatever happens to brokers, readings that end, and looks at offsets and topics. README.md says when
// to use it. It knows nothing of what the records mean. Package appending appends, package recordbatch has the bytes of batches,
// package groups consumer groups.
package logclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/sasl"
)

// ClusterOptions say how to reach the brokers.
type ClusterOptions struct {
	Brokers  []string // host:port of one or more bootstrap brokers
	ClientID string   // by which brokers know the connections
	TLS      *tls.Config
	SASL     sasl.Mechanism
	// Dial connects to a broker; nil: over TCP. It has the signature of net.Dialer.DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Topics are those whose layout is asked for, once or twice a second; of a cluster that is shared with others, the
	// layout of all topics can be large. nil: all.
	Topics []string
	// Embedded tells that the broker is inside this process, or was inside the process that wrote the log.
	Embedded bool
}

// Cluster is the connection to the brokers that appenders, tails and topic setup share. It must be closed after them.
type Cluster struct {
	groupStates
	failures

	options   ClusterOptions
	addr      net.Addr
	transport *kafkago.Transport
	client    *kafkago.Client
	stop      context.CancelFunc
}

// metadataTTL bounds how long the transport sends to a broker that no longer leads: it answers metadata requests from a
// cache and has no way to be told.
const metadataTTL = time.Second

// NewCluster prepares connections; it dials nothing yet.
func NewCluster(options ClusterOptions) *Cluster {
	if options.Dial == nil {
		options.Dial = (&net.Dialer{Timeout: 3 * time.Second}).DialContext
	}
	ctx, stop := context.WithCancel(context.Background())
	transport := &kafkago.Transport{
		Dial:        dialUntil(ctx, options.Dial),
		DialTimeout: 3 * time.Second,
		MetadataTTL: metadataTTL,
		ClientID:    options.ClientID,
		TLS:         options.TLS,
		SASL:        options.SASL,
		Context:     ctx,

		MetadataTopics: options.Topics,
	}
	addr := kafkago.TCP(options.Brokers...)
	return &Cluster{
		options: options, addr: addr, transport: transport, stop: stop,
		client: &kafkago.Client{Addr: addr, Transport: transport},
	}
}

// Close ends the connections, those that wait for an answer included, and the transport's metadata loop.
func (c *Cluster) Close() {
	c.stop()
	c.transport.CloseIdleConnections()
}

// String names the bootstrap brokers, for logs.
func (c *Cluster) String() string { return strings.Join(c.options.Brokers, ",") }

// Options returns how the cluster is reached.
func (c *Cluster) Options() ClusterOptions { return c.options }

// Client returns kafka-go's client over the same connections.
func (c *Cluster) Client() *kafkago.Client { return c.client }

// RoundTrip sends a request to the broker that it is for and returns the answer.
func (c *Cluster) RoundTrip(ctx context.Context, request protocol.Message) (protocol.Message, error) {
	answer, err := c.transport.RoundTrip(ctx, c.addr, request)
	if err != nil {
		c.failures.count(ctx, err)
	}
	return answer, err
}

// ErrAnswer says that a broker's answer does not belong to the request.
var ErrAnswer = errors.New("an answer that is none to the request")

// Leaders returns who leads each partition of a topic, as the transport last heard. It waits only until that has heard of any.
func (c *Cluster) Leaders(ctx context.Context, topic string) map[int]int {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	response, err := c.RoundTrip(ctx, &metadata.Request{TopicNames: []string{topic}})
	if err != nil {
		return nil
	}
	answer, ok := response.(*metadata.Response)
	if !ok {
		return nil
	}
	leaders := make(map[int]int)
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if partition.LeaderID >= 0 {
				leaders[int(partition.PartitionIndex)] = int(partition.LeaderID)
			}
		}
	}
	return leaders
}

// Layout is what the transport last heard of the cluster.
type Layout struct {
	ClusterID string // "" if the brokers tell none
	Brokers   int
	Topics    map[string]TopicLayout
}

// TopicLayout is what the transport last heard of a topic.
type TopicLayout struct {
	Missing    bool
	Partitions int
	Leaderless int // partitions
	Replicas   int // of the partition with the fewest
}

// Layout returns the layout of the cluster.
func (c *Cluster) Layout(ctx context.Context) (Layout, error) {
	response, err := c.RoundTrip(ctx, &metadata.Request{})
	if err != nil {
		return Layout{}, fmt.Errorf("asking %s for the cluster's layout: %w", c, err)
	}
	answer, ok := response.(*metadata.Response)
	if !ok {
		return Layout{}, ErrAnswer
	}
	l := Layout{ClusterID: answer.ClusterID, Brokers: len(answer.Brokers), Topics: make(map[string]TopicLayout, len(answer.Topics))}
	for _, topic := range answer.Topics {
		t := TopicLayout{Missing: topic.ErrorCode != 0, Partitions: len(topic.Partitions)}
		for i, partition := range topic.Partitions {
			if replicas := len(partition.ReplicaNodes); i == 0 || replicas < t.Replicas {
				t.Replicas = replicas
			}
			if partition.LeaderID < 0 || partition.ErrorCode != 0 {
				t.Leaderless++
			}
		}
		l.Topics[topic.Name] = t
	}
	return l, nil
}

// Partitions returns how many partitions a topic has.
func (c *Cluster) Partitions(ctx context.Context, topic string) (int, error) {
	found, err := c.Layout(ctx)
	if err != nil {
		return 0, err
	}
	known, ok := found.Topics[topic]
	if !ok || known.Missing || known.Partitions == 0 {
		return 0, fmt.Errorf("there is no topic %s, or this user may not know of it", topic)
	}
	return known.Partitions, nil
}

// Ping asks the bootstrap brokers for the cluster's metadata, all at once, over connections of their own: the transport
// would answer from its cache. It returns nil once one of them answers, or else why one did not.
func (c *Cluster) Ping(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	answers := make(chan error, len(c.options.Brokers))
	for _, broker := range c.options.Brokers {
		asked.Go(func() { answers <- bootstrap{&c.options, broker}.ping(ctx) })
	}
	var failed error
	for range c.options.Brokers {
		if failed = <-answers; failed == nil {
			return nil
		}
	}
	return failed
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
