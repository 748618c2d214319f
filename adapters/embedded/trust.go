package embedded

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

// clockFile is ours: the clock that retention goes by, so that a leap is known after a restart, too.
const clockFile = "clock.json"

// keptClock is the content of clockFile.
type keptClock struct {
	At      time.Time     `json:"at"`
	Refused time.Time     `json:"refused"`
	Held    time.Duration `json:"held"`
}

// readClock returns the clock that was last kept. Where there is none, it is as of the latest write to the log; the zero
// value for an empty log. So it is to be read before anything is written.
func readClock(dir string) (domain.TrustedClock, error) {
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

// advance has the clock of retention go on to now, keeps it, and tells whether it is trusted.
func (r *retention) advance(now time.Time) (bool, error) {
	before := r.clock
	r.clock = before.Next(now)
	content, err := json.Marshal(keptClock(r.clock))
	if err == nil && !r.clock.At.IsZero() {
		err = replaceFile(filepath.Join(r.dir, clockFile), content)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", clockFile, err)
	}
	trusted := r.clock.Refused.IsZero()
	switch {
	case !trusted && before.Refused.IsZero():
		r.logger.Error("embedded Kafka broker: the clock leapt: no records are deleted for their age until it is right again, "+
			"or has gone on for a day", "from", r.clock.At.UTC(), "to", now.UTC())
	case trusted && !before.Refused.IsZero():
		r.logger.Info("embedded Kafka broker: the clock is trusted again", "clock", now.UTC())
	}
	return trusted, err
}
