package logdir

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesOnlyGrow: each change of a file between two looks is judged. What kfake and retention do is no alarm.
func TestFilesOnlyGrow(t *testing.T) {
	based := func(base uint64, more string) string {
		return string(binary.BigEndian.AppendUint64(nil, base)) + more
	}
	long := strings.Repeat("0123456789", 200) // more than the tail that is compared
	for name, c := range map[string]struct {
		before, after map[string]string // contents; "" of after removes
		lost          string            // the file that is named, "" for none
	}{
		"nothing at all":            {nil, nil, ""},
		"a first file":              {nil, map[string]string{"a-0/0.dat": based(0, "x")}, ""},
		"as it was":                 {map[string]string{"a-0/0.dat": "abc"}, nil, ""},
		"it grew":                   {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/0.dat": "abcdef"}, ""},
		"it grew from nothing":      {map[string]string{"a-0/0.dat": "\x00"}, map[string]string{"a-0/0.dat": "\x00abc"}, ""},
		"a byte less":               {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/0.dat": "ab"}, "a-0/0.dat"},
		"its last byte is another":  {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/0.dat": "abx"}, "a-0/0.dat"},
		"so, and it grew":           {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/0.dat": "abxdef"}, "a-0/0.dat"},
		"its first byte is another": {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/0.dat": "xbcdef"}, "a-0/0.dat"},
		"a byte of its tail is another": {map[string]string{"a-0/0.dat": long},
			map[string]string{"a-0/0.dat": long[:len(long)-tailBytes] + "x" + long[len(long)-tailBytes+1:] + "more"}, "a-0/0.dat"},

		"a next file":                       {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": based(7, "x")}, ""},
		"a next file of another beginning":  {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": based(8, "x")}, "a-0/7.dat"},
		"an empty next file":                {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": "-"}, ""},
		"an empty next file with an index":  {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": "-", "a-0/7.idx": strings.Repeat("i", 15)}, "a-0/7.dat"},
		"an empty first file with an index": {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"b-0/0.dat": "-", "b-0/0.idx": strings.Repeat("i", 15)}, "b-0/0.dat"},
		"an empty one with half an entry":   {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": "-", "a-0/7.idx": strings.Repeat("i", 14)}, ""},
		"a next file of a few bytes":        {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"a-0/7.dat": based(7, "")[:7]}, "a-0/7.dat"},
		"a new partition":                   {map[string]string{"a-0/0.dat": "abc"}, map[string]string{"b-0/0.dat": based(0, "x")}, ""},
		"retention removes the oldest":      {map[string]string{"a-0/0.dat": "abc", "a-0/7.dat": "def", "a-0/10.dat": "ghi"}, map[string]string{"a-0/0.dat": "", "a-0/7.dat": ""}, ""},
		"one in the middle is gone":         {map[string]string{"a-0/0.dat": "abc", "a-0/7.dat": "def", "a-0/10.dat": "ghi"}, map[string]string{"a-0/7.dat": ""}, "a-0/7.dat"},
		"the newest is gone":                {map[string]string{"a-0/0.dat": "abc", "a-0/7.dat": "def"}, map[string]string{"a-0/7.dat": ""}, "a-0/7.dat"},
		"what is none of the log's changes": {map[string]string{"a-0/x.dat": "abc", "a-0/0.idx": "abc", "a-0/0": "abc"}, map[string]string{"a-0/x.dat": "x", "a-0/0.idx": "x", "a-0/0": "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write := func(files map[string]string) {
				for name, content := range files {
					file := filepath.Join(dir, partsDir, name)
					err := os.MkdirAll(filepath.Dir(file), 0o700)
					switch content {
					case "":
						err = errors.Join(err, os.Remove(file))
					case "-":
						err = errors.Join(err, os.WriteFile(file, nil, 0o600))
					default:
						err = errors.Join(err, os.WriteFile(file, []byte(content), 0o600))
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			f := NewWatch(dir)
			defer f.Close()
			write(c.before)
			if err := f.Check(); err != nil {
				t.Fatalf("the first look: %v", err)
			}
			if err := f.Check(); err != nil {
				t.Fatalf("the same again: %v", err)
			}
			write(c.after)
			gone := LostError("")
			switch err := f.Check(); {
			case c.lost == "" && err != nil:
				t.Errorf("a false alarm: %v", err)
			case c.lost != "" && (!errors.As(err, &gone) || !strings.Contains(err.Error(), filepath.Join(partsDir, c.lost))):
				t.Errorf("%v, want %s", err, c.lost)
			case c.lost == "":
				if err := f.Check(); err != nil {
					t.Errorf("a false alarm later: %v", err)
				}
			}
		})
	}
}

// TestTheGroupsLogIsReplacedOnlyWhenItIsLarge.
func TestTheGroupsLogIsReplacedOnlyWhenItIsLarge(t *testing.T) {
	for name, c := range map[string]struct {
		size    int64 // before it is replaced
		content string
		remove  bool
		lost    bool
	}{
		"a small one":         {3, "abc", false, true},
		"one byte too small":  {compactBytes - 1, "abc", false, true},
		"as large as need be": {compactBytes, "abc", false, false},
		"a large one is gone": {compactBytes, "", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, groupsFile)
			f := NewWatch(dir)
			defer f.Close()
			if err := f.Check(); err != nil { // there is none yet
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(file, []byte("abc"), 0o600), f.Check(), os.Truncate(file, c.size), f.Check()); err != nil {
				t.Fatal(err)
			}
			err := os.Remove(file)
			if !c.remove {
				err = errors.Join(os.WriteFile(file+".new", []byte(c.content), 0o600), os.Rename(file+".new", file))
			}
			if err != nil {
				t.Fatal(err)
			}
			gone := LostError("")
			if err := f.Check(); errors.As(err, &gone) != c.lost || !c.lost && err != nil {
				t.Errorf("%v", err)
			}
			if !c.lost {
				if err := errors.Join(os.WriteFile(file, []byte("ab"), 0o600)); err != nil {
					t.Fatal(err)
				}
				if err := f.Check(); !errors.As(err, &gone) {
					t.Errorf("the new one is not watched: %v", err)
				}
			}
		})
	}
}

// TestALargeGroupsLogIsCutByNobody: kfake puts another file in its place.
func TestALargeGroupsLogIsCutByNobody(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, groupsFile)
	f := NewWatch(dir)
	defer f.Close()
	if err := errors.Join(os.WriteFile(file, []byte("abc"), 0o600), os.Truncate(file, compactBytes+1), f.Check()); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, compactBytes); err != nil {
		t.Fatal(err)
	}
	if gone := LostError(""); !errors.As(f.Check(), &gone) {
		t.Error("it may be cut")
	}
}

// TestOneFileOfGroupsIsOpen, however often it is looked at.
func TestOneFileOfGroupsIsOpen(t *testing.T) {
	dir := t.TempDir()
	f := NewWatch(dir)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, groupsFile), []byte("abc"), 0o600), f.Check()); err != nil {
		t.Fatal(err)
	}
	before := f.open
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	last := f.open
	f.Close()
	for _, file := range []*os.File{before, last} {
		if _, err := file.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("a file stays open: %v", err)
		}
	}
}

// TestAFileThatCannotBeReadIsNotLost: a disk may have a bad moment, and the next look tells.
func TestAFileThatCannotBeReadIsNotLost(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	before, err := look(file)
	if err = errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = before.compare(file, "file") // it is closed, which fails like a read that fails
	if gone := LostError(""); err == nil || errors.As(err, &gone) {
		t.Errorf("%v", err)
	}
}
