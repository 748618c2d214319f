package embedded

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/logdir"
	"chatting/test/kafkawire"
)

// TestProducersAreKnownAgainAsKfakeKnowsThem, up to the highest sequence number and beyond.
func TestProducersAreKnownAgainAsKfakeKnowsThem(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "wrap", 1)
	const outOfOrder = 45
	producer := kafkawire.NewProducer(t, b.Addr())
	kafkawire.MustProduce(t, b.Addr(), "wrap", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a", "b", "c"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// As if the producer had sent two thousand million records before.
	producer.First = math.MaxInt32 - 2
	var last []byte
	rewrite(t, dir, filepath.Join(partsDir, "wrap-0", "0.dat"), func(raw []byte) []byte {
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence = producer.ID, producer.Epoch, producer.First
		last = kafkawire.Seal(batch)
		return last
	})
	next := producer
	next.First = int32((int64(producer.First) + 3) % math.MaxInt32)
	b = start(t, dir)
	if again := kafkawire.MustProduce(t, b.Addr(), "wrap", last); again != 0 {
		t.Errorf("sent again it is at offset %d", again)
	}
	gap := next
	gap.First++
	if _, code, err := kafkawire.Produce(t, b.Addr(), "wrap", kafkawire.BatchOf(gap, time.Now(), "x")); code != outOfOrder || err != nil {
		t.Errorf("after a gap: error %d, %v", code, err)
	}
	kafkawire.MustProduce(t, b.Addr(), "wrap", kafkawire.BatchOf(next, time.Now(), "d"))
}

// TestKfakesLogTellsAFailedWrite: from the first one on the broker must not serve, and it is the one that is told.
func TestKfakesLogTellsAFailedWrite(t *testing.T) {
	var logged bytes.Buffer
	var failures []error
	l := &kfakeLog{logger: slog.New(slog.NewTextHandler(&logged, nil)), onFailure: func(err error) { failures = append(failures, err) }}
	for _, level := range []kfake.LogLevel{kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug} {
		l.Logf(level, "persist something: %v", "no failure")
	}
	if len(failures) != 0 || logged.Len() != 0 || l.err() != nil {
		t.Fatalf("%v, %s", failures, &logged)
	}
	l.Logf(kfake.LogLevelWarn, "something else: %v", "odd")
	l.Logf(kfake.LogLevelError, "not to persist : %v", "odd")
	if len(failures) != 0 || strings.Count(logged.String(), "odd") != 2 {
		t.Fatalf("%v, %s", failures, &logged)
	}
	l.Logf(kfake.LogLevelWarn, "persist batch: %v", errors.New("no space"))
	l.Logf(kfake.LogLevelError, "persist batch: %v", errors.New("again"))
	l.note(errors.New("at the end"))
	if len(failures) != 1 || !strings.Contains(failures[0].Error(), "no space") || !errors.Is(l.err(), failures[0]) {
		t.Errorf("%v, %v", failures, l.err())
	}
	end := &kfakeLog{}
	end.note(nil)
	if end.err() != nil {
		t.Error(end.err())
	}
	end.note(errNoSpace)
	end.note(errors.New("later"))
	if !errors.Is(end.err(), errNoSpace) || strings.Contains(end.err().Error(), "later") {
		t.Errorf("at the end: %v", end.err())
	}
}

var errNoSpace = errors.New("no space left")

// TestAnOlderListOfTopicsDoesNotBringBackALostOne: a topic that was made since would be gone.
func TestAnOlderListOfTopicsDoesNotBringBackALostOne(t *testing.T) {
	dir := filledDir(t)
	file := filepath.Join(dir, partsDir, "later-0", "0.dat")
	if err := errors.Join(os.Remove(filepath.Join(dir, topicsFile)), os.MkdirAll(filepath.Dir(file), 0o700),
		os.WriteFile(file, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if text := cannotStart(t, dir, topicsFile); !strings.Contains(text, "later-0") && !strings.Contains(text, "filled") {
		t.Errorf("it does not say of what: %s", text)
	}
	if _, err := os.Stat(filepath.Join(dir, topicsFile)); !os.IsNotExist(err) {
		t.Errorf("the older list is put in place: %v", err)
	}
}

func TestWhatIsKeptIsWrittenWhenItChanges(t *testing.T) {
	dir := filledDir(t)
	file := filepath.Join(dir, keptFile)
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	notes := logdir.NewNotes(dir)
	if err := notes.Keep(marksOf(t, dir)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same is written again: %v", err)
	}
	k := readKept(t, dir)
	topics := readTopics(t, k.Topics)
	if !k.Groups || len(topics) != 1 || topics[0].Partitions != 3 || topics[0].Configs["retention.ms"] != "86400000" ||
		!maps.Equal(k.Newest, map[string]int64{"filled-0": 0, "filled-2": 0}) {
		t.Errorf("%+v, %v", k, topics)
	}
	if err := os.Truncate(filepath.Join(dir, groupsFile), 0); err != nil {
		t.Fatal(err)
	}
	if err := notes.Keep(marksOf(t, dir)); err != nil {
		t.Fatal(err)
	}
	if readKept(t, dir).Groups {
		t.Error("groups that are gone")
	}
	list := read(t, dir, topicsFile)
	if err := os.Remove(filepath.Join(dir, topicsFile)); err != nil {
		t.Fatal(err)
	}
	if err := notes.Keep(marksOf(t, dir)); err != nil || read(t, dir, topicsFile) != list {
		t.Errorf("a list of topics that is gone: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, partsDir, "filled-2")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what is lost stays lost
		if lost := logdir.LostError(""); !errors.As(notes.Keep(marksOf(t, dir)), &lost) {
			t.Error("a partition that is gone is not lost")
		}
	}
	fresh := t.TempDir()
	if err := logdir.NewNotes(fresh).Keep(marksOf(t, fresh)); err != nil {
		t.Errorf("of a broker without topics: %v", err)
	}
	if entries, err := os.ReadDir(fresh); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// filledDir returns the directory of a broker that was closed, with records in two of three partitions of a topic.
func filledDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "filled", 3, "retention.ms", "86400000")
	kafkawire.MustProduce(t, b.Addr(), "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a", "b"))
	kafkawire.Answered(t, b.Addr(), kafkawire.ProduceRequest("filled", 2, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "c")))
	kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("readers", "filled", "", 0))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// isWholeAgain starts a broker on dir and holds it against what filledDir wrote. It returns what the start logged.
func isWholeAgain(t *testing.T, dir, topicsBefore string) string {
	t.Helper()
	var logged bytes.Buffer
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if records := kafkawire.ReadAll(t, b.Addr(), "filled"); len(records) != 2 || records[1].Value != "b" {
		t.Errorf("records: %v", records)
	}
	if after := read(t, dir, topicsFile); after != topicsBefore { // ids, numbers of partitions, settings
		t.Errorf("topics are %s, were %s", after, topicsBefore)
	}
	return logged.String()
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestALostOrDamagedListOfTopicsIsBroughtBack(t *testing.T) {
	for name, damage := range map[string]func(file string) error{
		"removed":   os.Remove,
		"empty":     func(file string) error { return os.WriteFile(file, nil, 0o600) },
		"truncated": func(file string) error { return os.Truncate(file, 20) },
		"no topics": func(file string) error { return os.WriteFile(file, []byte(`{"version":1,"topics":[]}`), 0o600) },
		"an object": func(file string) error { return os.WriteFile(file, []byte(`{}`), 0o600) },
	} {
		for _, file := range []string{topicsFile, metaFile} {
			if file == metaFile && name == "no topics" {
				continue // to that file these are foreign fields
			}
			t.Run(file+" "+name, func(t *testing.T) {
				dir := filledDir(t)
				before := read(t, dir, topicsFile)
				if err := damage(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				if logged := isWholeAgain(t, dir, before); !strings.Contains(logged, "brought back") {
					t.Errorf("nothing says so: %s", logged)
				}
			})
		}
	}
	t.Run("after SIGKILL", func(t *testing.T) {
		dir := t.TempDir()
		c := startChild(t, dir)
		kafkawire.CreateTopic(t, c.addr, "filled", 3)
		kafkawire.MustProduce(t, c.addr, "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a", "b"))
		before := read(t, dir, topicsFile)
		c.kill()
		if err := os.Remove(filepath.Join(dir, topicsFile)); err != nil {
			t.Fatal(err)
		}
		isWholeAgain(t, dir, before)
	})
}

func TestAListOfTopicsThatIsRemovedWhileTheBrokerRunsComesBack(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "filled", 1)
	before := read(t, dir, topicsFile)
	if err := os.Remove(filepath.Join(dir, topicsFile)); err != nil {
		t.Fatal(err)
	}
	kafkawire.MustProduce(t, b.Addr(), "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a", "b"))
	if err := b.keepNotes(); err != nil { // as the retention's clock does
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	isWholeAgain(t, dir, before)
}

// TestWhatCannotBeBroughtBackKeepsTheBrokerFromStarting: each is one line that names what is missing.
func TestWhatCannotBeBroughtBackKeepsTheBrokerFromStarting(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(dir string) error
		names  string
	}{
		"both lists of topics": {func(dir string) error {
			if err := os.Remove(filepath.Join(dir, keptFile)); err != nil {
				return err
			}
			return os.Remove(filepath.Join(dir, topicsFile))
		}, topicsFile},
		"a damaged list without the other": {func(dir string) error {
			if err := os.Remove(filepath.Join(dir, keptFile)); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, topicsFile), 10)
		}, topicsFile},
		"a list of a later format": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, topicsFile), []byte(`{"version":2}`), 0o600)
		}, "format 2"},
		"a partition": {func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, partsDir, "filled-2"))
		}, "filled-2"},
		"a partition's files": {func(dir string) error {
			return os.Remove(filepath.Join(dir, partsDir, "filled-0", "0.dat"))
		}, "filled-0"},
		"all partitions": {func(dir string) error {
			return os.RemoveAll(filepath.Join(dir, partsDir))
		}, "filled"},
		"the file that holds the groups": {func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, groupsFile)); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(dir, groupsFile), 0o700)
		}, groupsFile},
		"the offsets of the groups": {func(dir string) error {
			return os.Truncate(filepath.Join(dir, groupsFile), 0)
		}, groupsFile},
		"broker settings": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "broker_configs.json"), nil, 0o600)
		}, "broker_configs.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filledDir(t)
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			b, err := Start(context.Background(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				_ = b.Close()
				t.Fatal("it serves without")
			}
			if text := err.Error(); !strings.Contains(text, c.names) || !strings.Contains(text, dir) || strings.Contains(text, "\n") {
				t.Errorf("the error is %q", text)
			}
		})
	}
}

// TestALastBatchThatIsCutOffCleanlyIsLogged: a kill may leave its entry in the index and nothing in the log.
func TestALastBatchThatIsCutOffCleanlyIsLogged(t *testing.T) {
	dir := batchesDir(t)
	unsynced(t, dir)
	file := filepath.Join(dir, partsDir, "filled-0", "0.dat")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(len(raw)/10*9)); err != nil { // all batches are of one size
		t.Fatal(err)
	}
	var logged bytes.Buffer
	b, err := Start(t.Context(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if !strings.Contains(logged.String(), "batches_lost=1") {
		t.Errorf("logged: %s", &logged)
	}
}
