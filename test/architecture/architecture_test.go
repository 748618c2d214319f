// Package architecture checks the shape of the module: who imports whom, and where things lie.
//
// This test needs nothing but Go.
package architecture

import (
	"errors"
	"go/build"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, seen from this package's.
const root = "../.."

func TestEveryPackageKeepsToItsLayer(t *testing.T) {
	for _, p := range loadModule(t) {
		for _, violation := range p.violations() {
			t.Errorf("%s: %s", p.path, violation)
		}
	}
}

func TestTopLevelFoldersAreTheKnownOnes(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	gitignore, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range unknownFolders(names, string(gitignore)) {
		t.Errorf("%s/: no such top-level folder is agreed on", name)
	}
}

// loadModule returns all packages of the module. It reads the files of every platform and build tag, which `go list`
// does not, and reads them itself, so that the test cache notices a change to any of them.
func loadModule(t *testing.T) []listed {
	t.Helper()
	everything := build.Default
	everything.UseAllFiles = true
	var packages []listed
	err := filepath.WalkDir(root, func(dir string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() {
			return nil
		}
		if dir != root && invisible(dir) {
			return filepath.SkipDir
		}
		found, err := everything.ImportDir(dir, 0)
		var none *build.NoGoError
		switch {
		case errors.As(err, &none):
			return nil
		case err != nil:
			return err
		}
		relative, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		packages = append(packages, listed{
			path:        path.Join(module, filepath.ToSlash(relative)),
			name:        found.Name,
			documented:  found.Doc != "",
			onlyTests:   len(found.GoFiles)+len(found.CgoFiles) == 0,
			imports:     found.Imports,
			testImports: slices.Concat(found.TestImports, found.XTestImports),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Guards the guard: a walk that finds nothing would approve of everything.
	if !slices.ContainsFunc(packages, func(p listed) bool { return p.path == module+"/domain" && len(p.imports) > 0 }) {
		t.Fatalf("the walk did not find %s/domain", module)
	}
	return packages
}

// invisible tells whether the go command leaves a folder out of ./..., by its name or because it is another module.
func invisible(dir string) bool {
	name := filepath.Base(dir)
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}
