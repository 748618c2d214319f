// Package clients generates clients from the documents of the API, compiles them, and has one conversation with each: docs that
// only people can read are worth half. Each is made by the generator that its users take:
//
//	Java        openapi-generator
//	Python      openapi-python-client
//	TypeScript  openapi-typescript with openapi-fetch; the socket's frames and the events by Modelina, from asyncapi.yaml
//
// They say and print the same, line by line, so that one list below is what all have to learn. test/clients/install installs
// what this needs and prints the variable that leads here.
package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// learned is what every client prints. User 1 has said to user 2: text, then an invite and its cancel, newest first here.
const (
	text    = `<b>hello</b> & "안녕" 😀`
	learned = `blocked: [2] true
unblocked: [] false
friends: [2]
no friends: []
online: true
refused: 404
sent: system_message 1 round 2 room 7 2
unread: 0
next: true
message: invite_game 1 2 cancel true
message: invite_game 1 2 invite true
message: chat_message 1 2 ` + text + `
conversation: 2 invite_game 1 2 cancel true
status: ok
`
	// overSocket is what the TypeScript client prints beyond that.
	overSocket = `logged in: 1 0
echo: chat_message 2 hi 😀 m1
invite: invite cancel true
error: no_user_or_offline 99
`
)

// platform is the token of the platform's servers.
const platform = "0123456789abcdef0123456789abcdef"

// generator is a folder with the client of a language being made in it.
type generator struct {
	t     *testing.T
	tools string // what test/clients/install has installed
	docs  string // the folder of the documents
	dir   string // where it is made
}

// start returns a generator, or skips the test where the tools are missing.
func start(t *testing.T, language string) *generator {
	t.Helper()
	tools := os.Getenv("CHATTING_TEST_CLIENTS")
	if tools == "" {
		t.Skip("CHATTING_TEST_CLIENTS is not set: this needs generators and compilers (test/clients/install)")
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{t, tools, docs, t.TempDir()}
	if err := os.CopyFS(g.dir, os.DirFS(language)); err != nil {
		t.Fatal(err)
	}
	return g
}

// run runs a command in the client's folder and returns what it printed.
func (g *generator) run(name string, arguments ...string) string {
	g.t.Helper()
	command := exec.CommandContext(g.t.Context(), name, arguments...)
	command.Dir = g.dir
	command.Env = append(os.Environ(), "PYTHONIOENCODING=utf-8", "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8")
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		g.t.Fatalf("%s: %v\n%s%s", filepath.Base(name), err, out, said.String())
	}
	return string(out)
}

// files returns those below a folder of the client that match a pattern.
func (g *generator) files(folder, pattern string) []string {
	g.t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(g.dir, folder), func(path string, entry os.DirEntry, err error) error {
		if matches, _ := filepath.Match(pattern, filepath.Base(path)); err == nil && matches && !entry.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return found
}

func TestAJavaClientIsGeneratedAndTalks(t *testing.T) {
	g := start(t, "java")
	jars, err := filepath.Glob(filepath.Join(g.tools, "java", "*.jar"))
	if err != nil {
		t.Fatal(err)
	}
	var tool string
	path := []string{"built"}
	for _, jar := range jars {
		if strings.HasPrefix(filepath.Base(jar), "openapi-generator-cli-") {
			tool = jar // which has libraries of its own inside, of other versions
		} else {
			path = append(path, jar)
		}
	}
	classes := strings.Join(path, string(filepath.ListSeparator))
	g.run("java", "-XX:TieredStopAtLevel=1", "-jar", tool, "generate", "-g", "java", "--library", "native", "-i", filepath.Join(g.docs, "openapi.yaml"),
		"-o", "client", "--global-property", "apis,models,supportingFiles,modelTests=false,apiTests=false,modelDocs=false,apiDocs=false")
	g.run("javac", append([]string{"-nowarn", "-encoding", "UTF-8", "-proc:none", "-d", "built", "-cp", classes, "Conversation.java"}, g.files("client/src/main", "*.java")...)...)
	g.talk(learned, "java", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", classes, "Conversation")
}

func TestAPythonClientIsGeneratedAndTalks(t *testing.T) {
	g := start(t, "python")
	python := filepath.Join(g.tools, "python", "bin", "python")
	g.run(python, "-m", "openapi_python_client", "generate", "--path", filepath.Join(g.docs, "openapi.yaml"), "--meta", "none", "--output-path", "api")
	g.talk(learned, python, "conversation.py")
}

func TestATypeScriptClientIsGeneratedAndTalks(t *testing.T) {
	g := start(t, "typescript")
	modules := filepath.Join(g.tools, "node_modules")
	if err := os.Symlink(modules, filepath.Join(g.dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	g.run("node", filepath.Join(modules, "openapi-typescript", "bin", "cli.js"), filepath.Join(g.docs, "openapi.yaml"), "-o", "rest.d.ts")
	g.run("node", "generate.mjs", filepath.Join(g.docs, "asyncapi.yaml"))
	if generated, err := os.ReadFile(filepath.Join(g.dir, "frames.ts")); err != nil || strings.Contains(string(generated), "Anonymous") {
		t.Errorf("a type has no name, or there are none (%v)", err)
	}
	g.run("node", filepath.Join(modules, "typescript", "bin", "tsc"))
	g.talk(learned+overSocket, "node", filepath.Join("built", "conversation.js"))
}

// talk starts a server on which user 1 has said something to user 2, both being online, and runs the client as user 1.
func (g *generator) talk(want, name string, arguments ...string) {
	g.t.Helper()
	dir := g.t.TempDir()
	settings := []string{"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + dir, "CHATTING_S2S_TOKEN=" + platform}
	node := harness.StartNode(g.t, dir, settings...)
	token := func(user int) string {
		g.t.Helper()
		command := exec.CommandContext(g.t.Context(), harness.Binary, "token", "--user", fmt.Sprint(user))
		command.Env, command.Stderr = harness.Environ(settings...), g.t.Output()
		out, err := command.Output()
		if err != nil {
			g.t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	one := token(1)
	var ann *harness.Client
	for _, bearer := range []string{token(2), one} {
		client, err := harness.Connect(node.HTTP, bearer)
		if err != nil {
			g.t.Fatal(err)
		}
		g.t.Cleanup(client.Close)
		ann = client
	}
	said, err := json.Marshal(map[string]any{"target_id": 2, "message": text})
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), harness.FrameWait)
	defer cancel()
	var last harness.Frame
	for i, frame := range []string{string(said), `{"target_id":2,"type":"invite_game","status":"invite"}`, `{"target_id":2,"type":"invite_game","status":"cancel"}`} {
		if err := ann.SendRaw(frame); err != nil {
			g.t.Fatal(err)
		}
		if last, err = ann.At(ctx, i+1); err != nil {
			g.t.Fatal(err)
		}
	}
	if got := g.run(name, append(arguments, "http://"+node.HTTP, one, platform, last.ID)...); got != want {
		g.t.Errorf("the client has learned\n%s\nand not\n%s", got, want)
	}
}
