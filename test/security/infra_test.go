// Package security runs the built binary against a Kafka of its own that asks for TLS, SASL and ACLs, as docs/operations.md
// tells operators to set one up.
package security

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

// secured is what the tests run against.
var secured struct {
	dir   string // the folder of the certificates
	plain string // host:port of the listener where everybody may everything
	ssl   string // host:port
	sasl  string // host:port
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("CHATTING_TEST_KAFKA") == "" {
		return m.Run() // every test skips itself
	}
	dir, err := os.MkdirTemp("", "chatting-security-")
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(dir)
	state := filepath.Join(dir, "infra")
	infra := func(program string, args ...string) (string, error) {
		command := exec.Command(filepath.Join("..", "infra", program), args...)
		command.Env = append(os.Environ(), "CHATTING_TEST_INFRA_DIR="+state)
		return output(command)
	}
	defer func() {
		if _, err := infra("down"); err != nil {
			complain(err)
		}
	}()
	variables, err := infra("up", "--brokers", "1", "--security")
	if err != nil {
		return complain(err)
	}
	secured.dir = filepath.Join(state, "security")
	for line := range strings.Lines(variables) {
		name, value, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "export ")), "=")
		switch name {
		case "CHATTING_TEST_KAFKA":
			secured.plain = value
		case "CHATTING_TEST_KAFKA_SSL":
			secured.ssl = value
		case "CHATTING_TEST_KAFKA_SASL_SSL":
			secured.sasl = value
		}
	}
	return harness.Main(m)
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// output runs a command and returns what it printed. Its complaints are in the error.
func output(command *exec.Cmd) (string, error) {
	var out, complaints bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaints
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%v: %w: %s", command.Args, err, complaints.String())
	}
	return out.String(), nil
}

// needsKafka skips a test where no real Kafka is wanted.
func needsKafka(t *testing.T) {
	t.Helper()
	if secured.plain == "" {
		t.Skip("CHATTING_TEST_KAFKA names no real Kafka, so none of its own is started with TLS and SASL either")
	}
}
