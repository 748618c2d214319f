package main

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/cmd/chatting/cli"
)

func TestVersionIsPrinted(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		var out, stderr strings.Builder
		code := cli.Run(t.Context(), args, cli.Process{In: strings.NewReader(""), Out: &out, Err: &stderr, Version: buildVersion()})
		if code != 0 || out.String() != "chatting "+buildVersion()+"\n" {
			t.Errorf("%v: code %d, out %q, err %q", args, code, out.String(), stderr.String())
		}
	}
	version = "v1.2.3"
	defer func() { version = "" }()
	if !strings.HasPrefix(buildVersion(), "v1.2.3 (") {
		t.Error(buildVersion())
	}
}

func TestTheProgramExitsWithTheCodeOfItsCommand(t *testing.T) {
	program := filepath.Join(t.TempDir(), "chatting")
	if output, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%s", output)
	}
	for _, row := range []struct {
		args    []string
		environ string
		code    int
		out     string
		err     string
	}{
		{args: []string{"version"}, out: "chatting "},
		{args: []string{"token", "--user", "7"}, environ: "CHATTING_JWT_SECRET=0123456789abcdef0123456789abcdef", out: "eyJ"},
		{args: []string{"token", "--user", "7"}, code: 1, err: "chatting: no server has made its token secret in /"},
		{args: []string{"config"}, out: "# The effective configuration."},
		{args: []string{"nonsense"}, code: 3, err: "chatting: unknown command"},
		{args: nil, environ: "CHATTING_JWT_SECRET=short", code: 3, err: "chatting: jwt.secret (environment CHATTING_JWT_SECRET): has 5 bytes"},
		{args: []string{"serve", "--topic-prefix", "a b"}, code: 3, err: "chatting: topic_prefix (flag --topic-prefix)"},
		{args: []string{"connect", "--user", "1", "--url", "ws://127.0.0.1:1/"}, code: 4,
			err: "chatting: no server answers at 127.0.0.1:1 (connection refused): is it running? chatting serve starts one\n"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cmd := exec.CommandContext(ctx, program, row.args...)
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"HOME=" + cmd.Dir}
		if row.environ != "" {
			cmd.Env = append(cmd.Env, row.environ)
		}
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		_ = cmd.Run()
		cancel()
		if cmd.ProcessState.ExitCode() != row.code || !strings.HasPrefix(out.String(), row.out) || !strings.HasPrefix(stderr.String(), row.err) ||
			strings.Count(stderr.String(), "\n") != min(row.code, 1) {
			t.Errorf("%v: code %d, out %q, err %q", row.args, cmd.ProcessState.ExitCode(), out.String(), stderr.String())
		}
	}
}
