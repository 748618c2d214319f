package compose

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"chatting/configs"
	"chatting/test/harness"
)

// stages are those of the Dockerfile: what builds, and the image.
func stages(t *testing.T) (build, image instructions.Stage) {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	parsed, err := parser.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		t.Errorf("Dockerfile: %s", warning.Short)
	}
	all, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 {
		t.Fatalf("%d stages", len(all))
	}
	return all[0], all[1]
}

// commands returns the instructions of one kind.
func commands[T instructions.Command](stage instructions.Stage) []T {
	var found []T
	for _, command := range stage.Commands {
		if c, is := command.(T); is {
			found = append(found, c)
		}
	}
	return found
}

// imageEnviron is what the image sets for the server.
func imageEnviron(t *testing.T) []string {
	t.Helper()
	_, image := stages(t)
	var environ []string
	for _, env := range commands[*instructions.EnvCommand](image) {
		for _, pair := range env.Env {
			environ = append(environ, pair.Key+"="+pair.Value)
		}
	}
	return environ
}

func TestTheImageIsSmallAndRunsAsNobodyInParticular(t *testing.T) {
	_, image := stages(t)
	if image.BaseName != "scratch" {
		t.Errorf("it is built on %s", image.BaseName)
	}
	users := commands[*instructions.UserCommand](image)
	if len(users) != 1 {
		t.Fatalf("%d users", len(users))
	}
	// A number, because Kubernetes cannot tell of a name whether it is root (runAsNonRoot), and scratch has no /etc/passwd.
	uid, _, _ := strings.Cut(users[0].User, ":")
	if id, err := strconv.Atoi(uid); err != nil || id == 0 {
		t.Errorf("it runs as %s", users[0].User)
	}
	if got := commands[*instructions.EntrypointCommand](image)[0].CmdLine; !slices.Equal(got, []string{"/chatting"}) {
		t.Errorf("it runs %v", got)
	}
}

func TestTheImageServesOnThePortThatItExposes(t *testing.T) {
	_, image := stages(t)
	cfg, err := configs.Load(configs.Sources{Environ: imageEnviron(t)})
	if err != nil {
		t.Fatal(err)
	}
	ports := commands[*instructions.ExposeCommand](image)[0].Ports
	if len(ports) != 1 || ports[0] != strconv.Itoa(cfg.HTTP.Addr.Port()) || cfg.HTTP.Addr.Host() != "" {
		t.Errorf("it exposes %v and listens on %s", ports, cfg.HTTP.Addr)
	}
	volumes := commands[*instructions.VolumeCommand](image)[0].Volumes
	if !slices.Equal(volumes, []string{cfg.DataDir}) {
		t.Errorf("its volumes are %v and its data is in %s", volumes, cfg.DataDir)
	}
}

func TestHealthChecksAreCommandsOfTheServer(t *testing.T) {
	harness.TrackSources(t)
	_, image := stages(t)
	checks := [][]string{commands[*instructions.HealthCheckCommand](image)[0].Health.Test}
	for _, name := range nodes {
		checks = append(checks, project(t).Services[name].HealthCheck.Test)
	}
	for _, check := range checks {
		if len(check) < 3 || check[0] != "CMD" || check[1] != "/chatting" {
			t.Errorf("%v needs a shell or another program, and the image has none", check)
			continue
		}
		run := exec.CommandContext(t.Context(), "go", append([]string{"run", "./cmd/chatting"}, append(check[2:], "--help")...)...)
		run.Dir = root
		// Of a command that there is not, the help is that of all.
		if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "Usage:\n  chatting "+check[2]+" ") {
			t.Errorf("%v: %v: %s", check, err, out)
		}
	}
}

func TestTheBuildContextHasWhatTheServerIsBuiltFromAndNothingElse(t *testing.T) {
	build, _ := stages(t)
	context := buildContext(t)
	command := buildCommand(t, build)
	target := command[len(command)-1]
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Name,Module,Dir,GoFiles,EmbedFiles", target)
	list.Dir = context
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	out, err := list.Output()
	if err != nil {
		var said string
		if failed, is := err.(*exec.ExitError); is { //nolint:errorlint // Output returns it as it is
			said = string(failed.Stderr)
		}
		t.Fatalf("%s does not build from the context: %v: %s", target, err, said)
	}
	used := map[string]bool{"go.mod": true, "go.sum": true}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	var last struct {
		ImportPath, Name, Dir string
		Module                *struct{ Main bool }
		GoFiles, EmbedFiles   []string
	}
	for decoder.More() {
		last.Module = nil
		if err := decoder.Decode(&last); err != nil {
			t.Fatal(err)
		}
		if last.Module == nil || !last.Module.Main {
			continue
		}
		folder, err := filepath.Rel(context, last.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range append(last.GoFiles, last.EmbedFiles...) {
			used[filepath.Join(folder, name)] = true
		}
	}
	if last.Name != "main" {
		t.Errorf("%s is no program", target)
	}
	// Documents and files for other systems may lie beside the code; tests and what a run leaves behind may not.
	err = filepath.WalkDir(context, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(context, path)
		if !used[name] && (strings.HasSuffix(name, "_test.go") || !strings.Contains(name, string(filepath.Separator))) {
			t.Errorf("%s is sent to the builder for nothing", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// buildContext returns a copy of what .dockerignore leaves of the sources.
func buildContext(t *testing.T) string {
	t.Helper()
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	context, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && name != ".", entry.IsDir() && name == "test":
			return filepath.SkipDir // large, and no pattern brings them back
		case entry.IsDir():
			return nil
		}
		if skip, err := ignored.MatchesOrParentMatches(name); skip || err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(context, filepath.Dir(name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(context, name), content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return context
}

// buildCommand returns the words of the step that compiles.
func buildCommand(t *testing.T, build instructions.Stage) []string {
	t.Helper()
	for _, run := range commands[*instructions.RunCommand](build) {
		if line := strings.Join(run.CmdLine, " "); strings.Contains(line, "go build") {
			return strings.Fields(line)
		}
	}
	t.Fatal("nothing is compiled")
	return nil
}

func TestTheImageIsBuiltStaticallyWithTheGoOfTheModuleAndItsVersion(t *testing.T) {
	build, image := stages(t)
	content, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// go.mod names the oldest Go that builds the module, the image a patch release of the same.
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.\d+$`).FindSubmatch(content)
	if version == nil || !strings.HasPrefix(build.BaseName, "golang:"+string(version[1])+".") {
		t.Errorf("it is built with %s, and go.mod says %s", build.BaseName, version)
	}
	command := strings.Join(buildCommand(t, build), " ")
	for _, words := range []string{"CGO_ENABLED=0 ", "GOARCH=$TARGETARCH ", "-X main.version=$VERSION"} {
		if !strings.Contains(command, words) {
			t.Errorf("%s lacks %s", command, words)
		}
	}
	var copied []string
	for _, copying := range commands[*instructions.CopyCommand](image) {
		if copying.From != build.Name {
			t.Errorf("copied from %s", copying.From)
		}
		copied = append(copied, copying.SourcePaths...)
	}
	if out := regexp.MustCompile(`-o (\S+)`).FindStringSubmatch(command); out == nil || !slices.Contains(copied, out[1]) {
		t.Errorf("what %s makes is not among %v", command, copied)
	}
}
