package clients

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

// in runs a command in a folder of the JavaScript client and returns what it printed.
func in(t *testing.T, dir, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
	return string(out)
}

func TestTheJavaScriptClientAgainstAScriptedServer(t *testing.T) {
	in(t, harness.JavaScriptClient(t), "node", "--test", "client/client.test.js")
}

func TestTheTypesOfTheJavaScriptClientAreWhatUsersWrite(t *testing.T) {
	dir := harness.JavaScriptClient(t)
	in(t, dir, "node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "nodenext",
		"--lib", "es2022,dom", "--types", "node", "--skipLibCheck", "client/usage.ts")
}

func TestNPMPacksTheJavaScriptClient(t *testing.T) {
	dir := harness.JavaScriptClient(t)
	var packed []struct {
		Files []struct{ Path string }
	}
	// --loglevel: warnings would come before the JSON.
	if err := json.Unmarshal([]byte(in(t, filepath.Join(dir, "client"), "npm", "pack", "--dry-run", "--json", "--loglevel=silent")), &packed); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, file := range packed[0].Files {
		files = append(files, file.Path)
	}
	if got, want := strings.Join(files, " "), "README.md client.d.ts client.js package.json"; got != want {
		t.Errorf("the package has %s, and not %s", got, want)
	}
}

func TestTheJavaScriptClientDoesWhatItsTypesSay(t *testing.T) {
	node := harness.StartNode(t, t.TempDir(), "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
		"CHATTING_JWT_SECRET="+secret, "CHATTING_S2S_TOKEN="+platform)
	if got := in(t, harness.JavaScriptClient(t), "node", "tour.mjs", node.HTTP, secret, platform); got != "ok\n" {
		t.Errorf("the tour says %s", got)
	}
}

// TestTheJavaScriptClientLosesNothingWhileTheServerIsKilled kills the server under two clients that talk, again and again, and
// once loses their packets without an end of the connections.
func TestTheJavaScriptClientLosesNothingWhileTheServerIsKilled(t *testing.T) {
	for _, mode := range []string{"reject", "store"} {
		t.Run(mode, func(t *testing.T) {
			data := t.TempDir()
			start := func() *harness.Node {
				return harness.StartNode(t, data, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
					"CHATTING_JWT_SECRET="+secret, "CHATTING_CHAT_OFFLINE="+mode)
			}
			node := start()
			door := harness.OpenDoor(t)
			door.Lead(node.HTTP)
			harness.TalkThrough(t, door, [2]string{token(t, 1), token(t, 2)}, 3, map[int]func(){
				50:  func() { node.Kill(); node = start(); door.Lead(node.HTTP) },
				120: door.Lose,
				200: func() { node.Kill(); node = start(); door.Lead(node.HTTP) },
			})
		})
	}
}

// secret signs the tokens of these tests.
const secret = "of the tests of clients, and of nothing else"
