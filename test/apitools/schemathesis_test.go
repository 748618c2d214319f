package apitools

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestSchemathesisFindsNothing lets Schemathesis ask a server in all its phases: the examples of the document, the edges of every
// schema, random requests, and sequences of requests. It makes good requests and bad ones, and holds every answer against the
// document. It asks once with good tokens, and once with none that is good.
//
// A run makes a thousand requests; with CHATTING_TEST_SCALE=full it makes twenty times as many. What is asked is the same each time.
func TestSchemathesisFindsNothing(t *testing.T) {
	python := filepath.Join(tools(t), "python", "bin", "python")
	examples := 25
	if os.Getenv("CHATTING_TEST_SCALE") == "full" {
		examples = 500
	}
	config, whole := absolute(t, "schemathesis.toml"), absolute(t, "../../docs/openapi.yaml")
	ask := func(t *testing.T, document, address string, examples int, users, servers string, filter ...string) {
		t.Helper()
		environ := []string{
			"CHATTING_HOOKS=hooks", "PYTHONPATH=" + absolute(t, "."), "CHATTING_USER_TOKEN=" + users, "CHATTING_PLATFORM_TOKEN=" + servers,
		}
		said := run(t, environ, python, append([]string{
			"-m", "schemathesis.cli", "--config-file", config, "run", document, "--url", "http://" + address,
			"--max-examples", strconv.Itoa(examples), "--generation-database", "none",
		}, filter...)...)
		if !t.Failed() {
			t.Log(said)
		}
	}
	t.Run("on a trial server", func(t *testing.T) {
		address, _ := startServer(t)
		ask(t, whole, address, examples, "x", "y", "--include-path", "/trial/users/")
	})
	const others = "--exclude-path=/trial/users/" // which only a trial server knows
	address, token := startServer(t, "CHATTING_S2S_TOKEN="+platform)
	t.Run("with bad tokens", func(t *testing.T) { ask(t, whole, address, examples/5, "x", "y", others) }) // all are refused alike
	t.Run("with tokens", func(t *testing.T) {
		ask(t, whole, address, examples, token, platform, others, "--exclude-operation-id", "eraseUser")
	})
	for _, variant := range variants(t) { // of the answers to good requests
		t.Run(filepath.Base(variant), func(t *testing.T) { ask(t, variant, address, examples/5, token, platform, "--mode", "positive") })
	}
	// Last, because it takes the users away.
	t.Run("erasing", func(t *testing.T) {
		ask(t, whole, address, examples, token, platform, "--include-operation-id", "eraseUser")
	})
}
