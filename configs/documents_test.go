package configs

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the example file and the table in docs/configuration.md anew")

const (
	examplePath = "chatting.example.yaml"
	optionsDoc  = "../docs/configuration.md"
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
				fmt.Fprintf(&out, "\n# %s\n%s:\n", described()[of].Doc, of)
			}
			section = of
		} else {
			section = ""
			out.WriteString("\n")
		}
		for line := range strings.SplitSeq(wrap(o.Doc+" ("+o.Unit()+")", 110), "\n") {
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
		if err := os.WriteFile(examplePath, []byte(example()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != example() {
		t.Errorf("%s is not what the table says: run go test ./configs -update", examplePath)
	}
	c, err := Load(Sources{File: examplePath})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(c), show(mustLoad(t, "")); got != want {
		t.Errorf("%s\n%s", got, want)
	}
	for _, o := range Options() {
		if section, _, nested := strings.Cut(o.Key, "."); nested && described()[section].Doc == "" {
			t.Errorf("the section %s has no sentence", section)
		}
		if o.Doc == "" {
			t.Errorf("%s has no sentence", o.Key)
		}
	}
}

func TestTheDocumentHasTheTableOfOptions(t *testing.T) {
	content, err := os.ReadFile(optionsDoc)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(content), begin)
	table, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s has no markers %s and %s", optionsDoc, begin, end)
	}
	if *update {
		if err := os.WriteFile(optionsDoc, []byte(before+begin+markdownTable()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != markdownTable() {
		t.Errorf("the table in %s is not what the options say: run go test ./configs -update", optionsDoc)
	}
}

// show prints the values that a configuration came to, without their sources.
func show(c Config) string {
	c.settings = nil
	return fmt.Sprintf("%+v", c)
}

// markdownTable returns the table of all options for docs/configuration.md.
func markdownTable() string {
	var out strings.Builder
	out.WriteString("| Variable | Key in the file | Default | Meaning |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)
	for _, o := range Options() {
		variable := "`" + o.Env() + "`"
		if o.Secret {
			variable += " or `…_FILE`"
		}
		if o.Flag {
			variable += ", `--" + o.FlagName() + "`"
		}
		value := "none"
		if o.Default != "" {
			value = "`" + o.Default + "`"
		}
		fmt.Fprintf(&out, "| %s | `%s` | %s | %s (%s) |\n", variable, o.Key, value, cell.Replace(o.Doc), o.Unit())
	}
	return out.String()
}
