package logdir

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Life is the time from one start of the server on this log to the next. An offset that a life's server gave away may be another
// place by now: a directory that is put back from a copy grows again from where it was copied. It knows no life that began behind
// the copy, and of the one under way at the copy, where it ended.
type Life struct {
	ID string `json:"id"`
	// Began are the ends of the partitions when it began, and so of the life before when that ended.
	Began []int64 `json:"began"`
}

// maxLives is how many lives are known.
const maxLives = 64

// oldestWithout returns the life that is forgotten first: the oldest one in which nothing was said, as in a loop of starts that fail, or
// else the oldest one. The one before it has the same end without it.
func oldestWithout(lives []Life) int {
	for i := len(lives) - 1; i > 0; i-- {
		if slices.Equal(lives[i].Began, lives[i-1].Began) {
			return i
		}
	}
	return len(lives) - 1
}

// BeginLife notes that a life begins, and returns those that are known, that one first. Lives whose file was lost or damaged are
// not known any more.
func BeginLife(dir string, began []int64) ([]Life, error) {
	file := filepath.Join(dir, livesFile)
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var known []Life
	if json.Unmarshal(raw, &known) != nil {
		known = nil
	}
	lives := append([]Life{{ID: rand.Text(), Began: began}}, known...)
	for len(lives) > maxLives {
		i := oldestWithout(lives)
		lives = slices.Delete(lives, i, i+1)
	}
	content, err := json.Marshal(lives)
	if err == nil {
		err = replaceFile(file, content)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", livesFile, err)
	}
	return lives, nil
}
