package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/sqlstore"
	"chatting/cmd/chatting/installation"
	"chatting/domain"
)

// installed returns a data directory with a database, as a server leaves it.
func installed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if o := command(t, nil, "migrate", "--data-dir", dir); o.code != 0 {
		t.Fatalf("%+v", o)
	}
	return dir
}

// TestNoDatabaseIsServedOrAdoptedUnderAServer: one of the two embedded parts is enough for a server to have the lock.
func TestNoDatabaseIsServedOrAdoptedUnderAServer(t *testing.T) {
	for name, environ := range map[string][]string{
		"both parts embedded":        {"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0"},
		"only the database embedded": {"CHATTING_KAFKA_BROKERS=" + away},
		"only the broker embedded":   {"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATABASE_URL=sqlite:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := installed(t)
			for i, variable := range environ {
				if variable == "CHATTING_DATABASE_URL=sqlite:" {
					environ[i] += filepath.Join(dir, "chatting.db")
				}
			}
			lock, err := embedded.LockDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			environ = append(environ, "CHATTING_DATA_DIR="+dir)
			if code, log := serveUntilItEnds(t, environ...); code != 1 || !strings.Contains(log, dir+" is in use by another chatting") {
				t.Errorf("a second server ends with %d: %s", code, log)
			}
			command(t, environ, "adopt").complains(t, "data_dir (CHATTING_DATA_DIR): the data directory "+dir+" is in use by another chatting")
			if err := lock.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestADatabaseGoesOnWithAnotherPrefixFromTheStartOfItsLog(t *testing.T) {
	dir := installed(t)
	environ := []string{
		"CHATTING_DATA_DIR=" + dir, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_KAFKA_PARTITIONS=2", "CHATTING_LOG_LEVEL=error",
	}
	store, err := sqlstore.Open(t.Context(), installation.StoreOptions(configured(t, environ...), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	generation := func() int64 {
		t.Helper()
		projections, err := store.Projections.Projections(t.Context())
		if err != nil || len(projections) != 2 {
			t.Fatalf("%v, %v; want two partitions", projections, err)
		}
		return max(projections[0].Next.Generation, projections[1].Next.Generation)
	}
	if _, err := store.Installation.ClaimLog(t.Context(), sqlstore.LogIdentity{TopicPrefix: "first", ClusterID: "a cluster"}); err != nil {
		t.Fatal(err)
	}
	before := `topic_prefix "first" on the Kafka cluster a cluster`
	var generations []int64
	for _, prefix := range []string{"one", "two", "one"} {
		o := command(t, append(environ, "CHATTING_TOPIC_PREFIX="+prefix), "adopt")
		if o.code != 0 || o.err != "" || !strings.HasPrefix(o.out, "the database belonged to "+before+", and now belongs to ") {
			t.Fatalf("%s: %+v", prefix, o)
		}
		_, before, _ = strings.Cut(strings.TrimSuffix(o.out, "\n"), "now belongs to ")
		before = "topic_prefix " + before
		generations = append(generations, generation())
	}
	if generations[0] >= generations[1] || generations[1] >= generations[2] {
		t.Errorf("the generations are %v: what was projected of one log would count for the next", generations)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnOldDatabaseIsMigratedBeforeItIsAdopted(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "chatting.db"), nil, 0o600); err != nil { // the oldest there is
		t.Fatal(err)
	}
	o := command(t, []string{"CHATTING_DATA_DIR=" + dir, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_LOG_LEVEL=error"}, "adopt")
	if o.code != 0 || o.err != "" {
		t.Errorf("%+v", o)
	}
}

func TestRebuildSaysWhatItDoes(t *testing.T) {
	command(t, []string{"CHATTING_HISTORY_ENABLED=false"}, "history", "rebuild").complains(t, "history.enabled is false")
	w := newDeadLetterWorld(t)
	dir := installed(t)
	environ := append(w.environ, "CHATTING_DATA_DIR="+dir)
	command(t, environ, "history", "rebuild", "--partition", "4").complains(t, `--partition "4": the topic has the partitions 0 to 3`)
	command(t, environ, "history", "rebuild", "--partition", "-1").complains(t, `--partition "-1": the topic has the partitions 0 to 3`)
	if o := command(t, environ, "history", "rebuild", "--partition", "3"); o.code != 0 || o.out != "partition 3: nothing was projected yet\n" || o.err != "" {
		t.Errorf("%+v", o)
	}
	command(t, append(environ, "CHATTING_TOPIC_PREFIX=other"), "history", "rebuild").complains(t, "other.conversations")
	store, err := sqlstore.Open(t.Context(), installation.StoreOptions(configured(t, environ...), slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Installation.ClaimLog(t.Context(), sqlstore.LogIdentity{TopicPrefix: "first", ClusterID: "a cluster"}); err != nil {
		t.Fatal(err)
	}
	command(t, environ, "history", "rebuild").complains(t, `the database belongs to topic_prefix "first" on the Kafka cluster a cluster`)
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestRebuiltOffsetsAreSaid(t *testing.T) {
	at := func(generation, offset int64) domain.Place {
		return domain.Place{Generation: generation, Offset: offset}
	}
	for want, rebuilt := range map[string]projector.Rebuilt{
		"partition 3: offsets 5 to 9 are projected again\n":                 {From: at(1, 5), To: at(1, 9)},
		"partition 3: the log has nothing before offset 9, which is next\n": {From: at(1, 9), To: at(1, 9)},
		"partition 3: nothing was projected yet\n":                          {},
	} {
		var out strings.Builder
		if err := sayRebuilt(&out, 3, rebuilt); err != nil || out.String() != want {
			t.Errorf("%q, %v; want %q", out.String(), err, want)
		}
	}
}
