package logdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"chatting/domain"
)

// keptClock is the content of clockFile.
type keptClock struct {
	At      time.Time     `json:"at"`
	Refused time.Time     `json:"refused"`
	Held    time.Duration `json:"held"`
}

// ReadClock returns the clock that was last kept. If there is none, it is as of the latest write to the log; the zero
// value for an empty log. So it is to be read before anything is written.
func ReadClock(dir string) (domain.TrustedClock, error) {
	raw, err := os.ReadFile(filepath.Join(dir, clockFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return domain.TrustedClock{}, err
	}
	var kept keptClock
	if err == nil && json.Unmarshal(raw, &kept) == nil && !kept.At.IsZero() {
		return domain.TrustedClock(kept), nil
	}
	written, err := lastWritten(dir)
	return domain.TrustedClock{At: written}, err
}

// KeepClock keeps a clock for the next start.
func KeepClock(dir string, clock domain.TrustedClock) error {
	content, err := json.Marshal(keptClock(clock))
	if err == nil {
		err = replaceFile(filepath.Join(dir, clockFile), content)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", clockFile, err)
	}
	return nil
}

// lastWritten returns when a file of a partition was last written; the zero time if there is none.
func lastWritten(dir string) (last time.Time, err error) {
	err = filepath.WalkDir(filepath.Join(dir, partsDir), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, segmentExt) {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > 0 && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return err
	})
	return last, err
}
