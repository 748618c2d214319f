package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkout clones the commit that is checked out here.
func checkout(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), strings.Repeat("deep/", len(t.Name())%5)+"checkout") // paths of several lengths
	clone := exec.CommandContext(t.Context(), "git", "clone", "--quiet", "--shared", "../..", folder)
	if out, err := clone.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return folder
}

// built builds a release of the platforms in a checkout of its own and returns what was written, by its name.
func built(t *testing.T, platforms ...string) map[string]string {
	t.Helper()
	r := release{version: "v1.2.3-test", root: checkout(t), out: filepath.Join(t.TempDir(), "out"), platforms: platforms}
	if err := r.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := map[string]string{}
	files, err := os.ReadDir(r.out)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(r.out, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		written[file.Name()] = string(content)
	}
	return written
}

func TestTwoBuildsInDifferentFoldersAreTheSameAndComplete(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	var one, two map[string]string
	t.Run("one", func(t *testing.T) { one = built(t, platform) })
	t.Run("another", func(t *testing.T) { two = built(t, platform) })
	if t.Failed() {
		return
	}
	base := "chatting_v1.2.3-test_" + runtime.GOOS + "_" + runtime.GOARCH
	archive, bom := base+".tar.gz", base+".cdx.json"
	if len(one) != 3 || len(two) != 3 {
		t.Errorf("written are %d and %d files", len(one), len(two))
	}
	for _, name := range []string{archive, bom, sumsFile} {
		if one[name] == "" || one[name] != two[name] {
			t.Errorf("%s differs between two builds, or is missing", name)
		}
	}
	want := fmt.Sprintf("%x  %s\n%x  %s\n", sha256.Sum256([]byte(one[bom])), bom, sha256.Sum256([]byte(one[archive])), archive)
	if one[sumsFile] != want {
		t.Errorf("the checksums are\n%s, not\n%s", one[sumsFile], want)
	}
	checkArchive(t, one[archive])
	checkParts(t, one[bom])
}

// checkArchive looks for what a user needs, and asks the program for its version.
func checkArchive(t *testing.T, content string) {
	t.Helper()
	unpacked := untar(t, content)
	for _, name := range []string{
		"chatting", "LICENSE", licensesFile, "README.md", "CHANGELOG.md", "configs/chatting.example.yaml",
		"configs/systemd/chatting.service", "docs/operations.md", "docs/openapi.yaml",
	} {
		if len(unpacked["chatting_v1.2.3-test/"+name]) == 0 {
			t.Errorf("the archive has no %s", name)
		}
	}
	licenses := string(unpacked["chatting_v1.2.3-test/"+licensesFile])
	for _, part := range []string{"=== Go go", "=== github.com/gofiber/fiber/v2 v2", "=== modernc.org/sqlite v"} {
		if !strings.Contains(licenses, part) {
			t.Errorf("the licenses lack that of %s", part)
		}
	}
	program := filepath.Join(t.TempDir(), "chatting")
	if err := os.WriteFile(program, unpacked["chatting_v1.2.3-test/chatting"], 0o700); err != nil {
		t.Fatal(err)
	}
	says, err := exec.CommandContext(t.Context(), program, "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	commit, err := exec.CommandContext(t.Context(), "git", "log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ").Output()
	if err != nil {
		t.Fatal(err)
	}
	hash, _, _ := strings.Cut(string(commit), " ")
	if !strings.HasPrefix(string(says), "chatting v1.2.3-test ("+hash[:12]+", ") || strings.Contains(string(says), "modified") ||
		!strings.HasSuffix(strings.TrimSpace(string(says)), "Z, "+runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH+")") {
		t.Errorf("the program says it is %s, built from %s", says, commit)
	}
}

// untar returns the files of a tar.gz, each with the content, and checks that nothing tells of who packed it.
func untar(t *testing.T, content string) map[string][]byte {
	t.Helper()
	plain, err := gzip.NewReader(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || (header.Mode == 0o755) != strings.HasSuffix(header.Name, "/chatting") {
			t.Errorf("%s has the owner %d %s and the mode %o", header.Name, header.Uid, header.Uname, header.Mode)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// checkParts looks for modules in the list of what the program was made from.
func checkParts(t *testing.T, content string) {
	t.Helper()
	var bom struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Component struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"component"`
		} `json:"metadata"`
		Components []struct {
			PURL   string `json:"purl"`
			Hashes []any  `json:"hashes"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(content), &bom); err != nil {
		t.Fatal(err)
	}
	if bom.BOMFormat != "CycloneDX" || bom.Metadata.Component.Name != "chatting" || bom.Metadata.Component.Version != "v1.2.3-test" {
		t.Errorf("the list is one of %+v", bom.Metadata)
	}
	for _, module := range []string{"pkg:golang/github.com/gofiber/fiber/v2@", "pkg:golang/modernc.org/sqlite@"} {
		if !slices.ContainsFunc(bom.Components, func(c struct {
			PURL   string `json:"purl"`
			Hashes []any  `json:"hashes"`
		},
		) bool {
			return strings.HasPrefix(c.PURL, module) && len(c.Hashes) > 0
		}) {
			t.Errorf("%s is not in the list of %d modules", module, len(bom.Components))
		}
	}
}

func TestAZipHasTheSameFilesAndTheProgramMayBeRun(t *testing.T) {
	base := filepath.Join(t.TempDir(), "archive")
	entries := []entry{{name: "chatting.exe", content: []byte("program"), program: true}, {name: "docs/a.md", content: []byte("text")}}
	if err := writeArchive(base, true, "chatting_v1", entries, time.Unix(1700000000, 0)); err != nil {
		t.Fatal(err)
	}
	archive, err := zip.OpenReader(base + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if len(archive.File) != 2 {
		t.Fatalf("%d files", len(archive.File))
	}
	for i, file := range archive.File {
		content, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(content)
		if file.Name != "chatting_v1/"+entries[i].name || string(got) != string(entries[i].content) || err != nil ||
			file.Mode() != entries[i].mode() || file.Modified.Unix() != 1700000000 {
			t.Errorf("%s, %v: %q, %s, %s", file.Name, err, got, file.Mode(), file.Modified)
		}
	}
}

func TestWhatCouldNotBeBuiltAgainIsRefused(t *testing.T) {
	root := checkout(t)
	build := func(r release) string {
		t.Helper()
		r.root = root
		if r.out == "" {
			r.out = filepath.Join(t.TempDir(), "out")
		}
		err := r.build(t.Context())
		if err == nil {
			return ""
		}
		return err.Error()
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]release{
		"is no version":         {version: "1.2"},
		"is not empty":          {version: "v1.2.3", out: full},
		"write a platform as":   {version: "v1.2.3", platforms: []string{"linux"}},
		"unsupported GOOS/GOAR": {version: "v1.2.3", platforms: []string{"linux/none"}},
	} {
		if got := build(r); !strings.Contains(got, want) {
			t.Errorf("%+v: %q, not %q", r, got, want)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "README.md"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := build(release{version: "v1.2.3"}); !strings.Contains(got, "not committed") {
		t.Errorf("with changes: %q", got)
	}
}
