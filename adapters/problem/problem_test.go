package problem

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

// Operators and clients look up what a refusal means.
func TestEveryCodeIsDocumented(t *testing.T) {
	document, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(document), "\n## Refusals by HTTP\n")
	section, _, _ = strings.Cut(section, "\n## ")
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[domain.Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
				code, err := strconv.Unquote(literal.Value)
				found[domain.Code(code)] = err == nil && spec.Names[0].Name != "MediaType"
			}
		}
		return true
	})
	delete(found, MediaType)
	if len(found) < 11 {
		t.Fatalf("only %v were found", found)
	}
	for status, code := range codes {
		found[code] = true
		if row := rowOf(section, code); !strings.Contains(row, "| "+strconv.Itoa(status)+" |") {
			t.Errorf("%s is documented as %q, and has status %d", code, row, status)
		}
	}
	for code := range found {
		if rowOf(section, code) == "" {
			t.Errorf("%s is not documented", code)
		}
	}
}

// rowOf returns the row of the table of codes.
func rowOf(section string, code domain.Code) string {
	for line := range strings.Lines(section) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		if strings.HasPrefix(line, "|") && strings.Contains(cell, "`"+string(code)+"`") {
			return line
		}
	}
	return ""
}

func TestEveryRefusalHasACode(t *testing.T) {
	for status := 400; status < 600; status++ {
		details := Of(status, "x")
		if details.Code == "" || details.Status != status || details.Title != http.StatusText(status) || status >= 500 != (CodeOf(status) == domain.CodeInternal || status == 503 || status == 505) {
			t.Errorf("%+v", details)
		}
	}
}

func TestTheTimeToWaitIsInSecondsRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]string{1: "1", time.Second: "1", time.Second + 1: "2", 1999 * time.Millisecond: "2", time.Minute: "60"} {
		if got := RetryAfter(wait); got != want {
			t.Errorf("%v: %s", wait, got)
		}
	}
}
