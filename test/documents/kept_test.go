package documents

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chatting/adapters/kafka"
	"chatting/migrations"
)

func TestTheManualSaysForHowLongEachTableAndTopicIsKept(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n### What each store keeps, and for how long\n")
	section, _, _ = strings.Cut(section, "\n### ")
	database, rest, _ := strings.Cut(section, "\n**Topics.**")
	topics, _, _ := strings.Cut(rest, "\n**Files**")

	wantRows(t, "table", database, append(tables(t), "goose_db_version")) // the last one is the migrations' own
	wantRows(t, "topic", topics, kafka.NamesFor("chatting").All())
}

// wantRows demands that the first cells of a table in the manual name each of these, and nothing else.
func wantRows(t *testing.T, what, table string, want []string) {
	t.Helper()
	if len(want) < 5 {
		t.Fatalf("the code has %d %ss", len(want), what)
	}
	named := make(map[string]bool) // whether the code has it
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+) \\|").FindAllStringSubmatch(table, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			named[name[1]] = false
		}
	}
	for _, name := range want {
		if _, ok := named[name]; !ok {
			t.Errorf("docs/operations.md does not say for how long the %s %s is kept", what, name)
		}
		named[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if !named[name] {
			t.Errorf("docs/operations.md says for how long the %s %s is kept, but there is none", what, name)
		}
	}
}

// tables returns the tables that the migrations make and leave, on either database.
func tables(t *testing.T) []string {
	t.Helper()
	all := make(map[string]struct{})
	for _, database := range []migrations.Database{migrations.SQLite, migrations.PostgreSQL} {
		files, err := migrations.Of(database)
		if err != nil {
			t.Fatal(err)
		}
		names, err := fs.Glob(files, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			statements, err := fs.ReadFile(files, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, statement := range regexp.MustCompile(`(?m)^\s*(CREATE|DROP) TABLE (\w+)`).FindAllStringSubmatch(string(statements), -1) {
				if statement[1] == "CREATE" {
					all[statement[2]] = struct{}{}
				} else {
					delete(all, statement[2])
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}
