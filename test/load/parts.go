package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/lib/pq" // the driver postgres
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	pipePartitions = 16 // as many as the server's topics have by default
	setupTimeout   = time.Minute
)

// startParts starts Kafka and PostgreSQL, unless the environment names them. stop ends what it started.
func (l *load) startParts(ctx context.Context, root string) (stop func() error, err error) {
	l.brokers, l.database = os.Getenv("CHATTING_TEST_KAFKA"), os.Getenv("CHATTING_TEST_POSTGRES")
	if l.brokers != "" && l.database != "" {
		return func() error { return nil }, nil
	}
	note("starting Kafka and PostgreSQL")
	script := func(ctx context.Context, name string) (string, error) {
		command := exec.CommandContext(ctx, filepath.Join(root, "test", "infra", name))
		command.Env = append(os.Environ(), "CHATTING_TEST_INFRA_DIR="+filepath.Join(l.dir, "infra"))
		command.Stderr = os.Stderr
		out, err := command.Output()
		if err != nil {
			return "", fmt.Errorf("test/infra/%s: %w", name, err)
		}
		return string(out), nil
	}
	stop = func() error {
		_, err := script(context.Background(), "down") // also after Ctrl-C
		return err
	}
	told, err := script(ctx, "up")
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	for line := range strings.Lines(told) {
		line = strings.TrimSpace(line)
		if value, ok := strings.CutPrefix(line, "export CHATTING_TEST_KAFKA="); ok {
			l.brokers = value
		}
		if value, ok := strings.CutPrefix(line, "export CHATTING_TEST_POSTGRES="); ok {
			l.database = value
		}
	}
	if l.brokers == "" || l.database == "" {
		return nil, errors.Join(errors.New("test/infra/up does not name both parts"), stop())
	}
	return stop, nil
}

// createDatabase returns the URL of a new database.
func (l *load) createDatabase(name string) (string, error) {
	if err := l.administer("CREATE DATABASE " + name); err != nil {
		return "", err
	}
	l.databases = append(l.databases, name)
	u, err := url.Parse(l.database)
	if err != nil {
		return "", errors.New("CHATTING_TEST_POSTGRES is no URL")
	}
	u.Path = "/" + name
	return u.String(), nil
}

func (l *load) dropDatabases() error {
	var failed error
	for _, name := range l.databases {
		failed = errors.Join(failed, l.administer("DROP DATABASE "+name+" WITH (FORCE)"))
	}
	return failed
}

func (l *load) administer(statement string) error {
	db, err := sql.Open("postgres", l.database)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	_, err = db.ExecContext(ctx, statement)
	return err
}

// createTopic makes a topic as the server would make it.
func (l *load) createTopic(ctx context.Context, name string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(l.brokers, ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = int32(setupTimeout.Milliseconds())
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, pipePartitions, -1
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if code := response.Topics[0].ErrorCode; code != 0 {
		return fmt.Errorf("the broker does not create the topic %s: error %d", name, code)
	}
	return nil
}
