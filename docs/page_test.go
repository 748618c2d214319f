package docs

import (
	"flag"
	"html/template"
	"os"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write api.html and openapi-string-ids.yaml anew")

// made returns the page that the documents make.
func made(t *testing.T) string {
	t.Helper()
	style, err := os.ReadFile("page/page.css")
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template.New("page.html.tmpl").Funcs(template.FuncMap{
		"css":        func() template.CSS { return template.CSS(style) },
		"paragraphs": paragraphs,
		"title": func(s string) string {
			return string(unicode.ToUpper(rune(s[0]))) + s[1:]
		},
	})
	if tmpl, err = tmpl.ParseFiles("page/page.html.tmpl"); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, readPage()); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`\n{2,}`).ReplaceAllString(strings.TrimSpace(out.String()), "\n") + "\n"
}

// paragraphs splits a description, and marks what stands between backticks as code.
func paragraphs(text string) [][]span {
	var all [][]span
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		var spans []span
		for i, part := range strings.Split(line, "`") {
			if part == "" {
				continue
			}
			if i%2 == 1 {
				spans = append(spans, span{Text: part, Code: true})
				continue
			}
			spans = append(spans, linked(part)...)
		}
		all = append(all, spans)
	}
	return all
}

// document is the name of a file that the page leads to.
var document = regexp.MustCompile(`\b[a-z-]+\.(?:yaml|md)\b`)

// linked splits a text at the names of documents that servers hand out, which become links.
func linked(text string) (spans []span) {
	end := 0
	for _, at := range document.FindAllStringIndex(text, -1) {
		name := text[at[0]:at[1]]
		if file, err := Files.Open(name); err != nil || file.Close() != nil {
			continue
		}
		if at[0] > end {
			spans = append(spans, span{Text: text[end:at[0]]})
		}
		spans = append(spans, span{Text: name, Link: "/" + name})
		end = at[1]
	}
	if end < len(text) {
		spans = append(spans, span{Text: text[end:]})
	}
	return spans
}

func TestWhatTheDocumentsNameIsALink(t *testing.T) {
	content := made(t)
	for _, name := range []string{"openapi.yaml", "asyncapi.yaml", "openapi-string-ids.yaml", "clients.md", "protocol.md", "events.md"} {
		if !strings.Contains(content, `<a href="/`+name+`">`+name+`</a>`) {
			t.Errorf("nothing leads to %s", name)
		}
	}
	if strings.Index(content, `<h2 id="socket">`) > strings.Index(content, `<h2 id="rest">`) {
		t.Error("the socket, with which one chats, comes after the REST API")
	}
}

func TestThePageIsWhatTheDocumentsSay(t *testing.T) {
	want := made(t)
	if *update {
		if err := os.WriteFile("api.html", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("api.html")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("api.html is not what the documents say: run go test ./docs -update")
	}
}

var (
	id   = regexp.MustCompile(` id="([^"]*)"`)
	href = regexp.MustCompile(` (?:href|src)="([^"]*)"`)
)

func TestThePageLeadsOnlyToItselfAndToTheDocuments(t *testing.T) {
	content := made(t)
	ids := map[string]bool{}
	for _, found := range id.FindAllStringSubmatch(content, -1) {
		if ids[found[1]] {
			t.Errorf("two places are called %s", found[1])
		}
		ids[found[1]] = true
	}
	links := href.FindAllStringSubmatch(content, -1)
	if len(links) < 50 {
		t.Errorf("found %d links", len(links))
	}
	for _, found := range links {
		anchor, here := strings.CutPrefix(found[1], "#")
		file, there := strings.CutPrefix(found[1], "/")
		if here && ids[anchor] {
			continue
		}
		if _, err := Files.Open(file); !there || err != nil {
			t.Errorf("%q leads nowhere", found[1])
		}
	}
}

// A strict policy of the browser forbids all of this; the page would look broken.
func TestThePageNeedsNoScriptAndNothingFromElsewhere(t *testing.T) {
	content := strings.ToLower(made(t))
	for _, forbidden := range []string{"<script", " style=", " onclick", "javascript:", "@import", "url(", "<img", "<iframe", "<link"} {
		if strings.Contains(content, forbidden) {
			t.Errorf("the page has %s", forbidden)
		}
	}
	const limit = 300 << 10
	if len(content) > limit {
		t.Errorf("the page has %d bytes, and may have %d", len(content), limit)
	}
}

func TestThePageShowsEveryOperationAndEveryFrameWithAnExample(t *testing.T) {
	p := readPage()
	operations := 0
	for _, g := range p.Groups {
		for _, o := range g.Operations {
			operations++
			if strings.Contains(o.Request, "{") && len(o.Body) == 0 || strings.Contains(o.Request, "=&") || strings.Contains(o.Request, "='") {
				t.Errorf("%s: a parameter has no example: %s", o.ID, o.Request)
			}
			if len(o.Body) > 0 && o.Body[0].Example == "" {
				t.Errorf("%s: the body has no example", o.ID)
			}
			for _, a := range o.Answers {
				if len(a.Bodies) > 0 && a.Bodies[0].Example == "" {
					t.Errorf("%s %s: the answer has no example", o.ID, a.Status)
				}
			}
		}
	}
	if operations < 15 {
		t.Errorf("found %d operations", operations)
	}
	frames := append(p.FromClients, p.ToClients...)
	for _, topic := range p.Topics {
		frames = append(frames, topic.Messages...)
	}
	for _, f := range frames {
		if len(f.Examples) == 0 || f.Doc == "" {
			t.Errorf("%s has no example, or nothing says what it is", f.Name)
		}
	}
	if len(frames) < 15 {
		t.Errorf("found %d frames", len(frames))
	}
	if len(p.Closes) < 10 || p.Closes[0].Reason == "" {
		t.Errorf("found the close codes %v", p.Closes)
	}
	if len(p.Events) < 8 {
		t.Errorf("found %d schemas of events", len(p.Events))
	}
}

// TestASchemaIsFoundByItsID: an $id counts from where the schema lies, so it holds on every server and in this folder.
func TestASchemaIsFoundByItsID(t *testing.T) {
	files, err := Files.ReadDir("schemas")
	if err != nil {
		t.Fatal(err)
	}
	lib := library{}
	for _, file := range files {
		if got := lib.open("schemas/" + file.Name()).at("$id").text(); got != file.Name() {
			t.Errorf("the $id of %s is %q", file.Name(), got)
		}
	}
}
