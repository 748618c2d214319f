package logdir

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// begin begins a life in dir, and returns the ids of all.
func begin(t *testing.T, dir string, began ...int64) (ids []string) {
	t.Helper()
	lives, err := BeginLife(dir, began)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lives[0].Began, began) {
		t.Errorf("a life began at %d, not at %d", lives[0].Began, began)
	}
	for _, life := range lives {
		ids = append(ids, life.ID)
	}
	return ids
}

func TestADirectoryKnowsItsLivesAndACopyThoseBeforeIt(t *testing.T) {
	dir, file := t.TempDir(), livesFile
	first := begin(t, dir, 0, 0)
	second := begin(t, dir, 1, 2)
	if len(first) != 1 || len(second) != 2 || second[1] != first[0] || second[0] == second[1] {
		t.Fatalf("the lives are %q, and then %q", first, second)
	}
	copied, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	lost := begin(t, dir, 3, 4)[0]
	if err := os.WriteFile(filepath.Join(dir, file), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	if third := begin(t, dir, 1, 2); slices.Contains(third, lost) || !slices.Equal(third[1:], second) {
		t.Errorf("the copy had %q, and knows %q", second, third)
	}
	for range maxLives {
		begin(t, dir, 5, 6) // and nothing is said
	}
	if all := begin(t, dir, 5, 6); len(all) != maxLives || all[len(all)-1] != first[0] {
		t.Errorf("%d lives are known after starts that failed, and the first is not", len(all))
	}
	for n := range int64(maxLives) {
		begin(t, dir, 6+n, 6)
	}
	if all := begin(t, dir, 99, 6); len(all) != maxLives || slices.Contains(all, first[0]) {
		t.Errorf("%d lives are known", len(all))
	}
	if err := os.WriteFile(filepath.Join(dir, file), copied[:len(copied)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if damaged := begin(t, dir, 7, 8); len(damaged) != 1 {
		t.Errorf("of a damaged file, %q are known", damaged)
	}
}
