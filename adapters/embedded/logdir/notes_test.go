package logdir

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const clusterID = "ours"

func TestTopicsAreHeldAgainstTheFolders(t *testing.T) {
	topics := []Topic{{Name: "a", Partitions: 2}, {Name: "b-1", Partitions: 1}, {Name: "c", Partitions: 1}}
	for _, c := range []struct {
		folder string
		named  bool
	}{
		{"a-0", true}, {"a-1", true}, {"a-2", false}, {"b-1-0", true}, {"b-1-1", false}, {"b-0", false}, {"d-0", false},
		{"a", false}, {"a-x", false}, {"a-", false}, {"a-99999999999", false}, {"%zz-0", false}, {"", false},
	} {
		got := uncovered(topics, nil, map[string]int64{c.folder: 0})
		if want := map[bool]string{true: "", false: c.folder}[c.named]; got != want {
			t.Errorf("%q: %q, want %q", c.folder, got, want)
		}
	}
	for _, c := range []struct {
		known Topic
		want  string
	}{
		{Topic{Name: "a", Partitions: 2}, ""}, {Topic{Name: "a", Partitions: 1}, ""}, {Topic{Name: "a", Partitions: 3}, "a"}, {Topic{Name: "d", Partitions: 1}, "d"},
	} {
		if got := uncovered(topics, []Topic{c.known}, nil); got != c.want {
			t.Errorf("%+v: %q", c.known, got)
		}
	}
}

func TestOnlyWhatIsGoneIsLost(t *testing.T) {
	before := map[string]int64{"a-0": 5, "b-0": 0}
	for name, c := range map[string]struct {
		now  map[string]int64
		lost string
	}{
		"as it was":        {map[string]int64{"a-0": 5, "b-0": 0}, ""},
		"it grew":          {map[string]int64{"a-0": 6, "b-0": 1, "c-0": 0}, ""},
		"an earlier end":   {map[string]int64{"a-0": 4, "b-0": 0}, "a-0/5.dat"},
		"a folder is gone": {map[string]int64{"a-0": 5}, "b-0/0.dat"},
	} {
		err := lost(before, c.now)
		if c.lost == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.lost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheListOfTopicsIsReadInItsFormatOnly(t *testing.T) {
	for raw, c := range map[string]struct {
		names   []string
		damaged bool
		fails   bool
	}{
		`{"version":1,"topics":[{"name":"a","partitions":2},{"name":"b"}]}`: {[]string{"a", "b"}, false, false},
		`{"version":1,"topics":[]}`:                                         {nil, false, false},
		`{"version":2,"topics":[]}`:                                         {nil, false, true},
		`{"version":0}`:                                                     {nil, true, true},
		`{}`:                                                                {nil, true, true},
		`{"version":1,`:                                                     {nil, true, true},
		``:                                                                  {nil, true, true},
	} {
		topics, err := parseTopics([]byte(raw))
		var names []string
		for _, topic := range topics {
			names = append(names, topic.Name)
		}
		if !slices.Equal(names, c.names) || (err != nil) != c.fails || errors.Is(err, errDamaged) != c.damaged {
			t.Errorf("%s: %v, %v", raw, names, err)
		}
	}
	for raw, want := range map[string]bool{
		`{"version":1,"topics":{"version":1,"topics":[]}}`: true,
		`{"version":2,"topics":{"version":1,"topics":[]}}`: false,
		`{"version":1,"topics":{"version":2,"topics":[]}}`: false,
		`{"topics":{"version":1,"topics":[]}}`:             false,

		`{"version":1,"topics":{"version":1,"topics":[]},"newest":5}`: false,
		`{`: false,
	} {
		if _, _, ok := parseKept([]byte(raw)); ok != want {
			t.Errorf("%s: %v", raw, ok)
		}
	}
}

// TestTheNewestFileIsTheLastThatHoldsSomething, by number and not by name.
func TestTheNewestFileIsTheLastThatHoldsSomething(t *testing.T) {
	dir := t.TempDir()
	if newest, err := newestFiles(dir); err != nil || len(newest) != 0 {
		t.Fatalf("%v, %v", newest, err)
	}
	for name, content := range map[string]string{
		"a-0/0.dat": "x", "a-0/9.dat": "x", "a-0/10.dat": "x", "a-0/20.dat": "", "a-0/30.idx": "x", "a-0/x.dat": "x", "a-0/40.dat.tmp": "x", "a-0/50": "x",
		"b-0/0.dat": "x", "c-0/5.dat": "", "d-0/x.dat": "x", "e-0/5.idx": "x",
	} {
		file := filepath.Join(dir, partsDir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, partsDir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newest, err := newestFiles(dir)
	if err != nil || len(newest) != 2 || newest["a-0"] != 10 || newest["b-0"] != 0 {
		t.Errorf("%v, %v", newest, err)
	}
}

// TestTopicsAreThoseThatAreBroughtBack, and a damaged list alone is not taken for none.
func TestTopicsAreThoseThatAreBroughtBack(t *testing.T) {
	dir := t.TempDir()
	recovered := func() ([]Topic, error) { return Recover(t.Context(), dir, clusterID, slog.New(slog.DiscardHandler)) }
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
	if err := NewNotes(dir).Keep(marksOf(t, dir)); err != nil {
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
		if err := recoverMeta(dir, clusterID, slog.New(slog.DiscardHandler)); err != nil || !strings.Contains(read(t, dir, metaFile), clusterID) {
			t.Errorf("%q is left, %v", damaged, err)
		}
	}
	const whole = `{"version":1,"cluster_id":"another"}`
	if err := os.WriteFile(filepath.Join(dir, metaFile), []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := recoverMeta(dir, clusterID, slog.New(slog.DiscardHandler)); err != nil || read(t, dir, metaFile) != whole {
		t.Errorf("what is whole is changed, %v", err)
	}
}

func TestTheLastWriteIsThatOfALogFile(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		content string
		minute  int
	}{
		"a-0/0.dat": {"x", 2}, "a-0/5.dat": {"x", 3}, "b-0/0.dat": {"x", 1}, "b-0/5.dat": {"", 4}, "b-0/0.idx": {"x", 5}, "c.dat/x": {"x", 6},
	} {
		file := filepath.Join(dir, partsDir, name)
		at := begin.Add(time.Duration(c.minute) * time.Minute)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(c.content), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if last, err := lastWritten(dir); err != nil || !last.Equal(begin.Add(3*time.Minute)) {
		t.Errorf("%v, %v", last, err)
	}
	if last, err := lastWritten(filepath.Join(dir, partsDir, "a-0/0.dat")); err == nil {
		t.Errorf("below a file: %v", last)
	}
}

func TestThereAreNoGroupsWithoutAFile(t *testing.T) {
	if hasGroups(t.TempDir()) {
		t.Error("groups where no file is")
	}
}
