package docs

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Generators cannot handle "an integer, or a string". So the answers to requests with string_ids=true have a document of their own,
// which is openapi.yaml with other ids.
func withStringIDs(t *testing.T, document string) string {
	t.Helper()
	replace := func(old, with string, times int) {
		t.Helper()
		if got := strings.Count(document, old); got != times {
			t.Fatalf("the document has %d times %q, not %d", got, old, times)
		}
		document = strings.ReplaceAll(document, old, with)
	}
	replace("openapi: 3.0.3\n", "# Made of openapi.yaml: go test ./docs -update\nopenapi: 3.0.3\n", 1)
	replace("  title: chatting\n", "  title: chatting, with ids as strings\n", 1)
	from, to := strings.Index(document, "    With string_ids=true in the query"), strings.Index(document, "    Bodies are JSON.")
	document = document[:from] + "    Every request has string_ids=true in the query, so ids of users are decimal strings in answers. In openapi.yaml they are\n" +
		"    integers.\n\n\n" + document[to:]
	from, to = strings.Index(document, "  /s2sapi/"), strings.Index(document, "components:\n")
	document = document[:from] + document[to:]
	document = regexp.MustCompile(`(?m)^(  /api/.*:\n)`).ReplaceAllString(document, "$1    parameters:\n      - {$$ref: \"#/components/parameters/StringIds\"}\n")
	replace("  parameters:\n    TargetId:\n", "  parameters:\n    StringIds: {name: string_ids, in: query, required: true, schema: {type: string, enum: [\"true\"]}}\n    TargetId:\n", 1)
	replace("    Id: {type: integer, format: int64, minimum: 1}\n", "    Id: {type: string, pattern: \"^[1-9][0-9]{0,18}$\"}\n", 1)
	replace("    Partner:\n      type: integer\n      format: int64\n      minimum: 0\n", "    Partner:\n      type: string\n      pattern: \"^(0|[1-9][0-9]{0,18})$\"\n", 1)
	document = regexp.MustCompile(`\b((?:[a-z]+_)?id: )([0-9]+)([,}\n])`).ReplaceAllString(document, `$1"$2"$3`)
	return regexp.MustCompile(`example: ([0-9]+)\b`).ReplaceAllString(document, `example: "$1"`)
}

func TestTheDocumentOfStringIDsIsMadeOfTheOther(t *testing.T) {
	document, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := withStringIDs(t, string(document))
	if *update {
		if err := os.WriteFile("openapi-string-ids.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("openapi-string-ids.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("openapi-string-ids.yaml is not made of openapi.yaml: run go test ./docs -update")
	}
}
