package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatting/adapters/auth"
	"chatting/adapters/embedded"
)

func TestAFailedStartNamesTheOptionThatCausedIt(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	inUse := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	locked := t.TempDir()
	lock, err := embedded.LockDir(locked)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	noKey := t.TempDir()
	if err := os.WriteFile(filepath.Join(noKey, "jwt-secret"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	away := "CHATTING_DATABASE_URL=postgres://chatting:marker@127.0.0.1:1/x"

	for name, c := range map[string]struct{ setting, option, why string }{
		"the port in use":                 {"CHATTING_HTTP_ADDR=" + inUse, "http.addr", inUse + " is in use by another process"},
		"no address of this machine":      {"CHATTING_HTTP_ADDR=192.0.2.1:1", "http.addr", "cannot listen on 192.0.2.1:1: cannot assign"},
		"no host":                         {"CHATTING_HTTP_ADDR=nowhere.invalid:1", "http.addr", "nowhere.invalid"},
		"the broker's port in use":        {"CHATTING_EMBEDDED_KAFKA_ADDR=" + inUse, "embedded_kafka.addr", inUse + " is in use by another process"},
		"no address for the broker":       {"CHATTING_EMBEDDED_KAFKA_ADDR=192.0.2.1:1", "embedded_kafka.addr", "192.0.2.1:1: cannot assign"},
		"a data directory that is a file": {"CHATTING_DATA_DIR=" + file, "data_dir", file + " is not a directory"},
		"a data directory in use":         {"CHATTING_DATA_DIR=" + locked, "data_dir", locked + " is in use by another chatting"},
		"a secret that is none":           {"CHATTING_DATA_DIR=" + noKey, "data_dir", "5 bytes"},
		"no folder for the database":      {"CHATTING_DATABASE_URL=sqlite:" + file + "/x.db", "database.url", "x.db cannot be used: not a directory"},
		"a database that is away":         {away, "database.url", "connection refused"},
		"no file with the public key":     {"CHATTING_JWT_PUBLIC_KEY_FILE=" + file + ".pem", "jwt.public_key_file", "no such file"},
		"a public key that is none":       {"CHATTING_JWT_PUBLIC_KEY_FILE=" + file, "jwt.public_key_file", "it is no PEM file"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			code := run(t.Context(), []string{"serve"}, surroundings{
				in: strings.NewReader(""), out: io.Discard, err: &stderr, environ: []string{
					"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
					c.setting,
				},
			})
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			last := lines[len(lines)-1]
			if code != 1 || !strings.HasPrefix(last, "chatting: "+c.option+" (CHATTING_") || !strings.Contains(last, c.why) {
				t.Errorf("code %d: %s", code, last)
			}
			if strings.Contains(stderr.String(), "marker") {
				t.Error("the password was shown")
			}
		})
	}
}

func TestAnErrorNamesItsOptionOnce(t *testing.T) {
	for want, err := range map[string]error{
		"data_dir (CHATTING_DATA_DIR): it is full":          causedBy("data_dir", errors.New("it is full")),
		"data_dir is full":                                  causedBy("data_dir", errors.New("data_dir is full")),
		"jwt.secret (CHATTING_JWT_SECRET): ":                keyError(&auth.OptionError{Option: auth.OptionSecret, Err: errors.New("x")}),
		"jwks.url (CHATTING_JWKS_URL): ":                    keyError(&auth.OptionError{Option: auth.OptionJWKSURL, Err: errors.New("x")}),
		"jwt.public_key_file (CHATTING_JWT_PUBLIC_KEY_FILE": keyError(&auth.OptionError{Option: auth.OptionPublicKeyFile, Err: errors.New("x")}),
		"it has no option":                                  keyError(errors.New("it has no option")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if err := causedBy("data_dir", nil); err != nil {
		t.Error(err)
	}
}
