package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/exit"
)

// manual is the page about the command line.
func manual(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// section returns the rows of the table below a heading.
func section(t *testing.T, heading string) (rows [][]string) {
	t.Helper()
	_, text, found := strings.Cut(manual(t), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/cli.md has no heading %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) > 1 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	if len(rows) < 3 {
		t.Fatalf("docs/cli.md has no table below %s", heading)
	}
	return rows[2:] // without the head
}

// runnable returns the commands that do something.
func runnable(t *testing.T) (commands []*cobra.Command) {
	t.Helper()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, below := range cmd.Commands() {
			walk(below)
		}
		group := cmd.HasSubCommands() && cmd.Name() != "bench" || cmd.Name() == "help" || cmd.Parent() == nil
		if !group && !strings.HasPrefix(cmd.CommandPath(), "chatting completion") {
			commands = append(commands, cmd)
		}
	}
	walk(newRoot(Process{}))
	if len(commands) < 15 {
		t.Fatalf("found %d commands", len(commands))
	}
	return commands
}

func TestThePageListsAllCommands(t *testing.T) {
	documented := map[string]string{}
	for _, row := range section(t, "Commands") {
		documented[strings.Trim(row[0], "`")] = row[1]
	}
	for _, cmd := range runnable(t) {
		if documented[cmd.CommandPath()] != cmd.Short {
			t.Errorf("docs/cli.md should have | `%s` | %s |", cmd.CommandPath(), cmd.Short)
		}
		delete(documented, cmd.CommandPath())
	}
	for command := range documented {
		t.Errorf("docs/cli.md has %s, which is no command", command)
	}
}

func TestThePageAndTheHelpHaveTheExitCodes(t *testing.T) {
	var want [][]string
	for _, row := range exit.Meanings() {
		want = append(want, []string{fmt.Sprint(row.Code), row.Meaning})
	}
	if got := section(t, "Exit codes"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("docs/cli.md has\n%q\nnot\n%q", got, want)
	}
	for _, line := range []string{"help", "--help"} {
		if help := command(t, nil, line); !strings.Contains(help.out, "Exit codes:\n"+exit.Table()) {
			t.Errorf("chatting %s:\n%s", line, help.out)
		}
	}
}

func TestThePageSaysWhatEachCommandPrintsAsJSON(t *testing.T) {
	documented := map[string]bool{}
	for _, row := range section(t, "JSON") {
		documented[strings.Trim(row[0], "`")] = true
	}
	for _, cmd := range runnable(t) {
		if has := cmd.Flags().Lookup("json") != nil; has != documented[cmd.CommandPath()] {
			t.Errorf("%s has --json: %t, and is in docs/cli.md: %t", cmd.CommandPath(), has, documented[cmd.CommandPath()])
		}
	}
}

// TestJSONHasTheFieldsOfThePage: of commands that need nothing. Others have tests of their own.
func TestJSONHasTheFieldsOfThePage(t *testing.T) {
	fields := regexp.MustCompile("`([a-z_0-9]+)`")
	documented := map[string][]string{}
	for _, row := range section(t, "JSON") {
		for _, found := range fields.FindAllStringSubmatch(row[2], -1) {
			documented[strings.Trim(row[0], "`")] = append(documented[strings.Trim(row[0], "`")], found[1])
		}
	}
	dir := t.TempDir()
	environ := []string{
		"CHATTING_DATA_DIR=" + dir, "CHATTING_JWT_SECRET=" + serverSecret, "CHATTING_HTTP_ADDR=" + away, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
	}
	for _, line := range []string{"token --user 7", "version", "migrate", "health", "doctor"} {
		o := command(t, environ, append(strings.Fields(line), "--json")...)
		var got map[string]any
		if err := json.Unmarshal([]byte(o.out), &got); err != nil || strings.Count(o.out, "\n") != 1 {
			t.Errorf("%s: %v: %+v", line, err, o)
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		for field := range got {
			if !slices.Contains(documented["chatting "+name], field) {
				t.Errorf("%s prints %s, which docs/cli.md does not have: %s", line, field, o.out)
			}
		}
		if len(got) == 0 {
			t.Errorf("%s prints nothing", line)
		}
	}
	o := command(t, environ, "config", "--json")
	var options map[string]struct{ Value, Source string }
	if err := json.Unmarshal([]byte(o.out), &options); err != nil {
		t.Fatal(err)
	}
	if got := options["jwt.secret"]; got.Value != "***" || got.Source != "environment CHATTING_JWT_SECRET" {
		t.Errorf("%+v", got)
	}
	if got := options["log.level"]; got.Value != "info" || got.Source != "" {
		t.Errorf("%+v", got)
	}
	if strings.Contains(o.out, serverSecret) {
		t.Error("the secret is shown")
	}
}

// TestEachExitCodeHasItsCause has a row for each code that a command line in this process can bring about.
func TestEachExitCodeHasItsCause(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	empty := filepath.Join(t.TempDir(), "empty")
	for _, row := range []struct {
		line    string
		environ string
		want    exit.Code
	}{
		{"version", "", exit.Done},
		{"config --help", "", exit.Done},
		{"token --user 7", "CHATTING_DATA_DIR=" + empty, exit.Failed},
		{"token --user 7", "CHATTING_JWKS_URL=https://keys/", exit.Failed},
		{"history rebuild", "CHATTING_DATA_DIR=" + empty, exit.Failed},
		{"nonsense", "", exit.Usage},
		{"token --nonsense", "", exit.Usage},
		{"token", "", exit.Usage},
		{"token --user x", "", exit.Usage},
		{"token --user 7 --color sometimes", "", exit.Usage},
		{"config", "CHATTING_HTTP_ADDR=nonsense", exit.Usage},
		{"config --config /nowhere/x.yaml", "", exit.Usage},
		{"send --user 7 --to 8", "", exit.Usage},
		{"send --user 7 hello", "", exit.Usage},
		{"send --user 7 --to 8 --room r hello", "", exit.Usage},
		{"send --platform --user 7 --to 8 hello", "", exit.Usage},
		{"dlt replay", "", exit.Usage},
		{"events tail --format xml", "", exit.Usage},
		{"events tail --format text --json", "", exit.Usage},
		{"bench --pairs 0", "", exit.Usage},
		{"serve --http-addr 127.0.0.1:0 --kafka-brokers " + away + " --kafka-tls --kafka-tls-ca-file /nowhere/ca.pem", "CHATTING_DATA_DIR=" + empty, exit.Usage},
		{"dlt list --kafka-brokers " + away + " --kafka-tls --kafka-tls-ca-file /nowhere/ca.pem", "", exit.Usage},
		{"health", "CHATTING_HTTP_ADDR=" + away, exit.Unavailable},
		{"connect --token x --url ws://" + away + "/", "", exit.Unavailable},
		{"send --token x --to 8 --url ws://" + away + "/ hello", "", exit.Unavailable},
		{"send --platform --to 8 --url ws://" + away + "/ hello", "CHATTING_S2S_TOKEN=0123456789abcdef", exit.Unavailable},
		{"events tail --kafka-brokers " + away, "", exit.Unavailable},
		{"dlt list --kafka-brokers " + away, "", exit.Unavailable},
		{"migrate", "CHATTING_DATABASE_URL=postgres://u@" + away + "/x?sslmode=disable", exit.Unavailable},
		{"bench --first-user 1 --url ws://" + away + "/", "CHATTING_JWT_SECRET=" + serverSecret, exit.Unavailable},
		{"doctor", "CHATTING_HTTP_ADDR=" + taken.Addr().String(), exit.Findings},
		{"doctor", "CHATTING_HTTP_ADDR=nonsense", exit.Findings},
	} {
		if o := command(t, []string{row.environ}, strings.Fields(row.line)...); o.code != int(row.want) {
			t.Errorf("%s, %s: %+v, want %d", row.line, row.environ, o, row.want)
		}
	}
}

func TestShellsCompleteCommandsAndValues(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if o := command(t, nil, "completion", shell); o.code != 0 || !strings.Contains(o.out, "chatting") {
			t.Errorf("%s: code %d, %d bytes, %s", shell, o.code, len(o.out), o.err)
		}
	}
	for line, want := range map[string]string{
		"con": "connect", "dlt ": "replay", "events tail --format ": "json", "--color ": "always", "dlt list --code ": "invalid_json",
		"events tail --type ": "chat_message", "events tail --topic ": "system-messages.dlt", "serve --log-level ": "debug",
	} {
		words := strings.Split(line, " ")
		o := command(t, nil, append([]string{"__complete"}, words...)...)
		if !strings.Contains(o.out, want) {
			t.Errorf("%q: %+v", line, o)
		}
	}
}

func TestErrorsAreRedOnlyIfAsked(t *testing.T) {
	if o := command(t, nil, "nonsense", "--color", "always"); !strings.HasPrefix(o.err, "\x1b[31mchatting:\x1b[0m ") {
		t.Errorf("%q", o.err)
	}
	for _, args := range [][]string{{"nonsense"}, {"nonsense", "--color", "never"}, {"nonsense", "--color", "auto"}} {
		if o := command(t, nil, args...); strings.Contains(o.err, "\x1b") {
			t.Errorf("%v: %q", args, o.err)
		}
	}
}
