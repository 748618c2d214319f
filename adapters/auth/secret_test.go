package auth

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestASecretIsMadeOnceAndKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	first, err := LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateSecret(dir)
	if err != nil || !bytes.Equal(first, again) {
		t.Fatalf("another secret the second time (%v)", err)
	}
	if len(first) != 64 {
		t.Fatalf("%d bytes, want 64 hexadecimal digits", len(first))
	}
	other, err := LoadOrCreateSecret(t.TempDir())
	if err != nil || bytes.Equal(first, other) {
		t.Fatalf("two directories have one secret (%v)", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, tokenSecret.file))
	if err != nil || string(bytes.TrimSpace(text)) != string(first) {
		t.Fatalf("the secret is not the file's text (%v)", err)
	}
	info, err := os.Stat(filepath.Join(dir, tokenSecret.file))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v (%v), want 0600", info.Mode(), err)
	}
	mustHoldTheSecretOnly(t, dir)
}

func mustHoldTheSecretOnly(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("the directory holds %v (%v), want the secret only", entries, err)
	}
}

func TestWhoeverMakesTheSecretAtTheSameTimeGetsTheSame(t *testing.T) {
	for range 50 {
		dir := t.TempDir()
		const callers = 16
		secrets, errs := make([][]byte, callers), make([]error, callers)
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				<-start
				secrets[i], errs[i] = LoadOrCreateSecret(dir)
			})
		}
		close(start)
		wg.Wait()
		for i := range callers {
			if errs[i] != nil || !bytes.Equal(secrets[i], secrets[0]) {
				t.Fatalf("caller %d got another secret (%v)", i, errs[i])
			}
		}
		mustHoldTheSecretOnly(t, dir)
	}
}

// secretDirVariable makes this test binary a process that prints the secret of a directory.
const secretDirVariable = "AUTH_TEST_SECRET_DIR"

func TestTwoProcessesEndWithTheSameSecret(t *testing.T) {
	if dir := os.Getenv(secretDirVariable); dir != "" {
		secret, err := LoadOrCreateSecret(dir)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("secret=" + string(secret) + "\n")
		return
	}
	dir := t.TempDir()
	const processes = 4
	outputs := make([]string, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			command := exec.Command(os.Args[0], "-test.run=^TestTwoProcessesEndWithTheSameSecret$")
			command.Env = append(os.Environ(), secretDirVariable+"="+dir)
			output, err := command.Output()
			if err != nil {
				t.Errorf("process %d: %v", i, err)
			}
			for line := range strings.Lines(string(output)) {
				if secret, ok := strings.CutPrefix(line, "secret="); ok {
					outputs[i] = secret
				}
			}
		})
	}
	wg.Wait()
	for i, output := range outputs {
		if output == "" || output != outputs[0] {
			t.Fatalf("process %d got another secret", i)
		}
	}
}

func TestABadSecretFileIsRefusedAndNotReplaced(t *testing.T) {
	good := strings.Repeat("s3cret-", 10)
	for name, c := range map[string]struct {
		text string
		mode fs.FileMode
		good bool
	}{
		"good":            {good, 0o600, true},
		"blanks around":   {"\n " + good + "\r\n", 0o400, true},
		"group may read":  {good, 0o660, true},
		"empty":           {"", 0o600, false},
		"too short":       {good[:31], 0o600, false},
		"zeros":           {strings.Repeat("\x00", 65), 0o600, false},
		"no text":         {good + "\xff\xfe", 0o600, false},
		"two lines":       {good + "\n" + good, 0o600, false},
		"blanks only":     {strings.Repeat(" \n", 32), 0o600, false},
		"too long":        {strings.Repeat("x", maxSecretBytes+1), 0o600, false},
		"others may read": {good, 0o604, false},
		"world-writable":  {good, 0o602, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tokenSecret.file)
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			secret, err := LoadOrCreateSecret(dir)
			if c.good {
				if err != nil || string(secret) != good {
					t.Fatalf("got %q, %v", secret, err)
				}
				if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
					t.Errorf("afterwards the file has %v, %v", info.Mode(), err)
				}
				return
			}
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "s3cret-") {
				t.Fatalf("the error names not the file, or the secret: %v", err)
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != c.text {
				t.Fatalf("the file was changed (%v)", err)
			}
		})
	}
}

func TestASecretThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateSecret(file); err == nil {
		t.Fatal("a file was taken for a directory")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, tokenSecret.file), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateSecret(dir); err == nil {
		t.Fatal("a directory was taken for the secret")
	}
}

func TestTheTokenOfOtherServersIsMadeAsTheSecretIs(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreateS2SToken(dir)
	if err != nil || len(first) != 64 {
		t.Fatalf("got %d characters, %v", len(first), err)
	}
	if again, err := LoadOrCreateS2SToken(dir); err != nil || again != first {
		t.Errorf("another token the second time (%v)", err)
	}
	path := filepath.Join(dir, "s2s-token")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	if secret, err := LoadOrCreateSecret(dir); err != nil || string(secret) == first {
		t.Errorf("the secret is the token (%v)", err)
	}
	for text, good := range map[string]bool{
		"s3cret-of-16-byte\n": true, "s3cret-too-shor": false, "s3cret with blanks in it": false,
		"s3cret-of-16-byt,cc": false, "s3cret-of-16=byte": false, "================": false, "s3cret-of-16-b+/~._==": true, "s3cret-with-\u00e4-in-it": false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		token, err := LoadOrCreateS2SToken(dir)
		if (err == nil) != good || good && token != strings.TrimSpace(text) {
			t.Errorf("%q: got %q, %v", text, token, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("the error names not the file, or the token: %v", err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateS2SToken(dir); err == nil {
		t.Error("a token that everybody may read is taken")
	}
}
