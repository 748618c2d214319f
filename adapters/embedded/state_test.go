package embedded

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestProducersAreKnownAgainAsKfakeKnowsThem, up to the highest sequence number and beyond.
func TestProducersAreKnownAgainAsKfakeKnowsThem(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	createTopic(t, b.Addr(), "wrap", 1)
	const outOfOrder = 45
	producer := newProducer(t, b.Addr())
	mustProduce(t, b.Addr(), "wrap", batchOf(noStamp, time.Now(), "a", "b", "c"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	// As if the producer had sent two thousand million records before.
	producer.first = math.MaxInt32 - 2
	var last []byte
	rewrite(t, dir, filepath.Join(partsDir, "wrap-0", "0.dat"), func(raw []byte) []byte {
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		batch.ProducerID, batch.ProducerEpoch, batch.FirstSequence = producer.id, producer.epoch, producer.first
		last = seal(batch)
		return last
	})
	next := producer
	next.first = int32((int64(producer.first) + 3) % math.MaxInt32)
	b = start(t, dir)
	if again := mustProduce(t, b.Addr(), "wrap", last); again != 0 {
		t.Errorf("sent again it is at offset %d", again)
	}
	gap := next
	gap.first++
	if _, code, err := produce(t, b.Addr(), "wrap", batchOf(gap, time.Now(), "x")); code != outOfOrder || err != nil {
		t.Errorf("after a gap: error %d, %v", code, err)
	}
	mustProduce(t, b.Addr(), "wrap", batchOf(next, time.Now(), "d"))
}

func TestAWindowHasTheLatestBatchesOfOneEpoch(t *testing.T) {
	known := make(producers)
	note := func(id int64, epoch int16, first, records int32, offset int64, number int32) {
		known.note(kmsg.RecordBatch{ProducerID: id, ProducerEpoch: epoch, FirstSequence: first, NumRecords: records, FirstOffset: offset},
			partition{topic: "t", number: number})
	}
	note(-1, -1, -1, 5, 0, 0) // no producer
	if len(known) != 0 {
		t.Errorf("%v", known)
	}
	for i := range int32(7) {
		note(3, 1, 2*i, 2, int64(10+2*i), 0)
	}
	note(3, 0, 0, 1, 50, 1)
	note(0, 4, 0, 1, 60, 0)
	windows := make(map[string]string)
	pids, raw, err := known.encode()
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Version int
		Windows []struct {
			PID       int64
			Topic     string
			Partition int32
			Entries   []sentBatch
			Count, At int
			Epoch     int16
			Seen      bool
			Next      int32 `json:"next_seq"`
		}
	}
	if err := json.Unmarshal(raw, &read); err != nil {
		t.Fatal(err)
	}
	for _, w := range read.Windows {
		windows[fmt.Sprintf("%d %s-%d", w.PID, w.Topic, w.Partition)] =
			fmt.Sprint(w.Entries, " ", w.Count, " ", w.At, " ", w.Epoch, " ", w.Seen, " ", w.Next)
	}
	for name, want := range map[string]string{
		"3 t-0": "[{4 6 14} {6 8 16} {8 10 18} {10 12 20} {12 14 22}] 5 0 1 true 14",
		"3 t-1": "[{0 1 50} {0 0 0} {0 0 0} {0 0 0} {0 0 0}] 1 1 0 true 1",
		"0 t-0": "[{0 1 60} {0 0 0} {0 0 0} {0 0 0} {0 0 0}] 1 1 4 true 1",
	} {
		if windows[name] != want {
			t.Errorf("%s: %s, want %s", name, windows[name], want)
		}
	}
	if read.Version != fileFormat || len(windows) != 3 {
		t.Errorf("format %d, %d windows", read.Version, len(windows))
	}
	for _, want := range []string{`{"type":"init","pid":3,"epoch":1}`, `{"type":"init","pid":0,"epoch":4}`} {
		if !bytes.Contains(pids, []byte(want)) {
			t.Errorf("no %s in %q", want, pids)
		}
	}
	for rest := pids; len(rest) > 0; {
		size := wholeEntry(rest)
		if size == 0 {
			t.Fatalf("no whole entry: %q", rest)
		}
		rest = rest[size:]
	}
	note(3, 2, 0, 1, 70, 0) // a later epoch begins anew
	if w := known[3][partition{topic: "t"}]; w.epoch != 2 || len(w.batches) != 1 || w.batches[0] != (sentBatch{0, 1, 70}) {
		t.Errorf("%+v", w)
	}
}

func TestATornEntryIsToldFromADamagedOne(t *testing.T) {
	one, err := appendProducer(nil, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	two, err := appendProducer(bytes.Clone(one), 22, 2)
	if err != nil {
		t.Fatal(err)
	}
	if size := wholeEntry(one); size != len(one) {
		t.Errorf("an entry of %d bytes has %d", len(one), size)
	}
	if size := wholeEntry(two); size != len(one) {
		t.Errorf("the first of two has %d bytes", size)
	}
	least := binary.LittleEndian.AppendUint32([]byte{leastEntry, 0, 0, 0}, crc32.Checksum([]byte{fileFormat, 0}, castagnoli))
	if size := wholeEntry(append(least, fileFormat, 0)); size != entryHead+leastEntry {
		t.Errorf("an entry with a format and no data has %d bytes", size)
	}
	bare, _ := appendProducer(nil, 1, 1)
	bare = append([]byte{leastEntry, 0, 0, 0}, bare[4:]...)
	for name, raw := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 100), "cut off": one[:len(one)-1], "a length below the least": bare[:entryHead+leastEntry],
		"changed": append(bytes.Clone(one[:len(one)-1]), 'x'),
	} {
		if size := wholeEntry(raw); size != 0 {
			t.Errorf("%s: %d bytes", name, size)
		}
	}
	withLength := func(n uint32, rest []byte) []byte {
		return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, rest...)
	}
	for name, c := range map[string]struct {
		rest []byte
		torn bool
	}{
		"its first byte":                  {one[:1], true},
		"its length":                      {one[:4], true},
		"all but a byte":                  {one[:len(one)-1], true},
		"with zeros behind it":            {append(bytes.Clone(one[:10]), make([]byte, 50)...), true},
		"zeros":                           {make([]byte, 50), true},
		"as large as may be":              {append(bytes.Clone(one[:10]), make([]byte, largestEntry-10)...), true},
		"larger than may be":              {append(bytes.Clone(one[:10]), make([]byte, largestEntry-9)...), false},
		"more than its length":            {append(bytes.Clone(one[:len(one)-1]), "xyz"...), false},
		"a whole length that is wrong":    {append(bytes.Clone(one[:len(one)-1]), 'x'), true},
		"a length below the least":        {withLength(leastEntry-1, []byte("abcde")), false},
		"the least length":                {withLength(leastEntry, []byte("abcde")), true},
		"a length alone, of four bytes":   {withLength(1<<24, nil), false},
		"a length above the largest":      {withLength(largestEntry+1, []byte("abcde")), false},
		"the largest length":              {withLength(largestEntry, []byte("abcde")), true},
		"a whole entry behind damage":     {append(withLength(200, []byte("abcde")), one...), false},
		"a whole entry a byte behind":     {append([]byte{60}, one...), false},
		"a torn entry behind a torn one":  {append(withLength(200, []byte("abcde")), one[:12]...), true},
		"a length that is torn with zero": {[]byte{5, 0, 0}, true},
	} {
		if isTornEntry(c.rest) != c.torn {
			t.Errorf("%s: %v", name, !c.torn)
		}
	}
}

func TestATornEndIsCutAndKept(t *testing.T) {
	one, err := appendProducer(nil, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw        []byte
		hadEntries bool
		left       int // bytes, -1 for an error
	}{
		"whole":                            {append(bytes.Clone(one), one...), true, 2 * len(one)},
		"a torn end":                       {append(bytes.Clone(one), one[:9]...), true, len(one)},
		"a torn first entry":               {one[:9], false, 0},
		"a torn first entry that was kept": {one[:9], true, -1},
		"damage":                           {append(append(bytes.Clone(one), "garbage"...), one...), true, -1},
		"empty":                            {nil, false, 0},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, groupsFile)
		if err := os.WriteFile(file, c.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		var logged bytes.Buffer
		err := cutTornEntry(dir, groupsFile, c.hadEntries, slog.New(slog.NewTextHandler(&logged, nil)))
		if c.left < 0 {
			if damage := (damagedError{}); !errors.As(err, &damage) || read(t, dir, groupsFile) != string(c.raw) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := read(t, dir, groupsFile); err != nil || got != string(c.raw[:c.left]) {
			t.Errorf("%s: %d bytes are left, %v", name, len(got), err)
		}
		if c.left < len(c.raw) {
			if cut := read(t, dir, filepath.Join(damagedDir, fmt.Sprintf("%s-%d", groupsFile, c.left))); cut != string(c.raw[c.left:]) {
				t.Errorf("%s: %q is kept", name, cut)
			}
			if want := fmt.Sprintf("bytes_cut=%d ", len(c.raw)-c.left); !strings.Contains(logged.String(), want) {
				t.Errorf("%s: no %q is logged: %s", name, want, &logged)
			}
		}
	}
	if err := cutTornEntry(t.TempDir(), groupsFile, true, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

func TestTopicsAreHeldAgainstTheFolders(t *testing.T) {
	topics := []topic{{Name: "a", Partitions: 2}, {Name: "b-1", Partitions: 1}, {Name: "c", Partitions: 1}}
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
		known topic
		want  string
	}{
		{topic{Name: "a", Partitions: 2}, ""}, {topic{Name: "a", Partitions: 1}, ""}, {topic{Name: "a", Partitions: 3}, "a"}, {topic{Name: "d", Partitions: 1}, "d"},
	} {
		if got := uncovered(topics, []topic{c.known}, nil); got != c.want {
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
		os.WriteFile(file, batchOf(noStamp, time.Now(), "x"), 0o600)); err != nil {
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
	newest, err := keepTopics(dir, nil)
	if err != nil || len(newest) != 2 || newest["filled-0"] != 0 || newest["filled-2"] != 0 {
		t.Fatalf("%v, %v", newest, err)
	}
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same is written again: %v", err)
	}
	k, topics, err := readKept(dir)
	if err != nil || !k.Groups || len(topics) != 1 || topics[0].Partitions != 3 || topics[0].Configs["retention.ms"] != "86400000" {
		t.Errorf("%+v, %v, %v", k, topics, err)
	}
	if err := os.Truncate(filepath.Join(dir, groupsFile), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := keepTopics(dir, newest); err != nil {
		t.Fatal(err)
	}
	if k, _, err = readKept(dir); err != nil || k.Groups {
		t.Errorf("groups that are gone: %v, %v", k.Groups, err)
	}
	list := read(t, dir, topicsFile)
	if err := os.Remove(filepath.Join(dir, topicsFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := keepTopics(dir, newest); err != nil || read(t, dir, topicsFile) != list {
		t.Errorf("a list of topics that is gone: %v", err)
	}
	fresh := t.TempDir()
	if hasGroups(fresh) {
		t.Error("groups where no file is")
	}
	if newest, err := keepTopics(fresh, nil); err != nil || len(newest) != 0 {
		t.Errorf("of a broker without topics: %v, %v", newest, err)
	}
	if entries, err := os.ReadDir(fresh); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	gone := map[string]int64{"filled-0": 7}
	if got, err := keepTopics(dir, gone); err == nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
