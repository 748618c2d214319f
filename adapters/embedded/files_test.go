package embedded

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/test/kafkawire"
)

// batchesDir returns the directory of a broker that was closed, with ten batches in partition 0 of a topic, and ten
// offsets of groups.
func batchesDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b := start(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "filled", 1)
	for i := range 10 {
		kafkawire.MustProduce(t, b.Addr(), "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), fmt.Sprint(i)))
		kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest(fmt.Sprint("group ", i), "filled", "", 0))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// rewrite writes to a file of dir what change makes of it.
func rewrite(t *testing.T, dir, name string, change func(raw []byte) []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), change([]byte(read(t, dir, name))), 0o600); err != nil {
		t.Fatal(err)
	}
}

var logFile = filepath.Join(partsDir, "filled-0", "0.dat")

// TestDamageThatIsNoTornEndKeepsTheBrokerFromStarting: what was acknowledged is lost, and only somebody who has a copy
// can tell what to do.
func TestDamageThatIsNoTornEndKeepsTheBrokerFromStarting(t *testing.T) {
	empty := func([]byte) []byte { return nil }
	garbage := func(raw []byte) []byte { return bytes.Repeat([]byte("garbage "), len(raw)/8) }
	half := func(raw []byte) []byte { return raw[:len(raw)/2] }
	flip := func(at int) func([]byte) []byte {
		return func(raw []byte) []byte { raw[at] ^= 1; return raw }
	}
	middle := func(raw []byte) []byte { copy(raw[len(raw)/2:], "garbage garbage garbage"); return raw }
	for name, c := range map[string]struct {
		file   string
		change func([]byte) []byte
	}{
		"an empty log":                      {logFile, empty},
		"a log of garbage":                  {logFile, garbage},
		"half a log":                        {logFile, half},
		"a bit of the log's first batch":    {logFile, flip(30)},
		"a bit of the log's first length":   {logFile, flip(8 + 3)},
		"a length beyond the log's end":     {logFile, func(raw []byte) []byte { raw[8] = 0x7f; return raw }},
		"the middle of the log":             {logFile, middle},
		"no groups":                         {groupsFile, empty},
		"groups of garbage":                 {groupsFile, garbage},
		"groups of zeros":                   {groupsFile, func(raw []byte) []byte { return make([]byte, len(raw)) }},
		"a bit of the first group":          {groupsFile, flip(20)},
		"a bit of the first group's length": {groupsFile, flip(0)},
		"a length beyond the groups' end":   {groupsFile, func(raw []byte) []byte { raw[1] = 0x7f; return raw }},
		"the middle of the groups":          {groupsFile, middle},
		"garbage behind the groups":         {groupsFile, func(raw []byte) []byte { return append(raw, garbage(raw)...) }},
	} {
		for _, indexed := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " indexed ", indexed), func(t *testing.T) {
				dir := batchesDir(t)
				if !indexed {
					if name == "half a log" {
						t.Skip("nothing tells that there was more")
					}
					if err := os.Remove(filepath.Join(dir, partsDir, "filled-0", "0.idx")); err != nil {
						t.Fatal(err)
					}
				}
				rewrite(t, dir, c.file, c.change)
				damaged := read(t, dir, c.file)
				text := cannotStart(t, dir, c.file)
				if read(t, dir, c.file) != damaged {
					t.Error("the file was changed")
				}
				if strings.Contains(text, keptFile) {
					_ = os.Remove(filepath.Join(dir, keptFile))
				}
				if _, names, _ := strings.Cut(text, "or remove "); strings.Contains(names, c.file) {
					_ = os.Remove(filepath.Join(dir, c.file))
				} else if strings.Contains(names, ".idx") {
					_ = os.Remove(filepath.Join(dir, partsDir, "filled-0", "0.idx"))
				}
				for range 2 { // what the error says to do is a way out, for good
					b := start(t, dir)
					kafkawire.MustProduce(t, b.Addr(), "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "after"))
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
				}
				if name == "half a log" {
					if left := strings.Count(read(t, dir, logFile), "after"); left != 2 || len(read(t, dir, logFile)) < len(damaged) {
						t.Errorf("the log has %d new batches", left)
					}
				}
			})
		}
	}
}

func TestOnlyTheLastFileOfAPartitionMayHaveATornEnd(t *testing.T) {
	dir := batchesDir(t)
	raw := read(t, dir, logFile)
	last := filepath.Join(partsDir, "filled-0", "5.dat")
	cut := len(raw) / 2 // all batches are of one size
	rewrite(t, dir, logFile, func([]byte) []byte { return []byte(raw[:cut-3]) })
	if err := os.WriteFile(filepath.Join(dir, last), []byte(raw[cut:]), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ext := range []string{"0.idx", "5.idx"} {
		_ = os.Remove(filepath.Join(dir, partsDir, "filled-0", ext))
	}
	cannotStart(t, dir, logFile)
}

// cannotStart expects one line that names file, and returns it.
func cannotStart(t *testing.T, dir, file string) string {
	t.Helper()
	b, err := Start(context.Background(), Options{Addr: "127.0.0.1:0", Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		_ = b.Close()
		t.Fatal("it serves")
	}
	text := err.Error()
	if !strings.Contains(text, file) || !strings.Contains(text, dir) || strings.Contains(text, "\n") {
		t.Errorf("the error is %q", text)
	}
	return text
}

// TestABrokerWhoseFilesAreChangedStops: kfake has the old file open, or reads where nothing is.
func TestABrokerWhoseFilesAreChangedStops(t *testing.T) {
	replace := func(t *testing.T, dir, name string) {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file+".copy", []byte(read(t, dir, name)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".copy", file); err != nil {
			t.Fatal(err)
		}
	}
	empty := func(t *testing.T, dir, name string) {
		if err := os.Truncate(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, dir, name string) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	short := func(t *testing.T, dir, name string) {
		rewrite(t, dir, name, func(raw []byte) []byte { return raw[:len(raw)-1] })
	}
	over := func(t *testing.T, dir, name string) {
		rewrite(t, dir, name, func(raw []byte) []byte { return append(bytes.Repeat([]byte{0}, len(raw)), raw...) })
	}
	for what, change := range map[string]func(t *testing.T, dir, name string){
		"replaced": replace, "emptied": empty, "removed": remove, "shortened": short, "written over": over,
	} {
		for _, file := range []string{logFile, groupsFile} {
			for _, seen := range []bool{true, false} {
				if !seen && (what != "emptied" || file != logFile) {
					continue // what was never looked at may be as it was
				}
				t.Run(fmt.Sprint(filepath.Base(file), " ", what, " seen ", seen), func(t *testing.T) {
					dir := t.TempDir()
					b := start(t, dir)
					kafkawire.CreateTopic(t, b.Addr(), "filled", 1)
					produceAndCommit := func() {
						kafkawire.MustProduce(t, b.Addr(), "filled", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))
						kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("readers", "filled", "", 0))
					}
					produceAndCommit()
					if seen {
						b.checkFiles()
						produceAndCommit() // more of the same is no alarm
						b.checkFiles()
					}
					select {
					case <-b.Failed():
						t.Fatalf("a false alarm: %v", b.log.err())
					default:
					}
					change(t, dir, file)
					b.checkFiles()
					select {
					case <-b.Failed():
					default:
						t.Fatal("it serves on")
					}
					if err := b.Close(); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(file, "/0.dat")) {
						t.Errorf("Close: %v", err)
					}
				})
			}
		}
	}
	t.Run("replaced just before the end", func(t *testing.T) {
		dir := batchesDir(t)
		b := start(t, dir)
		replace(t, dir, logFile)
		if err := b.Close(); err == nil || !strings.Contains(err.Error(), logFile) {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestNoAlarmWhenFilesAreReplacedByTheBrokerItself: kfake writes a large log of groups anew, and retention removes files.
func TestNoAlarmWhenFilesAreReplacedByTheBrokerItself(t *testing.T) {
	dir := batchesDir(t)
	// kfake compacts at 10 MiB: the same offsets again and again, up to shortly before.
	once := []byte(read(t, dir, groupsFile))
	rewrite(t, dir, groupsFile, func([]byte) []byte { return bytes.Repeat(once, (10<<20-1)/len(once)) })
	first := []byte(read(t, dir, logFile))
	half := len(first) / 2 // five batches
	rewrite(t, dir, logFile, func([]byte) []byte { return first[:half] })
	if err := os.WriteFile(filepath.Join(dir, partsDir, "filled-0", "5.dat"), first[half:], 0o600); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, partsDir, "filled-0", "0.idx"))
	unsynced(t, dir)
	b := start(t, dir)
	b.checkFiles()
	before, err := os.Stat(filepath.Join(dir, groupsFile))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 + len(once)/100 {
		kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("readers", "filled", strings.Repeat("m", 256), 0))
	}
	after, err := os.Stat(filepath.Join(dir, groupsFile))
	if err != nil || after.Size() >= before.Size() || os.SameFile(before, after) {
		t.Fatalf("kfake did not compact: %v, %v, %v", before.Size(), after, err)
	}
	if err := b.cluster.DeleteRecords("filled", 0, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, logFile)); !os.IsNotExist(err) {
		t.Fatalf("the first file is still there: %v", err)
	}
	for range 2 {
		b.checkFiles()
		kafkawire.Answered(t, b.Addr(), kafkawire.CommitRequest("readers", "filled", "", 0))
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := start(t, dir).Close(); err != nil {
		t.Error(err)
	}
}
