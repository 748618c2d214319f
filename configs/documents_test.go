package configs

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the example file and the README's table anew")

const (
	exampleFile = "chatting.example.yaml"
	readme      = "../README.md"
	begin, end  = "<!-- configuration -->\n", "<!-- /configuration -->"
)

// example returns the annotated example: every option with its default.
func example() string {
	var out strings.Builder
	out.WriteString("# Every option of the server, with its default. Copy what you change; what is left out keeps its default.\n" +
		"#     chatting --config chatting.yaml        or CHATTING_CONFIG=chatting.yaml\n" +
		"# The variable beside each option wins over this file, a flag over both. Relative paths count from the working directory.\n")
	section := ""
	for _, o := range Options() {
		name, indent := o.Key, ""
		if of, rest, nested := strings.Cut(o.Key, "."); nested {
			name, indent = rest, "  "
			if of != section {
				fmt.Fprintf(&out, "\n# %s\n%s:\n", sections[of], of)
			}
			section = of
		} else {
			section = ""
			out.WriteString("\n")
		}
		for line := range strings.SplitSeq(wrap(o.Doc+" ("+o.Unit+")", 110), "\n") {
			fmt.Fprintf(&out, "%s# %s\n", indent, line)
		}
		names := o.Env()
		if o.Flag {
			names += ", --" + o.FlagName()
		}
		if o.Secret {
			names += "; or the name of a file that holds it: " + o.FileKey()[strings.LastIndex(o.FileKey(), ".")+1:] + ", " + envName(o.FileKey())
		}
		fmt.Fprintf(&out, "%s# %s\n", indent, names)
		if o.Default == "" {
			fmt.Fprintf(&out, "%s%s:\n", indent, name)
		} else {
			fmt.Fprintf(&out, "%s%s: %s\n", indent, name, o.Default)
		}
	}
	return out.String()
}

func wrap(text string, width int) string {
	var out strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			out.WriteByte('\n')
			column = 0
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}

func TestTheExampleFileShowsEveryOptionWithItsDefault(t *testing.T) {
	if *update {
		if err := os.WriteFile(exampleFile, []byte(example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != example() {
		t.Errorf("%s is not what the table says: run go test ./configs -update", exampleFile)
	}
	c, err := Load(Sources{File: exampleFile})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(c), show(mustLoad(t, "")); got != want {
		t.Errorf("%s\n%s", got, want)
	}
	for _, o := range Options() {
		if section, _, nested := strings.Cut(o.Key, "."); nested && sections[section] == "" {
			t.Errorf("the section %s has no sentence", section)
		}
	}
}

func TestTheReadmeHasTheTableOfOptions(t *testing.T) {
	content, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(content), begin)
	table, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s has no markers %s and %s", readme, begin, end)
	}
	if *update {
		if err := os.WriteFile(readme, []byte(before+begin+MarkdownTable()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != MarkdownTable() {
		t.Error("the table in the README is not what the options say: run go test ./configs -update")
	}
}

// show prints the values that a configuration came to, without their sources.
func show(c Config) string {
	c.settings = nil
	return fmt.Sprintf("%+v", c)
}
