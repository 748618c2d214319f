package installation

import (
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chatting/adapters/embedded"
	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

func TestALogThatIsNotTheConfiguredOneIsNamed(t *testing.T) {
	recorded := sqlstore.LogIdentity{TopicPrefix: "one", ClusterID: "c1"}
	own := sqlstore.LogIdentity{TopicPrefix: "two", ClusterID: "c2"}
	for want, err := range map[string]error{
		`the database belongs to topic_prefix "one" on the Kafka cluster c1, but topic_prefix is "two" on the Kafka cluster c2: correct topic_prefix, ` +
			`kafka.brokers or database.url; if the database is to go on with another log, stop all servers and run chatting adopt`: mustBe(recorded, own),
		"the database is between two logs, because chatting adopt runs or did not finish: run it again": mustBe(sqlstore.LogIdentity{}, own),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if err := mustBe(own, own); err != nil {
		t.Error(err)
	}
}

// A resume token of the one log says nothing of the other, though the database is the same, and the topic has the same name.
func TestALogThatIsAdoptedHasAnotherKeyOfResumeTokens(t *testing.T) {
	store, err := sqlstore.Open(t.Context(), sqlstore.Options{Now: time.Now, Options: database.Options{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "x.db"), MaxOpen: 1, MaxIdle: 1, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	key := func() domain.ResumeKey {
		t.Helper()
		key, earlier, err := Installation{Store: store}.ResumeKeys(t.Context(), nil)
		if len(earlier) > 0 {
			t.Errorf("a log that is not embedded has %d lives", len(earlier))
		}
		if err != nil || key == (domain.ResumeKey{}) {
			t.Fatalf("the key is %x, %v", key, err)
		}
		return key
	}
	log := sqlstore.LogIdentity{TopicPrefix: "one", ClusterID: "c1"}
	if _, err := store.Installation.ClaimLog(t.Context(), log); err != nil {
		t.Fatal(err)
	}
	before := key()
	if key() != before {
		t.Error("the key changes by itself")
	}
	lives := []embedded.Life{{ID: "now", Began: []int64{5}}, {ID: "before", Began: []int64{3}}}
	own, earlier, err := Installation{Store: store}.ResumeKeys(t.Context(), lives)
	if err != nil || own == before || len(earlier) != 1 || earlier[0].Key == own || !slices.Equal(earlier[0].Ends, []int64{5}) {
		t.Errorf("the lives of a log have the keys %x and %v (%v)", own, earlier, err)
	}
	log.ClusterID = "c2"
	if err := store.Installation.MoveToLog(t.Context(), sqlstore.LogMove{To: log, Generation: 2, Ends: []int64{0}}); err != nil {
		t.Fatal(err)
	}
	if key() == before {
		t.Error("it has the same key")
	}
}
