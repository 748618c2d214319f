package documents

import (
	"bytes"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// markdown returns the texts of all documents, without what is fenced, by their paths from the root.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == "testdata" || name == ".git" || name == ".state") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		found[filepath.ToSlash(relative)] = withoutFences(string(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "docs/protocol.md"} {
		if found[name] == "" {
			t.Fatalf("the walk did not find %s", name)
		}
	}
	return found
}

func withoutFences(text string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			out.WriteString(line)
		}
	}
	return out.String()
}

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	notOfIDs = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns the names by which a document's headings can be linked.
func anchors(text string) []string {
	var all []string
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(notOfIDs.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-"))
	}
	return all
}

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	documents := markdown(t)
	checked := 0
	for name, text := range documents {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(found[1])
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if target.IsAbs() {
				continue
			}
			checked++
			file := name
			if target.Path != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), target.Path))
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s links %s: %v", name, found[1], err)
				continue
			}
			if target.Fragment != "" && !slices.Contains(anchors(documents[file]), target.Fragment) {
				t.Errorf("%s links %s, but %s has no such heading", name, found[1], file)
			}
		}
	}
	if checked < 50 {
		t.Errorf("found %d links", checked)
	}
}

// The documents for people who change the code name its files. Who moves a file finds here what to write anew.
func TestFilesThatTheDocumentsNameExist(t *testing.T) {
	documents := markdown(t)
	path := regexp.MustCompile("`((?:adapters|application|cmd|configs|docs|domain|migrations|test|\\.ci)/[\\w./-]*)`")
	for _, name := range []string{"docs/architecture.md", "CONTRIBUTING.md"} {
		named := path.FindAllStringSubmatch(documents[name], -1)
		if len(named) < 5 {
			t.Errorf("%s names %d files", name, len(named))
		}
		for _, found := range named {
			if _, err := os.Stat(filepath.Join(root, found[1])); err != nil {
				t.Errorf("%s names %s: %v", name, found[1], err)
			}
		}
	}
}

func TestInvariantsThatTheCodeCitesAreListed(t *testing.T) {
	text := markdown(t)["docs/architecture.md"]
	_, section, _ := strings.Cut(text, "\n## Invariants\n")
	section, _, _ = strings.Cut(section, "\n## ")
	cited := regexp.MustCompile(`\binvariants? (\d+)(?: and (\d+))?`)
	count := 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		content, err := os.ReadFile(path)
		for _, found := range cited.FindAllSubmatch(content, -1) {
			for _, number := range found[1:] {
				if len(number) == 0 {
					continue
				}
				count++
				if !strings.Contains(section, "\n"+string(number)+". ") {
					t.Errorf("%s cites invariant %s, which docs/architecture.md does not list", path, number)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if count == 0 {
		t.Error("no invariant is cited")
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(content, []byte("\n")); lines > 150 {
		t.Errorf("the README has %d lines; what more there is to say belongs into docs", lines)
	}
}

func TestTheGlossaryIsInOrder(t *testing.T) {
	var words []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+?) \| .+ \|$`).FindAllStringSubmatch(markdown(t)["docs/glossary.md"], -1) {
		if row[1] != "Word" {
			words = append(words, strings.ToLower(row[1]))
		}
	}
	if len(words) < 30 || !slices.IsSorted(words) {
		t.Errorf("the words are not in alphabetical order: %q", words)
	}
}
