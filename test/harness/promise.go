package harness

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/embedded"
)

// Every record that a suite's servers have written to the topics that are open to others is held against the published
// schemas when its test ends.

// PromiseEvents validates the topics under a prefix, on brokers that still run then, when the test ends. Who deletes the
// topics at the end of the test has to arrange for that first.
func PromiseEvents(t *testing.T, brokers, prefix string) {
	t.Helper()
	schemas := LoadSchemas(t)
	t.Cleanup(func() { validate(t, schemas, brokers, prefix) })
}

// PromiseEmbeddedEvents is PromiseEvents for a server with a broker of its own, by its data directory. Who ends the server
// at the end of the test has to arrange for that afterwards, for the log is opened once the server has gone. Of servers
// that follow each other on one directory the last one counts.
func PromiseEmbeddedEvents(t *testing.T, dataDir, prefix string) {
	t.Helper()
	schemas := LoadSchemas(t)
	t.Cleanup(func() {
		dir := filepath.Join(dataDir, "kafka")
		if _, err := os.Stat(dir); err != nil {
			return // it has never come so far
		}
		if _, done := validated.LoadOrStore(dir, true); done {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), validationLimit)
		defer cancel()
		lock, err := embedded.LockDir(dataDir)
		if err != nil {
			t.Errorf("the events cannot be held against their schemas: %v", err)
			return
		}
		defer lock.Close()
		broker, err := embedded.Start(ctx, embedded.Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Errorf("the events cannot be held against their schemas: %v", err)
			return
		}
		defer broker.Close()
		validate(t, schemas, broker.Addr(), prefix)
	})
}

// validated are the directories that are done with.
var validated sync.Map

// validationLimit bounds the reading of a topic, without the time that it takes to check its records.
const validationLimit = 5 * time.Minute

// maxComplaints is how many records of one topic are complained of; whatever is wrong is mostly wrong with all.
const maxComplaints = 5

func validate(t *testing.T, schemas *Schemas, brokers, prefix string) {
	t.Helper()
	for _, topic := range []string{prefix + ".conversations", prefix + ".presence", prefix + ".audit"} {
		wrong := 0
		events := OneEventAnID{}
		records := readWithin(t, validationLimit, brokers, topic)
		for _, r := range records {
			if _, meant := poison.Load(string(r.Value)); meant {
				continue
			}
			if err := errors.Join(schemas.CheckRecord(r), events.Check(r)); err != nil {
				if wrong++; wrong <= maxComplaints {
					t.Errorf("%s/%d at %d is not as docs/schemas promise: %v", topic, r.Partition, r.Offset, err)
				}
			}
		}
		if wrong > maxComplaints {
			t.Errorf("%s: %d of %d records are not as docs/schemas promise", topic, wrong, len(records))
		}
	}
}

func readWithin(t *testing.T, limit time.Duration, brokers, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return ReadTopic(ctx, t, brokers, topic)
}

// Poison says that a test writes these values, which are no events of the server, to the topics itself: they need not be
// as promised.
func Poison(values ...[]byte) {
	for _, value := range values {
		poison.Store(string(value), true)
	}
}

var poison sync.Map

// setting returns the last value of a variable among settings.
func setting(settings []string, name, unset string) string {
	value := unset
	for _, s := range settings {
		if v, ok := strings.CutPrefix(s, name+"="); ok {
			value = v
		}
	}
	return value
}

// promiseOf arranges the validation for a node that is about to be launched in dir, where it has a broker of its own.
func promiseOf(t *testing.T, dir string, settings []string) {
	if setting(settings, "CHATTING_KAFKA_BROKERS", "") != "" {
		return // its topics are those of several nodes
	}
	dataDir := setting(settings, "CHATTING_DATA_DIR", "data")
	if !filepath.IsAbs(dataDir) {
		dataDir = filepath.Join(dir, dataDir)
	}
	PromiseEmbeddedEvents(t, dataDir, setting(settings, "CHATTING_TOPIC_PREFIX", "chatting"))
}
