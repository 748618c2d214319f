package clients

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chatting/adapters/auth"
	"chatting/domain"
	"chatting/test/harness"
)

const examples = "../../docs/examples"

func TestTheExampleInNodeTalks(t *testing.T) {
	dir := harness.JavaScriptClient(t)
	copyExample(t, dir, "node")
	talkInTerminal(t, dir, "node", "chat.mjs")
}

func TestTheExampleInPythonTalks(t *testing.T) {
	tools := os.Getenv("CHATTING_TEST_CLIENTS")
	if tools == "" {
		t.Skip("CHATTING_TEST_CLIENTS is not set: this needs Python packages (test/clients/install)")
	}
	dir := t.TempDir()
	copyExample(t, dir, "python")
	talkInTerminal(t, dir, filepath.Join(tools, "python", "bin", "python"), "chat.py")
}

// The SDK of .NET is in no package of Debian's, so CI may be without it.
func TestTheExampleInCSharpTalks(t *testing.T) {
	if _, err := exec.LookPath("dotnet"); err != nil {
		t.Skip("dotnet is not installed")
	}
	dir := t.TempDir()
	copyExample(t, dir, "csharp")
	t.Setenv("DOTNET_CLI_TELEMETRY_OPTOUT", "1")
	in(t, dir, "dotnet", "build", "--nologo", "-c", "Release", "-o", "built")
	talkInTerminal(t, dir, "dotnet", "built/chat.dll")
}

func copyExample(t *testing.T, dir, language string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(examples, language))); err != nil {
		t.Fatal(err)
	}
}

// token returns one that secret signs.
func token(t *testing.T, user domain.UserID) string {
	t.Helper()
	minted, err := auth.MintHS256([]byte(secret), user, time.Hour, time.Now(), auth.Required{})
	if err != nil {
		t.Fatal(err)
	}
	return minted
}

// talkInTerminal runs a program that chats in a terminal, as user 1 with user 2. It is told where the server is, a token and the
// other user. The server is killed while it runs, and the program has to miss nothing.
func talkInTerminal(t *testing.T, dir, name string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	data := t.TempDir()
	start := func() (*harness.Node, *partner) {
		node := harness.StartNode(t, data, "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
			"CHATTING_JWT_SECRET="+secret, "CHATTING_CHAT_OFFLINE=store")
		client, err := harness.Connect(node.HTTP, token(t, 2))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return node, &partner{t: t, Client: client}
	}
	node, two := start()
	door := harness.OpenDoor(t)
	door.Lead(node.HTTP)
	program := harness.StartScript(ctx, t, dir, name, append(arguments, "http://"+door.Addr, token(t, 1), "2")...)
	prints := func(want string) {
		t.Helper()
		if got := program.Line(); got != want {
			t.Fatalf("the program prints %.100q, and not %.100q", got, want)
		}
	}
	program.Tell("hello")
	prints("sent: hello")
	two.gets(ctx, "hello")
	two.says(ctx, "안녕 <b>")
	prints("2: 안녕 <b>")

	// A control character takes six bytes of a frame, in every language.
	long := strings.Repeat("\x01", 12_000)
	program.Tell(long)
	prints("not sent: " + long + ": too_long")

	door.Lead()
	node.Kill()
	program.Tell("are you there?")
	node, two = start()
	two.says(ctx, "while you were away")
	door.Lead(node.HTTP)
	prints("2: while you were away")
	prints("sent: are you there?")
	two.gets(ctx, "are you there?")
	program.Tell("bye")
	prints("sent: bye")
	program.Ends()
}

// partner is user 2, to whom the examples talk.
type partner struct {
	*harness.Client

	t *testing.T
}

// gets waits for a message of user 1.
func (p *partner) gets(ctx context.Context, text string) {
	p.t.Helper()
	if _, err := p.Find(ctx, 0, func(f harness.Frame) bool { return f.From == 1 && f.Message == text }); err != nil {
		p.t.Fatalf("user 2 waits for %q: %v", text, err)
	}
}

// says sends a message to user 1 and waits for the echo.
func (p *partner) says(ctx context.Context, text string) {
	p.t.Helper()
	if err := p.Send(1, text); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.Find(ctx, 0, func(f harness.Frame) bool { return f.From == 2 && f.Message == text }); err != nil {
		p.t.Fatalf("user 2 waits for the echo of %q: %v", text, err)
	}
}
