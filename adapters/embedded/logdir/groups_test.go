package logdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

// TestTheGroupsLogOfBeforeIsTakenUnlessTheNewOneIsSynced.
func TestTheGroupsLogOfBeforeIsTakenUnlessTheNewOneIsSynced(t *testing.T) {
	dir := t.TempDir()
	log, synced := filepath.Join(dir, groupsFile), filepath.Join(dir, syncedGroups)
	g := NewGroups(dir)
	defer g.Close()
	if err := errors.Join(g.Sync((*os.File).Sync), restoreGroups(dir), EndGroups(dir)); err != nil {
		t.Fatalf("without any: %v", err)
	}
	if err := os.WriteFile(log, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.Sync((*os.File).Sync); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(log, []byte("one, and more"), 0o600); err != nil { // the same file
		t.Fatal(err)
	}
	replace := func(content string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(log+".new", []byte(content), 0o600), os.Rename(log+".new", log)); err != nil {
			t.Fatal(err)
		}
	}
	replace("")
	if err := restoreGroups(dir); err != nil || read(t, dir, groupsFile) != "one, and more" {
		t.Errorf("after a power cut: %q, %v", read(t, dir, groupsFile), err)
	}
	g.Close() // as does the process that had it
	if err := g.Sync((*os.File).Sync); err != nil {
		t.Fatal(err)
	}
	replace("short")
	if err := g.Sync((*os.File).Sync); err != nil {
		t.Fatal(err)
	}
	if err := restoreGroups(dir); err != nil || read(t, dir, groupsFile) != "short" {
		t.Errorf("after its sync: %q, %v", read(t, dir, groupsFile), err)
	}
	if _, err := os.Stat(synced); !os.IsNotExist(err) {
		t.Errorf("a second name is left: %v", err)
	}
	if err := errors.Join(g.Sync((*os.File).Sync), EndGroups(dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(synced); !os.IsNotExist(err) || read(t, dir, groupsFile) != "short" {
		t.Errorf("at the end: %v", err)
	}
}
