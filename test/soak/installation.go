package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver postgres
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	_ "modernc.org/sqlite" // the driver sqlite
)

const (
	secret     = "of-the-soak-and-of-nothing-else-at-all"
	topics     = ".conversations .sessions .presence .audit .system-messages .system-messages.dlt"
	startLimit = 3 * time.Minute
	stopLimit  = time.Minute
)

// installation is one or more nodes with what they share.
type installation struct {
	name   string
	prefix string // of topics
	nodes  []*node
	log    *kgo.Client
	db     *sql.DB
	// dataDir is that of embedded parts, "" without.
	dataDir string
	samples samples
	crowd   *crowd // nil before it comes

	brokers, driver, database string
	remove                    func() error // what is left behind, nil for nothing
}

// node is one process.
type node struct {
	number        int
	http, metrics string
	process       *exec.Cmd
	ended         chan struct{}
}

// settings are those of every node.
func (o *options) settings(prefix string, n *node) []string {
	return []string{
		"CHATTING_HTTP_ADDR=" + n.http, "CHATTING_METRICS_ADDR=" + n.metrics, "CHATTING_METRICS_PPROF=true", "CHATTING_TOPIC_PREFIX=" + prefix,
		"CHATTING_JWT_SECRET=" + secret, "CHATTING_S2S_TOKEN=" + secret, "CHATTING_KAFKA_PARTITIONS=4", "CHATTING_HISTORY_RETENTION=15m",
		"CHATTING_INVITE_EXPIRES_AFTER=10s", "CHATTING_PRESENCE_OFFLINE_GRACE=1s", "CHATTING_WEBSOCKET_TOKEN_RECHECK=10s",
		"CHATTING_PRESENCE_LEASE=30s", // on a busy machine, so that nodes do not bury each other
	}
}

func newNode(number int) *node {
	return &node{number: number, http: freeAddress(), metrics: freeAddress()}
}

// embedded is a server on its embedded parts.
func embedded(o *options) *installation {
	n := newNode(1)
	i := &installation{name: "embedded", prefix: "soak", nodes: []*node{n}, brokers: freeAddress(), driver: "sqlite"}
	i.dataDir = filepath.Join(o.dir, "embedded", "data")
	i.database = "file:" + filepath.Join(i.dataDir, "chatting.db") + "?mode=ro"
	n.process = o.command(filepath.Join(o.dir, "embedded"), append(o.settings(i.prefix, n),
		"CHATTING_DATA_DIR="+i.dataDir, "CHATTING_EMBEDDED_KAFKA_ADDR="+i.brokers)...)
	return i
}

// cluster is two nodes on the Kafka and PostgreSQL that the environment names, with a database and topics of their own.
func cluster(o *options) *installation {
	i := &installation{
		name: "cluster", prefix: "soak-" + strings.ToLower(rand.Text()[:6]), brokers: os.Getenv("CHATTING_TEST_KAFKA"), driver: "postgres",
		database: os.Getenv("CHATTING_TEST_POSTGRES"),
	}
	admin := i.database
	name := strings.ReplaceAll(i.prefix, "-", "_")
	if u, err := url.Parse(admin); err == nil {
		u.Path = "/" + name
		i.database = u.String()
	}
	for number := 1; number <= 2; number++ {
		n := newNode(number)
		n.process = o.command(filepath.Join(o.dir, fmt.Sprint("node-", number)), append(o.settings(i.prefix, n),
			"CHATTING_KAFKA_BROKERS="+i.brokers, "CHATTING_DATABASE_URL="+i.database, "CHATTING_CHAT_OFFLINE=store")...)
		i.nodes = append(i.nodes, n)
	}
	i.remove = func() error {
		return errors.Join(i.deleteTopics(), administer(admin, "DROP DATABASE "+name+" WITH (FORCE)"))
	}
	n := i.nodes[0]
	if err := administer(admin, "CREATE DATABASE "+name); err != nil {
		n.process.Err = fmt.Errorf("CHATTING_TEST_POSTGRES (see test/infra/up): %w", err)
	}
	return i
}

func administer(database, statement string) error {
	db, err := sql.Open("postgres", database)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(statement)
	return err
}

// command is a server that has not started.
func (o *options) command(dir string, settings ...string) *exec.Cmd {
	c := exec.Command(o.program)
	c.Dir = dir
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CHATTING_") }), settings...)
	// Nothing is left if this program is killed.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// start starts the nodes one after the other.
func (i *installation) start(ctx context.Context) error {
	for _, n := range i.nodes {
		if err := n.start(ctx); err != nil {
			return fmt.Errorf("%s, node %d: %w", i.name, n.number, err)
		}
	}
	var err error
	if i.db, err = sql.Open(i.driver, i.database); err != nil {
		return err
	}
	if i.log, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(i.brokers, ",")...)); err != nil {
		return err
	}
	if i.dataDir != "" {
		return nil
	}
	return i.shortenSegments(ctx)
}

func (n *node) start(ctx context.Context) error {
	if err := os.MkdirAll(n.process.Dir, 0o700); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(n.process.Dir, "server.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	n.process.Stdout, n.process.Stderr = log, log
	if err := n.process.Start(); err != nil {
		return err
	}
	n.ended = make(chan struct{})
	go func() {
		_ = n.process.Wait()
		close(n.ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for !n.isReady(ctx) {
		select {
		case <-n.ended:
			return fmt.Errorf("it ended: see %s", log.Name())
		case <-ctx.Done():
			return fmt.Errorf("it is not ready: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

func (n *node) isReady(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// stop ends the nodes and removes what they leave in parts that are shared.
func (i *installation) stop() error {
	var failed error
	for _, n := range i.nodes {
		if n.ended == nil {
			continue
		}
		_ = n.process.Process.Signal(syscall.SIGTERM)
		select {
		case <-n.ended:
		case <-time.After(stopLimit):
			failed = errors.Join(failed, fmt.Errorf("%s, node %d did not end within %s of SIGTERM", i.name, n.number, stopLimit))
			_ = n.process.Process.Kill()
			<-n.ended
		}
	}
	if i.db != nil {
		_ = i.db.Close()
	}
	if i.samples.file != nil {
		failed = errors.Join(failed, i.samples.file.Close())
	}
	if i.remove != nil {
		failed = errors.Join(failed, i.remove())
	}
	if i.log != nil {
		i.log.Close()
	}
	return failed
}

func (i *installation) topicNames() (names []string) {
	for suffix := range strings.FieldsSeq(topics) {
		names = append(names, i.prefix+suffix)
	}
	return names
}

// shortenSegments has the brokers look each minute whether they can delete something: they delete whole files.
func (i *installation) shortenSegments(ctx context.Context) error {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, name := range i.topicNames() {
		resource := kmsg.NewIncrementalAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, name
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = "segment.ms", kmsg.StringPtr(fmt.Sprint(time.Minute.Milliseconds()))
		resource.Configs = append(resource.Configs, config)
		request.Resources = append(request.Resources, resource)
	}
	answer, err := request.RequestWith(ctx, i.log)
	if err != nil {
		return fmt.Errorf("%s: the settings of topics: %w", i.name, err)
	}
	for _, resource := range answer.Resources {
		if resource.ErrorCode != 0 {
			return fmt.Errorf("%s: the settings of %s: error %d", i.name, resource.ResourceName, resource.ErrorCode)
		}
	}
	return nil
}

func (i *installation) deleteTopics() error {
	if i.log == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = int32(stopLimit.Milliseconds())
	for _, name := range i.topicNames() {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		request.Topics = append(request.Topics, topic)
		request.TopicNames = append(request.TopicNames, name) // for brokers that know no more
	}
	_, err := request.RequestWith(ctx, i.log)
	return err
}

// freeAddress returns an address of loopback that nothing listens on.
func freeAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // this machine has no ports
	}
	defer listener.Close()
	return listener.Addr().String()
}
