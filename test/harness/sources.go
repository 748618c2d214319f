package harness

import (
	"io/fs"
	"path/filepath"
	"testing"
)

// TrackSources opens the folders of the server's source. Of a program that a test builds and runs, go test does not know;
// of files and folders that its tests open (not TestMain), it does. Without this it would repeat an old result for a changed
// server. Call it from whatever starts a server; the test must lie two folders below the module.
func TrackSources(t testing.TB) {
	t.Helper()
	for _, folder := range []string{"go.mod", "adapters", "application", "cmd", "configs", "domain", "migrations"} {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			t.Fatal(err)
		}
	}
}
