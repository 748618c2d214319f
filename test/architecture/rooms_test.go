package architecture

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// everywhere are the rooms of application that every other one may import.
var everywhere = []string{"port", "async", "notice"}

// TestRoomsImportEachOtherAsDocumented holds the rooms of application against the table in its package comment.
func TestRoomsImportEachOtherAsDocumented(t *testing.T) {
	comment, err := os.ReadFile(filepath.Join(root, "application/doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	documented := roomsOf(string(comment))
	if len(documented) == 0 {
		t.Fatal("the package comment of application has no table of rooms")
	}
	const prefix = module + "/application/"
	for _, p := range loadModule(t) {
		room, isRoom := strings.CutPrefix(p.path, prefix)
		if !isRoom {
			continue
		}
		may, known := documented[room]
		if !known {
			t.Errorf("%s: the table in application/doc.go does not have it", p.path)
		}
		for _, unexpected := range unexpectedRooms(p.imports, may) {
			t.Errorf("%s: imports %s, which the table in application/doc.go does not say", p.path, unexpected)
		}
		for _, imported := range may {
			if !slices.Contains(p.imports, prefix+imported) {
				t.Errorf("%s: does not import %s, though the table in application/doc.go says so", p.path, imported)
			}
		}
	}
}

// roomsOf reads the table: of each room the rooms that it imports.
func roomsOf(comment string) map[string][]string {
	rooms := make(map[string][]string)
	for line := range strings.Lines(comment) {
		row, isRow := strings.CutPrefix(line, "//\t")
		if !isRow {
			continue
		}
		row, imports, _ := strings.Cut(strings.TrimSpace(row), " imports ")
		room, _, _ := strings.Cut(row, " ")
		rooms[room] = nil
		if imports != "" {
			rooms[room] = strings.Split(imports, ", ")
		}
	}
	return rooms
}

// unexpectedRooms returns what of imports is neither allowed to everybody, nor in may, nor outside application.
func unexpectedRooms(imports, may []string) (unexpected []string) {
	for _, imported := range imports {
		room, isRoom := strings.CutPrefix(imported, module+"/application/")
		if imported == module+"/application" || isRoom && !slices.Contains(everywhere, room) && !slices.Contains(may, room) {
			unexpected = append(unexpected, imported)
		}
	}
	return unexpected
}

func TestTheTableOfRoomsIsRead(t *testing.T) {
	rooms := roomsOf("// Package application is.\n//\n//\tmessaging  sends messages; echoes   imports blocks, port\n//\tblocks     who blocks whom\n")
	if len(rooms) != 2 || !slices.Equal(rooms["messaging"], []string{"blocks", "port"}) || rooms["blocks"] != nil {
		t.Errorf("read %v", rooms)
	}
	imports := []string{
		"context", module + "/domain", module + "/application/port", module + "/application/blocks", module + "/application/history",
		module + "/application",
	}
	if got := unexpectedRooms(imports, []string{"blocks"}); !slices.Equal(got, imports[4:]) {
		t.Errorf("unexpected are %q, want %q", got, imports[4:])
	}
}

func TestOfTestSupportApplicationKnowsPortsInMemoryOnly(t *testing.T) {
	if reason := refusesInTests("application", module+"/test/porttest"); reason != "" {
		t.Errorf("ports in memory: %s", reason)
	}
	for folder, imported := range map[string]string{"application": "/test/harness", "domain": "/test/porttest"} {
		if refusesInTests(folder, module+imported) == "" {
			t.Errorf("a test of %s may import %s", folder, imported)
		}
	}
}
