package web

import (
	"os/exec"
	"strings"
	"testing"

	"chatting/test/harness"
)

// token returns a token of a user that a server with these settings accepts.
func token(t *testing.T, settings []string, user string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), harness.Binary, "token", "--user", user)
	command.Env, command.Stderr = harness.Environ(settings...), t.Output()
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
