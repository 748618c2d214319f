package architecture

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// module is the module's name in go.mod.
const module = "chatting"

// listed is what the rules look at in a package.
type listed struct {
	path        string   // the import path
	name        string   // the name in its package clause
	documented  bool     // has a package comment
	onlyTests   bool     // consists of test files
	imports     []string // of what users run
	testImports []string // of its test files
}

// layer says what the packages of a folder may import. Their own subpackages they may always import.
type layer struct {
	// module lists the folders of the module, each with what is below it.
	module []string
	// libraries tells whether anything beside the standard library may be imported.
	libraries bool
	// only is the one library that may; "" for any.
	only string
	// notStandard lists what is refused of the standard library, each with what is below it, and why.
	notStandard []string
	why         string
}

// layers by folder. Where a folder is below another (adapters/wire), the longer one counts.
var layers = map[string]layer{
	"domain": {
		notStandard: []string{"os", "net", "database/sql", "log", "math/rand", "crypto/rand"},
		why:         "the domain does no I/O, and what varies is handed in",
	},
	"application": {
		module:      []string{"domain"},
		notStandard: []string{"os", "net", "database/sql", "encoding/json"},
		why:         "what a use case needs from outside is a port",
	},
	// What reads and writes JSON has the one library for that.
	"adapters/wire":       {module: []string{"domain"}, libraries: true, only: jsonLibrary},
	"adapters/asset":      {libraries: true},
	"adapters/netcause":   {},
	"adapters/questions":  {},
	"adapters/network":    {},
	"adapters/ownerfiles": {},
	"adapters/ws/rfc6455": {},
	// What clients send, and how much of it. Neither knows connections.
	"adapters/ws/frames":   {module: []string{"domain", "application/port", "adapters/wire"}},
	"adapters/ws/throttle": {module: []string{"domain"}, libraries: true, only: "golang.org/x/time/rate"},
	// A connection, whatever is said on it. The ledger bounds its bytes.
	"adapters/ws/socket": {module: []string{"adapters/ws/rfc6455", "application/ledger"}, libraries: true},
	// What the adapters that speak HTTP have in common. An origin is an option, too.
	"adapters/origins": {libraries: true},
	"adapters/problem": {module: []string{"domain"}},
	// How requests are read and answers written, whoever asks.
	"adapters/rest/exchange": {module: []string{"adapters/problem", "adapters/wire"}, libraries: true},
	// The platform's servers know nothing of users' paths, and nothing of the gate in front of them.
	"adapters/rest/platform": {
		module: []string{"domain", "application", "adapters/rest/exchange", "adapters/wire"}, libraries: true,
	},
	// It serves files, and knows nothing of what they describe.
	"adapters/apidocs": {module: []string{"docs", "adapters/asset"}, libraries: true},
	// The parts of the embedded broker, from the ground up.
	"adapters/embedded/protocol": {libraries: true},
	"adapters/embedded/batch":    {module: []string{"adapters/embedded/protocol"}, libraries: true},
	"adapters/embedded/logdir": {
		module: []string{"domain", "adapters/embedded/batch", "adapters/embedded/protocol", "adapters/ownerfiles"}, libraries: true,
	},
	"adapters/embedded/guard": {
		module: []string{"adapters/embedded/batch", "adapters/embedded/protocol", "adapters/embedded/logdir"}, libraries: true,
	},
	// It alone knows the library of Prometheus. The others report to interfaces of their own.
	"adapters/metrics": {libraries: true},
	// It alone knows the library of OpenTelemetry. The others begin spans by a port.
	"adapters/tracing": {
		module: []string{"domain", "adapters/netcause", "application/notice", "application/port"}, libraries: true,
	},
	"adapters": {
		module: []string{
			"domain", "application", "adapters/asset", "adapters/netcause", "adapters/network", "adapters/origins", "adapters/ownerfiles", "adapters/problem", "adapters/questions",
			"adapters/wire", "migrations",
		},
		libraries: true,
	},
	// The client of the log could be a library of its own.
	"adapters/kafka/logclient": {libraries: true},
	// The history knows nothing of users, and what opens and asks a database nothing of what is in it.
	"adapters/sqlstore/conversations": {
		module: []string{"domain", "application", "adapters/sqlstore/database", "adapters/wire", "migrations"}, libraries: true,
	},
	"adapters/sqlstore/database": {module: []string{"domain", "adapters/ownerfiles", "migrations"}, libraries: true},

	"configs":    {module: []string{"domain", "adapters/origins"}, libraries: true},
	"migrations": {libraries: true},
	// cmd/chatting and cmd/chatting/cli may import what is below cmd. The others say what they may.
	"cmd": {module: inner, libraries: true},
	"cmd/chatting/server": {
		module: append([]string{
			"cmd/chatting/exit", "cmd/chatting/installation", "cmd/chatting/logging", "cmd/chatting/servicemanager",
		}, inner...),
		libraries: true,
	},
	"cmd/chatting/servicemanager": {libraries: true, only: "github.com/coreos/go-systemd"},
	"cmd/chatting/installation":   {module: append([]string{"cmd/chatting/exit"}, inner...), libraries: true},
	"cmd/chatting/exit":           {module: []string{"domain"}},
	"cmd/chatting/terminal":       {module: []string{"cmd/chatting/logging"}},
	"cmd/chatting/talk": {
		module: []string{
			"domain", "adapters/netcause", "cmd/chatting/exit", "cmd/chatting/installation", "cmd/chatting/terminal", "configs",
		},
		libraries: true,
	},
	"cmd/chatting/admin": {
		module: []string{"domain", "cmd/chatting/exit", "cmd/chatting/talk", "cmd/chatting/terminal"}, libraries: true,
	},
	"cmd/chatting/doctor": {
		module: append([]string{"cmd/chatting/exit", "cmd/chatting/installation", "cmd/chatting/terminal"}, inner...), libraries: true,
	},
	"cmd/chatting/logging": {module: []string{"configs"}, libraries: true},
	"cmd/chatting/bench":   {module: []string{"adapters/netcause"}, libraries: true},
	"test":                 {module: inner, libraries: true},
	// The documents as the server holds them.
	"docs": {},
	// An example shows what can be done with the documents alone.
	"docs/examples": {libraries: true, only: "github.com/segmentio/kafka-go"},
}

// inner are all layers below cmd.
var inner = []string{"domain", "application", "adapters", "configs", "migrations"}

const jsonLibrary = "github.com/go-json-experiment/json"

// wiring is imported by the server only, and in tests under cmd only: who needs a container to test a package has too large a
// package.
var wiring = []string{"go.uber.org/fx", "go.uber.org/dig"}

// prometheus is imported by the package of the metrics only: parts have interfaces of their own for what they report.
const prometheus = "github.com/prometheus"

// openTelemetry is imported by the package of the traces only: use cases and parts begin spans by package port.
const openTelemetry = "go.opentelemetry.io"

// namesOfNothing are package names that say where code was put, not what it is.
var namesOfNothing = []string{"common", "util", "utils", "model", "models", "helper", "helpers", "type", "types", "misc", "shared"}

// violations returns what is wrong with p, one sentence each.
func (p listed) violations() []string {
	folder, rules, known := layerOf(p.path)
	if !known {
		return []string{"lies in no layer"}
	}
	var found []string
	if slices.Contains(namesOfNothing, p.name) {
		found = append(found, fmt.Sprintf("the name %q says nothing about what is in it", p.name))
	}
	if !p.documented && !p.onlyTests {
		found = append(found, "has no package comment")
	}
	for _, imported := range p.imports {
		if reason := rules.refuses(folder, p.path, imported); reason != "" {
			found = append(found, fmt.Sprintf("imports %s: %s", imported, reason))
		}
	}
	for _, imported := range p.testImports {
		if reason := refusesInTests(folder, imported); reason != "" {
			found = append(found, fmt.Sprintf("imports %s in a test: %s", imported, reason))
		}
	}
	return found
}

// layerOf finds the layer that a package of the module belongs to.
func layerOf(importPath string) (folder string, rules layer, known bool) {
	for candidate, l := range layers {
		if below(importPath, module+"/"+candidate) && len(candidate) > len(folder) {
			folder, rules, known = candidate, l, true
		}
	}
	return folder, rules, known
}

// refuses returns why importer, in folder, may not import imported; "" where it may.
func (l layer) refuses(folder, importer, imported string) string {
	switch {
	case below(imported, module):
		if below(imported, unit(folder, importer)) {
			return ""
		}
		for _, allowed := range l.module {
			if below(imported, module+"/"+allowed) {
				return ""
			}
		}
		return folder + " may not know it"
	case folder != "cmd/chatting/server" && slices.ContainsFunc(wiring, func(w string) bool { return below(imported, w) }):
		return "wired in the server only"
	case folder != "adapters/metrics" && folder != "test" && below(imported, prometheus):
		return "known to the metrics only"
	case folder != "adapters/tracing" && folder != "test" && below(imported, openTelemetry):
		return "known to the traces only"
	case imported == "testing" && folder != "test":
		return "not in what users run"
	case standard(imported):
		if slices.ContainsFunc(l.notStandard, func(s string) bool { return below(imported, s) }) {
			return l.why
		}
		return ""
	case !l.libraries:
		return folder + " imports no libraries"
	case l.only != "" && !below(imported, l.only):
		return folder + " imports nothing but " + l.only
	}
	return ""
}

// refusesInTests is refuses for test files, which may use libraries and, outside the inner layers, each other's packages.
func refusesInTests(folder, imported string) string {
	inner := folder == "domain" || folder == "application"
	switch {
	case below(folder, "cmd"):
		return ""
	case below(imported, module+"/cmd"):
		return "a test of the whole runs the program"
	case slices.ContainsFunc(wiring, func(w string) bool { return below(imported, w) }):
		return "wired in cmd only"
	case folder == "application" && imported == module+"/test/porttest":
		return ""
	case inner && below(imported, module) && !below(imported, module+"/domain") && !below(imported, module+"/application"):
		return folder + " is tested without the outside"
	case folder == "domain" && below(imported, module) && !below(imported, module+"/domain"):
		return "domain is tested by itself"
	}
	return ""
}

// unit is the subtree within which packages know each other: the layer, but of adapters and examples each one by itself.
func unit(folder, importer string) string {
	whole := module + "/" + folder
	if folder != "adapters" && folder != "docs/examples" {
		return whole
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(importer, whole+"/"), "/")
	return whole + "/" + name
}

// below tells whether an import path is parent or lies below it.
func below(importPath, parent string) bool {
	return importPath == parent || strings.HasPrefix(importPath, parent+"/")
}

// standard tells whether an import path is of the standard library: only there has the first element no dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && first != "C"
}

// unknownFolders returns which top-level folders are no layer and not known otherwise. Hidden ones belong to tools, and
// what git ignores is no part of the project.
func unknownFolders(names []string, gitignore string) []string {
	var known []string
	for folder := range layers {
		known = append(known, strings.Split(folder, "/")[0])
	}
	for line := range strings.Lines(gitignore) {
		known = append(known, strings.Trim(strings.TrimSpace(line), "/"))
	}
	var unknown []string
	for _, name := range names {
		if !strings.HasPrefix(name, ".") && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

func TestRulesReportWhatIsForbidden(t *testing.T) {
	good := func(path string, imports ...string) listed {
		return listed{path: "chatting/" + path, name: "x", documented: true, imports: imports}
	}
	tested := func(path string, imports ...string) listed {
		return listed{path: "chatting/" + path, name: "x", documented: true, testImports: imports}
	}
	tests := []struct {
		name string
		p    listed
		want string // part of the only violation; "" for none
	}{
		{"domain, language only", good("domain", "time", "unicode/utf8", "encoding/hex"), ""},
		{"domain, I/O", good("domain", "net/http"), "no I/O"},
		{"domain, its logger", good("domain", "log/slog"), "no I/O"},
		{"domain, a library", good("domain", "github.com/google/uuid"), "no libraries"},
		{"domain, cgo", good("domain", "C"), "no libraries"},
		{"domain, a use case", good("domain", "chatting/application"), "may not know"},
		{"domain, migrations", good("domain", "chatting/migrations"), "may not know"},
		{"below domain", good("domain/lease", "chatting/domain", "os"), "no I/O"},
		{"a name that only begins alike", good("domains"), "no layer"},

		{"application, domain and logger", good("application", "chatting/domain", "log/slog", "context"), ""},
		{"application, a library", good("application", "golang.org/x/sync/errgroup"), "no libraries"},
		{"application, an adapter", good("application", "chatting/adapters/wire"), "may not know"},
		{"application, configs", good("application", "chatting/configs"), "may not know"},
		{"application, migrations", good("application", "chatting/migrations"), "may not know"},
		{"application, JSON", good("application", "encoding/json"), "a port"},
		{"application, a database", good("application", "database/sql"), "a port"},

		{"adapter, inner layers, wire, libraries", good("adapters/ws", "chatting/application", "chatting/domain",
			"chatting/adapters/wire", "github.com/gofiber/fiber/v2", "net"), ""},
		{"adapter, its own subpackage", good("adapters/kafka", "chatting/adapters/kafka/batch"), ""},
		{"log client, its own subpackage", good("adapters/kafka/logclient", "chatting/adapters/kafka/logclient/recordbatch", "net"), ""},
		{"below the log client, the client", good("adapters/kafka/logclient/groups", "chatting/adapters/kafka/logclient"), ""},
		{"log client, its parent", good("adapters/kafka/logclient", "chatting/adapters/kafka"), "may not know"},
		{"appending to the log, the client", good("adapters/kafka/logclient/appending", "chatting/adapters/kafka/logclient"), ""},
		{"log client, the domain", good("adapters/kafka/logclient", "chatting/domain"), "may not know"},
		{"below the log client, a use case", good("adapters/kafka/logclient/groups", "chatting/application"), "may not know"},
		{"the history in the database, its users", good("adapters/sqlstore/conversations", "chatting/adapters/sqlstore"), "may not know"},
		{"the database, what is in it", good("adapters/sqlstore/database", "chatting/application"), "may not know"},
		{"frames of RFC 6455, the socket", good("adapters/ws/rfc6455", "chatting/adapters/ws"), "may not know"},
		{"socket, frames of RFC 6455, the ledger, a library", good("adapters/ws/socket", "chatting/adapters/ws/rfc6455",
			"chatting/application/ledger", "github.com/fasthttp/websocket"), ""},
		{"socket, the chat", good("adapters/ws/socket", "chatting/adapters/ws"), "may not know"},
		{"socket, the domain", good("adapters/ws/socket", "chatting/domain"), "may not know"},
		{"socket, frames of the chat", good("adapters/ws/socket", "chatting/adapters/wire"), "may not know"},
		{"frames of clients, the connection", good("adapters/ws/frames", "chatting/adapters/ws"), "may not know"},
		{"throttle, a use case", good("adapters/ws/throttle", "chatting/application"), "may not know"},
		{"adapter's subpackage, its parent's sibling", good("adapters/kafka/batch", "chatting/adapters/ws"), "may not know"},
		{"adapter, another adapter", good("adapters/ws", "chatting/adapters/rest"), "may not know"},
		{"adapter, one whose name begins alike", good("adapters/ws", "chatting/adapters/wsx"), "may not know"},
		{"adapter, fx", good("adapters/ws", "go.uber.org/fx"), "server only"},
		{"adapter, below fx", good("adapters/ws", "go.uber.org/fx/fxevent"), "server only"},
		{"adapter, dig", good("adapters/ws", "go.uber.org/dig"), "server only"},
		{"adapter, testing", good("adapters/ws", "testing"), "not in what users run"},
		{"adapter, settings", good("adapters/ws", "chatting/configs"), "may not know"},
		{"adapter, cmd", good("adapters/ws", "chatting/cmd/chatting"), "may not know"},
		{"adapter, test support", good("adapters/ws", "chatting/test/contract"), "may not know"},
		{"adapter, Prometheus", good("adapters/ws", "github.com/prometheus/client_golang/prometheus"), "metrics only"},
		{"server, Prometheus", good("cmd/chatting/server", "github.com/prometheus/client_golang/prometheus"), "metrics only"},
		{"metrics, Prometheus", good("adapters/metrics", "github.com/prometheus/client_golang/prometheus"), ""},
		{"metrics, a use case", good("adapters/metrics", "chatting/application"), "may not know"},
		{"adapter, OpenTelemetry", good("adapters/kafka", "go.opentelemetry.io/otel/trace"), "traces only"},
		{"server, OpenTelemetry", good("cmd/chatting/server", "go.opentelemetry.io/otel/sdk/trace"), "traces only"},
		{"traces, OpenTelemetry and the port", good("adapters/tracing", "go.opentelemetry.io/otel", "chatting/application/port"), ""},
		{"traces, a use case", good("adapters/tracing", "chatting/application/messaging"), "may not know"},
		{"wire, another adapter", good("adapters/wire", "chatting/adapters/ws"), "may not know"},
		{"wire, a use case", good("adapters/wire", "chatting/application"), "may not know"},
		{"adapter, wire", good("adapters/kafka", "chatting/adapters/wire"), ""},
		{"wire, a library", good("adapters/wire", "github.com/gofiber/fiber/v2"), "nothing but"},
		{"wire, JSON", good("adapters/wire", "chatting/domain", jsonLibrary+"/jsontext"), ""},
		{"problem, a library", good("adapters/problem", jsonLibrary), "no libraries"},
		{"what the platform's servers ask for, the gate", good("adapters/rest/platform", "chatting/adapters/rest"), "may not know"},
		{"exchange, a use case", good("adapters/rest/exchange", "chatting/application"), "may not know"},
		{"origins, the domain", good("adapters/origins", "chatting/domain"), "may not know"},

		{"configs, a library", good("configs", "go.yaml.in/yaml/v3"), ""},
		{"configs, an adapter", good("configs", "chatting/adapters/sqlstore"), "may not know"},
		{"configs, fx", good("configs", "go.uber.org/fx"), "server only"},
		{"migrations, the domain", good("migrations", "chatting/domain"), "may not know"},

		{"cmd, everything that runs", good("cmd/chatting/cli", "chatting/adapters/ws", "chatting/configs", "chatting/cmd/chatting/server",
			"chatting/cmd/chatting/bench"), ""},
		{"cmd, fx", good("cmd/chatting/cli", "go.uber.org/fx"), "server only"},
		{"server, everything below it", good("cmd/chatting/server", "go.uber.org/fx", "chatting/adapters/ws", "chatting/configs",
			"chatting/cmd/chatting/installation", "chatting/cmd/chatting/logging"), ""},
		{"server, the command line", good("cmd/chatting/server", "chatting/cmd/chatting/cli"), "may not know"},
		{"installation, the server", good("cmd/chatting/installation", "chatting/cmd/chatting/server"), "may not know"},
		{"bench, what the server knows", good("cmd/chatting/bench", "chatting/configs"), "may not know"},
		{"cmd, test support", good("cmd/chatting", "chatting/test/contract"), "may not know"},
		{"test, adapters", good("test/contract", "chatting/adapters/ws", "chatting/test/load", "testing"), ""},
		{"test, cmd", good("test/contract", "chatting/cmd/chatting"), "may not know"},

		{"adapter's test, another adapter", tested("adapters/kafka", "chatting/adapters/embedded"), ""},
		{"adapter's test, fx", tested("adapters/kafka", "go.uber.org/fx/fxtest"), "cmd only"},
		{"cmd's test, fx", tested("cmd/chatting", "go.uber.org/fx/fxtest", "chatting/cmd/chatting"), ""},
		{"test of the whole, cmd", tested("test/contract", "chatting/cmd/chatting"), "runs the program"},
		{"domain's test, a library", tested("domain", "pgregory.net/rapid", "chatting/domain"), ""},
		{"domain's test, a use case", tested("domain", "chatting/application"), "by itself"},
		{"application's test, an adapter", tested("application", "chatting/adapters/wire"), "without the outside"},

		{"example, Kafka", good("docs/examples/x", "github.com/segmentio/kafka-go", "encoding/json"), ""},
		{"example, another library", good("docs/examples/x", "github.com/google/uuid"), "nothing but"},
		{"example, the module", good("docs/examples/x", "chatting/adapters/kafka"), "may not know"},
		{"example, its neighbour", good("docs/examples/x", "chatting/docs/examples/y"), "may not know"},
		{"example's test, a broker", tested("docs/examples/x", "chatting/adapters/embedded"), ""},
		{"documents, a library", good("docs", "go.yaml.in/yaml/v3"), "no libraries"},
		{"documents, the server", good("docs", "chatting/adapters/wire"), "may not know"},
		{"the server of documents, a use case", good("adapters/apidocs", "chatting/docs", "chatting/application"), "may not know"},

		{"no layer", good("internal/x"), "no layer"},
		{"the root", listed{path: "chatting", name: "main", documented: true}, "no layer"},
		{"a name of nothing", listed{path: "chatting/adapters/utils", name: "utils", documented: true}, "says nothing"},
		{"no package comment", listed{path: "chatting/adapters/ws", name: "ws"}, "no package comment"},
		{"no package comment, but only tests", listed{path: "chatting/test/faults", name: "faults", onlyTests: true}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found := test.p.violations()
			switch {
			case test.want == "" && len(found) > 0:
				t.Errorf("reported %q, want nothing", found)
			case test.want != "" && (len(found) != 1 || !strings.Contains(found[0], test.want)):
				t.Errorf("reported %q, want one violation with %q", found, test.want)
			}
		})
	}
}

func TestUnknownTopLevelFoldersAreReported(t *testing.T) {
	names := []string{".ci", ".git", "adapters", "bin", "data", "docs", "domain", "internal", "pkg", "test"}
	got := unknownFolders(names, "# comment\n/data/\n/bin/\n*.out\n")
	if want := []string{"internal", "pkg"}; !slices.Equal(got, want) {
		t.Errorf("reported %q, want %q", got, want)
	}
}
