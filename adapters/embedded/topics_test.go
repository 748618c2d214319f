package embedded

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// filledDir returns the directory of a broker that was closed, with records in two of three partitions of a topic.
func filledDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "filled", 3, "retention.ms", "86400000")
	mustProduce(t, b.Addr(), "filled", batchOf(noStamp, time.Now(), "a", "b"))
	answered(t, b.Addr(), produceRequest("filled", 2, batchOf(noStamp, time.Now(), "c")))
	answered(t, b.Addr(), commitRequest("readers", "filled", "", 0))
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
	if records := readAll(t, b.Addr(), "filled"); len(records) != 2 || records[1].value != "b" {
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
		createTopic(t, c.addr, "filled", 3)
		mustProduce(t, c.addr, "filled", batchOf(noStamp, time.Now(), "a", "b"))
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
	createTopic(t, b.Addr(), "filled", 1)
	before := read(t, dir, topicsFile)
	if err := os.Remove(filepath.Join(dir, topicsFile)); err != nil {
		t.Fatal(err)
	}
	mustProduce(t, b.Addr(), "filled", batchOf(noStamp, time.Now(), "a", "b"))
	if err := b.guard.keep(); err != nil { // as the retention's clock does
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

// TestTopicsAreThoseThatAreBroughtBack, and a damaged list alone is not taken for none.
func TestTopicsAreThoseThatAreBroughtBack(t *testing.T) {
	dir := t.TempDir()
	recovered := func() ([]topic, error) { return recoverLog(t.Context(), dir, slog.New(slog.DiscardHandler)) }
	list := filepath.Join(dir, topicsFile)
	if err := os.WriteFile(list, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recovered(); err == nil || !strings.Contains(err.Error(), topicsFile) {
		t.Errorf("a damaged list alone: %v", err)
	}
	if err := os.WriteFile(list, []byte(`{"version":1,"topics":[{"name":"a","partitions":2}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keepTopics(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is a list
		if topics, err := recovered(); err != nil || len(topics) != 1 || topics[0].Name != "a" || topics[0].Partitions != 2 {
			t.Errorf("%v, %v", topics, err)
		}
	}
	for _, damaged := range []string{"", "{", `{"version":0}`, `{"version":1,"cluster_id":5}`} {
		if err := os.WriteFile(filepath.Join(dir, metaFile), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := recoverMeta(dir, slog.New(slog.DiscardHandler)); err != nil || !strings.Contains(read(t, dir, metaFile), clusterID) {
			t.Errorf("%q is left, %v", damaged, err)
		}
	}
	const whole = `{"version":1,"cluster_id":"another"}`
	if err := os.WriteFile(filepath.Join(dir, metaFile), []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := recoverMeta(dir, slog.New(slog.DiscardHandler)); err != nil || read(t, dir, metaFile) != whole {
		t.Errorf("what is whole is changed, %v", err)
	}
}
