package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
)

// broker looks at the brokers, the topics and the rights.
func (p *patient) broker(ctx context.Context) {
	cfg := p.Config
	if cfg.Kafka.Embedded() {
		if !p.serving {
			p.skip("the broker is inside the server, which does not run here")
			return
		}
		if cfg.EmbeddedKafka.Addr.Port() == 0 {
			p.skip("embedded_kafka.addr has no fixed port, so nobody knows where the broker listens")
			return
		}
		cfg = installation.WithPartitions(cfg)
	} else if !p.bootstraps(ctx) {
		return
	}
	cluster, err := installation.Dial(ctx, cfg, kafka.NamesFor(cfg.TopicPrefix).All()...)
	if err != nil {
		p.fail(brokerChange(cfg), "%v", err)
		return
	}
	defer cluster.Close()
	setup := installation.TopicSetup(cfg, nil)
	seen, err := within(ctx, func(ctx context.Context) (kafka.Seen, error) { return setup.Look(ctx, cluster, groupsOf(cfg)) })
	// What was seen before an error counts, too.
	unreachable := p.advertised(ctx, seen.Brokers)
	p.rights(cfg, seen)
	p.topics(ctx, setup, cluster, seen)
	switch {
	case err != nil && !unreachable:
		p.fail("look at the brokers' logs, and grant the rights of docs/operations.md", "the brokers do not answer all questions: %v", err)
	case err == nil && !cfg.Kafka.Embedded() && len(seen.Brokers) < 3:
		p.warn("add brokers until there are three, with replicas on each",
			"the cluster has less than three brokers (%d): the loss of one stops it, or loses messages", len(seen.Brokers))
	}
	if unreachable || err != nil {
		return
	}
	p.ok("the brokers answer at %s; kafka.partitions is %d", strings.Join(seen.Brokers, ", "), cfg.Kafka.Partitions)
	p.belongs(ctx, cfg, cluster)
}

// groupsOf returns the consumer groups of a server.
func groupsOf(cfg configs.Config) []string {
	var groups []string
	for _, name := range []string{"history", "system-messages", "presence-audit"} {
		groups = append(groups, cfg.TopicPrefix+"."+name)
	}
	return groups
}

func brokerChange(cfg configs.Config) string {
	if cfg.Kafka.Embedded() {
		return "restart the server, and look at its log"
	}
	return "start the brokers, or correct kafka.brokers (CHATTING_KAFKA_BROKERS), and kafka.tls and kafka.sasl_* if the error names them"
}

// bootstraps asks each broker of kafka.brokers by itself, and returns whether one answers.
func (p *patient) bootstraps(ctx context.Context) (one bool) {
	options, err := installation.ClusterOptions(p.Config.Kafka)
	if err != nil {
		p.fail("correct the file or the option that it names", "%v", err)
		return false
	}
	causes := make([]error, len(options.Brokers))
	var asked sync.WaitGroup
	for i, broker := range options.Brokers {
		asked.Go(func() {
			own := options
			own.Brokers = []string{broker}
			cluster := kafka.NewCluster(own)
			defer cluster.Close()
			_, causes[i] = within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, cluster.Ping(ctx) })
		})
	}
	asked.Wait()
	one = slices.Contains(causes, nil)
	for i, broker := range options.Brokers {
		if causes[i] == nil {
			continue
		}
		hint := installation.BrokerHint(causes[i])
		secured := p.Config.Kafka.TLS.On || p.Config.Kafka.SASL.Mechanism != configs.SASLNone
		switch silent := net.Error(nil); {
		case hint != "":
		case secured && errors.As(causes[i], &silent) && silent.Timeout():
			hint = "see whether this listener speaks what kafka.tls and kafka.sasl_mechanism say, and the port in kafka.brokers"
		default:
			hint = "start it, or correct kafka.brokers (CHATTING_KAFKA_BROKERS)"
		}
		say := p.fail
		if one {
			say = p.warn
		}
		say(hint, "the broker %s does not answer: %v", broker, installation.PlainCause(causes[i]))
	}
	return one
}

// advertised connects to the addresses that the brokers tell clients, and returns whether one of them cannot be reached.
func (p *patient) advertised(ctx context.Context, brokers []string) (unreachable bool) {
	for _, broker := range brokers {
		conn, err := within(ctx, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", broker) })
		if err == nil {
			_ = conn.Close()
			continue
		}
		unreachable = true
		p.fail("correct advertised.listeners of that broker, or the name service of this machine",
			"a broker says that clients reach it at %s, but this machine does not: %v", broker, installation.PlainCause(err))
	}
	return unreachable
}

// rights tells which rights are missing.
func (p *patient) rights(cfg configs.Config, seen kafka.Seen) {
	user := cfg.Kafka.SASL.Username
	if user == "" {
		user = "this user"
	}
	for _, right := range seen.Rights {
		grant := fmt.Sprintf("kafka-acls.sh --add --allow-principal User:%s --operation %s --%s %s",
			orName(cfg.Kafka.SASL.Username), right.Operation, right.Kind, right.Name)
		p.fail(grant, "%s has not the right to %s", user, right)
	}
	switch {
	case cfg.Kafka.Embedded() || len(seen.Brokers) == 0: // nobody asks for rights, or nobody answers
	case len(seen.Missing) == topicsOf(cfg):
		p.skip("which rights this user has is told once the topics are there")
	case !seen.RightsTold:
		p.skip("the brokers do not tell which rights this user has")
	case len(seen.Rights) == 0:
		p.ok("this user has the rights on topics and groups that a server needs")
	}
}

func topicsOf(cfg configs.Config) int { return len(kafka.NamesFor(cfg.TopicPrefix).All()) }

func orName(user string) string {
	if user == "" {
		return "NAME"
	}
	return user
}

// topics tells what is wrong with the topics.
func (p *patient) topics(ctx context.Context, setup kafka.TopicSetup, cluster *logclient.Cluster, seen kafka.Seen) {
	for _, found := range seen.Problems {
		p.fail(topicChange(found, setup.Partitions), "%s", found.Error())
	}
	for _, found := range seen.Doubts {
		p.warn(topicChange(found, setup.Partitions), "%s", found.Error())
	}
	switch {
	case len(seen.Missing) == 0:
	case setup.VerifyOnly:
		p.fail(fmt.Sprintf("make them with %d partitions, as docs/operations.md says, or set kafka.topics to create", setup.Partitions),
			"kafka.topics is verify, and these topics are not there: %s", strings.Join(seen.Missing, ", "))
	default:
		_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, setup.MayCreate(ctx, cluster, seen.Missing)
		})
		if refused := (*kafka.TopicError)(nil); errors.As(err, &refused) {
			p.fail("grant Create on the topics, or make them as docs/operations.md says", "%v", err)
		} else if err == nil {
			p.ok("the first start makes the topics %s", strings.Join(seen.Missing, ", "))
		}
	}
}

// topicChange says what to change about a topic.
func topicChange(found kafka.TopicError, partitions int) string {
	problem := found.Problem
	for _, row := range []struct{ words, change string }{
		{"partitions, not", fmt.Sprintf(
			"set kafka.partitions to the number of the topic, or let chatting adopt move to topics with %d", partitions)},
		{"without a leader", "start the brokers that have them"},
		{"the loss of a broker", "add replicas with kafka-reassign-partitions.sh"},
		{"does not let", "grant DescribeConfigs to have them checked"},
		{"cannot be created", "grant Create, or make it as docs/operations.md says"},
		{"min.insync.replicas=1 ", "kafka-configs.sh --alter --topic " + found.Topic + " --add-config min.insync.replicas=2"},
		{"min.insync.replicas", "start the missing brokers, or correct min.insync.replicas with kafka-configs.sh"},
	} {
		if strings.Contains(problem, row.words) {
			return row.change
		}
	}
	return "correct it with kafka-configs.sh --alter --topic " + found.Topic
}

// belongs tells whether the database belongs to this log, if both can be asked.
func (p *patient) belongs(ctx context.Context, cfg configs.Config, cluster *logclient.Cluster) {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, installation.Belongs(ctx, cfg, cluster)
	})
	if err == nil || errors.Is(err, installation.ErrNotKnown) || errors.As(err, new(kafkago.Error)) {
		return // what is away is told by its own check
	}
	if installation.IsOtherLog(err) {
		p.fail("correct topic_prefix, kafka.brokers or database.url; chatting adopt moves the database to this log", "%v", err)
	}
}
