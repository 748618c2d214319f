package logdir

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/kafkawire"
)

func read(t *testing.T, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// marksOf syncs a directory.
func marksOf(t *testing.T, dir string) map[string]Mark {
	t.Helper()
	marks, err := Sync(dir)
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

// TestAPartitionIsReadInTheOrderOfItsFiles, and only the end of its last file may be torn.
func TestAPartitionIsReadInTheOrderOfItsFiles(t *testing.T) {
	batch := func(offset int64) []byte {
		raw := kafkawire.BatchOf(kafkawire.Stamp{ID: 1, First: int32(offset)}, time.UnixMilli(1), "x")
		binary.BigEndian.PutUint64(raw, uint64(offset)) // no part of what the CRC covers
		return raw
	}
	type file struct {
		from, to int64 // offsets of its batches
		junk     []byte
		indexed  int // batches that the index names, -1 for no index
	}
	torn := batch(11)[:40]
	whole := append([]byte("junk"), batch(11)...)
	for name, c := range map[string]struct {
		files  []file
		newest int64  // what was kept, -1 for nothing
		wayOut string // of a damagedError, "" for none
		logs   string // "" for no line
		cut    string // the file of damagedDir
	}{
		"whole":                           {[]file{{0, 9, nil, 9}, {9, 10, nil, 1}, {10, 11, nil, 1}}, 10, "", "", ""},
		"without the oldest file":         {[]file{{9, 10, nil, 1}, {10, 11, nil, 1}}, 10, "", "", ""},
		"without an index":                {[]file{{0, 9, nil, -1}, {9, 10, nil, -1}, {10, 11, nil, -1}}, 10, "", "", ""},
		"more than the index names":       {[]file{{0, 11, nil, 5}}, 0, "", "", ""},
		"a torn end":                      {[]file{{0, 9, nil, 9}, {9, 10, nil, 1}, {10, 11, torn, 1}}, 10, "", "bytes_cut=40", fmt.Sprint("t-0-10-", len(batch(0)))},
		"a torn end that is in the index": {[]file{{0, 11, torn, 12}}, 0, "", "bytes_cut=40", fmt.Sprint("t-0-0-", 11*len(batch(0)))},
		"a torn end, and more was there":  {[]file{{0, 11, torn, 13}}, 0, "0.dat and kept.json", "", ""},
		"a torn end of another file":      {[]file{{0, 9, torn, 9}, {9, 11, nil, 2}}, 9, "0.dat and kept.json", "", ""},
		"a batch behind the damage":       {[]file{{0, 11, whole, 11}}, 0, "0.dat and kept.json", "", ""},
		"a batch less":                    {[]file{{0, 11, nil, 12}}, 0, "", "batches_lost=1", ""},
		"two batches less":                {[]file{{0, 11, nil, 13}}, 0, "0.idx", "", ""},
		"a batch less of another file":    {[]file{{0, 9, nil, 10}, {9, 11, nil, 2}}, 9, "0.dat and kept.json", "", ""},
		"all of the last file":            {[]file{{0, 11, nil, 11}, {11, 11, nil, 1}}, 0, "11.dat and kept.json", "", ""},
		"an empty last file":              {[]file{{0, 11, nil, 11}, {11, 11, nil, 0}}, 0, "", "", ""},
		"a first batch that is torn":      {[]file{{0, 0, torn, 1}}, -1, "", "bytes_cut=40", "t-0-0-0"},
		"a first batch that was kept":     {[]file{{0, 0, torn, 1}}, 0, "0.dat and kept.json", "", ""},
		"a next file's first batch":       {[]file{{0, 11, nil, 11}, {11, 11, torn, 0}}, 0, "", "bytes_cut=40", "t-0-11-0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			folder := filepath.Join(dir, partsDir, "t-0")
			strays, others := []string{"5.idx", "6.idx"}, []string{"snapshot.json", "x.idx", "7"}
			err := os.MkdirAll(folder, 0o700)
			for _, name := range slices.Concat(strays, others) {
				err = errors.Join(err, os.WriteFile(filepath.Join(folder, name), make([]byte, 150), 0o600))
			}
			var want []int64
			for _, f := range c.files {
				var raw []byte
				for offset := f.from; offset < f.to; offset++ {
					raw = append(raw, batch(offset)...)
					want = append(want, offset)
				}
				base := filepath.Join(folder, fmt.Sprint(f.from))
				err = errors.Join(err, os.WriteFile(base+segmentExt, append(raw, f.junk...), 0o600))
				if f.indexed >= 0 {
					err = errors.Join(err, os.WriteFile(base+indexExt, make([]byte, 15*f.indexed+7), 0o600)) // and half an entry
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			before := kept{Newest: map[string]int64{"other-0": 0}}
			if c.newest >= 0 {
				before.Newest["t-0"] = c.newest
			}
			var logged bytes.Buffer
			known := make(producers)
			err = known.readPartition(dir, "t", 0, before, slog.New(slog.NewTextHandler(&logged, nil)))
			if damage := (damagedError{}); errors.As(err, &damage) != (c.wayOut != "") ||
				c.wayOut != "" && strings.ReplaceAll(damage.wayOut, filepath.Join(partsDir, "t-0")+"/", "") != c.wayOut {
				t.Fatalf("%v, want the way out %q", err, c.wayOut)
			} else if err != nil && c.wayOut == "" {
				t.Fatal(err)
			}
			if strings.Contains(logged.String(), c.logs) != true || (c.logs == "") != (logged.Len() == 0) {
				t.Errorf("logged: %s", &logged)
			}
			if c.wayOut != "" {
				return
			}
			var got []int64
			if w := known[1][Partition{Topic: "t"}]; w != nil {
				for _, sent := range w.batches {
					got = append(got, sent.Offset)
				}
			}
			if last := want[max(0, len(want)-windowSize):]; !slices.Equal(got, last) {
				t.Errorf("the last batches are at %v, want %v", got, last)
			}
			for _, name := range strays {
				if _, err := os.Stat(filepath.Join(folder, name)); !os.IsNotExist(err) {
					t.Errorf("the index of a file that is gone stays: %s, %v", name, err)
				}
			}
			for _, name := range others {
				if _, err := os.Stat(filepath.Join(folder, name)); err != nil {
					t.Errorf("what is no index is removed: %v", err)
				}
			}
			for _, f := range c.files {
				if _, err := os.Stat(filepath.Join(folder, fmt.Sprint(f.from)+indexExt)); (err == nil) != (f.indexed >= 0) {
					t.Errorf("the index of %d: %v", f.from, err)
				}
			}
			if c.cut != "" {
				last := c.files[len(c.files)-1]
				if cut := read(t, dir, filepath.Join(damagedDir, c.cut)); cut != string(last.junk) {
					t.Errorf("%d bytes are kept", len(cut))
				}
				left := read(t, dir, filepath.Join(partsDir, "t-0", fmt.Sprint(last.from)+segmentExt))
				if len(left) != int(last.to-last.from)*len(batch(0)) {
					t.Errorf("%d bytes are left", len(left))
				}
			}
		})
	}
	if err := make(producers).readPartition(t.TempDir(), "t", 0, kept{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("without a folder: %v", err)
	}
}

// TestWhatIsKeptTellsHowFarTheLogIsSynced, and damage before that ends the start, whatever the index says.
func TestWhatIsKeptTellsHowFarTheLogIsSynced(t *testing.T) {
	batch := func(offset int64) []byte {
		raw := kafkawire.BatchOf(kafkawire.NoStamp, time.UnixMilli(1), "x")
		binary.BigEndian.PutUint64(raw, uint64(offset)) // no part of what the CRC covers
		return raw
	}
	batches := func(from, to int64) (raw []byte) {
		for ; from < to; from++ {
			raw = append(raw, batch(from)...)
		}
		return raw
	}
	size := int64(len(batch(0)))
	torn := batch(0)[:40]
	junk := append([]byte("junk"), batch(9)...)
	for name, c := range map[string]struct {
		files   map[int64][]byte
		newest  int64 // -1: not noted
		synced  int64 // batches
		damaged bool
		left    map[int64]int64 // batches of each file
	}{
		"all of it":                       {map[int64][]byte{0: batches(0, 5)}, 0, 5, false, map[int64]int64{0: 5}},
		"more than is noted":              {map[int64][]byte{0: batches(0, 5)}, 0, 3, false, map[int64]int64{0: 5}},
		"a batch less":                    {map[int64][]byte{0: batches(0, 4)}, 0, 5, true, nil},
		"a torn end before the mark":      {map[int64][]byte{0: append(batches(0, 4), torn...)}, 0, 5, true, nil},
		"a torn end at the mark":          {map[int64][]byte{0: append(batches(0, 5), torn...)}, 0, 5, false, map[int64]int64{0: 5}},
		"a hole behind the mark":          {map[int64][]byte{0: append(batches(0, 5), junk...)}, 0, 5, false, map[int64]int64{0: 5}},
		"a hole before the mark":          {map[int64][]byte{0: append(batches(0, 5), junk...)}, 0, 6, true, nil},
		"a torn earlier file":             {map[int64][]byte{0: append(batches(0, 5), torn...), 5: batches(5, 7)}, 5, 1, true, nil},
		"a next file":                     {map[int64][]byte{0: batches(0, 5), 5: batches(5, 7)}, 0, 3, false, map[int64]int64{0: 5, 5: 2}},
		"a next file behind a torn one":   {map[int64][]byte{0: append(batches(0, 4), torn...), 5: batches(5, 7)}, 0, 3, false, map[int64]int64{0: 4}},
		"a next file behind a short one":  {map[int64][]byte{0: batches(0, 4), 5: batches(5, 7), 7: batches(7, 8)}, 0, 3, false, map[int64]int64{0: 4}},
		"a partition that nobody noted":   {map[int64][]byte{0: append(torn, batches(0, 4)...)}, -1, 0, false, map[int64]int64{0: 0}},
		"retention has removed the first": {map[int64][]byte{5: batches(5, 7)}, 5, 2, false, map[int64]int64{5: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			folder := filepath.Join(dir, partsDir, "t-0")
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			for base, raw := range c.files {
				if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(base)+segmentExt), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := kept{Newest: map[string]int64{}, Synced: map[string]int64{}}
			if c.newest >= 0 {
				before.Newest["t-0"], before.Synced["t-0"] = c.newest, c.synced*size
			}
			err := make(producers).readPartition(dir, "t", 0, before, slog.New(slog.DiscardHandler))
			if damage := (damagedError{}); errors.As(err, &damage) != c.damaged || err != nil && !c.damaged {
				t.Fatalf("%v", err)
			}
			if c.damaged {
				return
			}
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			bases := segmentBases(entries)
			slices.Sort(bases)
			for base, count := range c.left {
				if !slices.Contains(bases, base) {
					t.Errorf("file %d is gone", base)
				} else if raw := read(t, dir, filepath.Join(partsDir, "t-0", fmt.Sprint(base)+segmentExt)); int64(len(raw)) != count*size {
					t.Errorf("file %d has %d bytes, want %d batches", base, len(raw), count)
				}
			}
			if len(bases) != len(c.left) {
				t.Errorf("files %v are left", bases)
			}
		})
	}
}

// TestAFileIsReplacedAsAWhole, for its owner only.
func TestAFileIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"first, and long", "second", ""} {
		if err := replaceFile(filepath.Join(dir, "file"), []byte(content)); err != nil || read(t, dir, "file") != content {
			t.Errorf("%q: %v", content, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "file"))
	if entries, _ := os.ReadDir(dir); err != nil || info.Mode().Perm() != 0o600 || len(entries) != 1 {
		t.Errorf("%v, %v, %v", info.Mode(), entries, err)
	}
	if err := replaceFile(filepath.Join(dir, "absent", "file"), nil); err == nil {
		t.Error("written where no directory is")
	}
	if err := os.MkdirAll(filepath.Join(dir, "taken", "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(filepath.Join(dir, "taken"), nil); err == nil {
		t.Error("written where a directory is")
	}
}

func TestAWindowHasTheLatestBatchesOfOneEpoch(t *testing.T) {
	known := make(producers)
	note := func(id int64, epoch int16, first, records int32, offset int64, number int32) {
		known.note(kmsg.RecordBatch{ProducerID: id, ProducerEpoch: epoch, FirstSequence: first, NumRecords: records, FirstOffset: offset},
			Partition{"t", number})
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
	if w := known[3][Partition{Topic: "t"}]; w.epoch != 2 || len(w.batches) != 1 || w.batches[0] != (sentBatch{0, 1, 70}) {
		t.Errorf("%+v", w)
	}
}

// TestWhatKfakeNotedOfSessionsIsRemoved, and what follows from the log is written nevertheless.
func TestWhatKfakeNotedOfSessionsIsRemoved(t *testing.T) {
	dir := t.TempDir()
	sessions := filepath.Join(dir, sessionsFile)
	if err := os.WriteFile(sessions, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	recovered := func() error {
		return recoverProducers(t.Context(), dir, nil, kept{}, slog.New(slog.DiscardHandler))
	}
	for range 2 { // the second time there is none
		if err := recovered(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(sessions); !os.IsNotExist(err) {
			t.Errorf("it is still there: %v", err)
		}
		for _, name := range []string{pidsFile, windowsFile} {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Errorf("not written: %v", err)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(sessions, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := recovered(); err == nil || !strings.Contains(err.Error(), sessionsFile) {
		t.Errorf("what cannot be removed: %v", err)
	}
}
