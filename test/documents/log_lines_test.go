package documents

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// notExplained are lines for which the manual has no row of their own. It explains the embedded broker's lines together.
var notExplained = regexp.MustCompile(`^embedded Kafka broker|^the embedded Kafka broker stops`)

func TestTheManualExplainsEveryWarning(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n### Log lines\n")
	section, _, _ = strings.Cut(section, "\n### ")
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(section, -1)
	explained := map[string]bool{} // by the line, which may end with "…"; whether the code has it
	for _, row := range rows {
		for _, line := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			explained[line[1]] = false
		}
	}
	if len(explained) < 60 {
		t.Fatalf("found %d lines", len(explained))
	}
	for line, warning := range logged(t) {
		found := false
		for known := range explained {
			if beginning, cut := strings.CutSuffix(known, "…"); line == known || cut && strings.HasPrefix(line, beginning) {
				explained[known], found = true, true
			}
		}
		if warning && !found && !notExplained.MatchString(line) {
			t.Errorf("docs/operations.md does not say what this line means: %s", line)
		}
	}
	for line, found := range explained {
		if !found {
			t.Errorf("docs/operations.md explains a line that the server does not write: %s", line)
		}
	}
}

// logged returns the lines that the server can log, and whether they are warnings or errors. A line that ends with something
// computed is there without that.
func logged(t *testing.T) map[string]bool {
	t.Helper()
	lines := map[string]bool{}
	// note adds the first of some expressions that begins with a text.
	note := func(warning bool, expressions ...ast.Expr) {
		for _, e := range expressions {
			if line := constant(e); line != "" {
				lines[line] = lines[line] || warning
				return
			}
		}
	}
	for _, dir := range []string{"adapters", "application", "cmd/chatting"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec: // may be logged under its name
					note(false, n.Values...)
				case *ast.CallExpr:
					if method, ok := n.Fun.(*ast.SelectorExpr); ok && len(n.Args) > 0 {
						switch method.Sel.Name {
						case "Warn", "Error":
							note(true, n.Args[0])
						case "Info", "Always", "Log", "LogAttrs":
							note(false, n.Args...)
						}
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// constant returns the text that an expression begins with.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		return constant(e.X) + constant(e.Y)
	}
	return ""
}
