// Package apitools holds the documents of the API against tools that take them at their word. Schemathesis makes requests from
// docs/openapi.yaml, good ones and bad ones, and checks each answer against it. Redocly and the parser of AsyncAPI check the
// documents themselves. test/apitools/install installs what this needs and prints the variable that leads here.
package apitools

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// tools returns the folder of the tools, or skips the test where they are missing.
func tools(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("CHATTING_TEST_APITOOLS")
	if folder == "" {
		t.Skip("CHATTING_TEST_APITOOLS is not set: this needs Schemathesis and Redocly (test/apitools/install)")
	}
	return folder
}

// platform is the token of the platform's servers.
const platform = "0123456789abcdef0123456789abcdef"

// startServer starts a server without bounds on how much may be asked, on which users 1 to 7 are online. It returns its address
// and the token of user 1. It is a trial server unless more is set.
func startServer(t *testing.T, more ...string) (address, token string) {
	t.Helper()
	dir := t.TempDir()
	settings := append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + dir,
		"CHATTING_LIMIT_USER_WRITES_PER_SECOND=0", "CHATTING_LIMIT_USER_CONCURRENT_REQUESTS=0", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0",
	}, more...)
	node := harness.StartNode(t, dir, settings...)
	for user := 7; user >= 1; user-- {
		command := exec.CommandContext(t.Context(), harness.Binary, "token", "--user", fmt.Sprint(user))
		command.Env, command.Stderr = harness.Environ(settings...), t.Output()
		out, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		token = strings.TrimSpace(string(out))
		client, err := harness.Connect(node.HTTP, token)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
	}
	return node.HTTP, token
}

// run runs a tool in a folder of its own. It fails the test with what the tool said if the tool fails.
func run(t *testing.T, environ []string, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = t.TempDir()
	command.Env = append(harness.Environ("PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8", "NO_COLOR=1"), environ...)
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	if err := command.Run(); err != nil {
		t.Errorf("%s: %v\n%s", filepath.Base(name), err, said.String())
	}
	return said.String()
}

// absolute returns the path of a file beside this test.
func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
