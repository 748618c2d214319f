package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatting/adapters/ownerfiles"
)

// MinSecretBytes is the least length of a symmetric key: that of the hash of HS256 (RFC 7518 §3.2).
const MinSecretBytes = 32

const maxSecretBytes = 4 << 10

// secretKind is a secret that the server makes for itself in a file.
type secretKind struct {
	file  string
	name  string // in errors
	check func([]byte) error
}

var (
	tokenSecret = secretKind{"jwt-secret", "the token secret", checkSecret}
	s2sToken    = secretKind{S2STokenFile, "the token of the platform's servers", checkBearer}
)

// S2STokenFile is the name of the file in the data directory that LoadOrCreateS2SToken keeps its token in.
const S2STokenFile = "s2s-token"

func checkSecret(secret []byte) error {
	if len(secret) < MinSecretBytes {
		return fmt.Errorf("the token secret has %d bytes: at least %d are needed", len(secret), MinSecretBytes)
	}
	return nil
}

// minBearerBytes is the least length of the token of the platform's servers, as where it is configured.
const minBearerBytes = 16

func checkBearer(token []byte) error {
	if len(token) < minBearerBytes {
		return fmt.Errorf("the token of the platform's servers has %d bytes: at least %d are needed", len(token), minBearerBytes)
	}
	if !bearerToken.Match(token) {
		return errors.New("the token of the platform's servers is no bearer token: " +
			"it may have letters, digits and -._~+/ only, no blanks, and = only at the end")
	}
	return nil
}

// bearerToken is b64token of RFC 6750 §2.1.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// LoadSecret returns the token secret as LoadOrCreateSecret does, but makes none: fs.ErrNotExist if there is none.
func LoadSecret(dir string) ([]byte, error) {
	return tokenSecret.read(filepath.Join(dir, tokenSecret.file))
}

// LoadOrCreateSecret returns the token secret kept in the file jwt-secret of the data directory, and makes both if they are
// missing. Callers at the same time, in this process or another, get the same secret: the file appears under its name
// complete and on disk, or not at all, and never changes.
//
// The secret is the file's text without the white space around it, as it stands (64 hexadecimal digits if it was made
// here), so that the text can also be configured as the secret of another node. A file that everybody may read or write
// is refused, because it may be known. Permissions of a group are taken away, or accepted if that is not possible: Kubernetes
// adds them to the files of a volume that has an fsGroup. Permissions are not looked at on Windows. Errors hold no part of the secret.
func LoadOrCreateSecret(dir string) ([]byte, error) { return tokenSecret.loadOrCreate(dir) }

// LoadOrCreateS2SToken returns the bearer token of the platform's other servers, kept in the file s2s-token of the data
// directory, as LoadOrCreateSecret does.
func LoadOrCreateS2SToken(dir string) (string, error) {
	token, err := s2sToken.loadOrCreate(dir)
	return string(token), err
}

// LoadS2SToken returns that token, but makes none: fs.ErrNotExist if there is none.
func LoadS2SToken(dir string) (string, error) {
	token, err := s2sToken.read(filepath.Join(dir, s2sToken.file))
	return string(token), err
}

func (k secretKind) loadOrCreate(dir string) ([]byte, error) {
	path := filepath.Join(dir, k.file)
	secret, err := k.read(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := k.create(dir, path); err != nil {
		return nil, fmt.Errorf("making %s: %w", k.name, err)
	}
	return k.read(path)
}

func (k secretKind) read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %s is not a regular file", k.name, path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: everybody on this machine may use %s (mode %04o): "+
			"delete it to get a new one, or chmod 600 it if nobody did", k.name, path, info.Mode().Perm())
	}
	if err := ownerfiles.Narrow(path); err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	if len(text) > maxSecretBytes {
		return nil, fmt.Errorf("%s: %s is larger than %d bytes", k.name, path, maxSecretBytes)
	}
	secret := []byte(strings.TrimSpace(string(text)))
	if !utf8.Valid(secret) || bytes.ContainsFunc(secret, unicode.IsControl) {
		return nil, fmt.Errorf("%s: %s is damaged: it holds more than one line of text", k.name, path)
	}
	if err := k.check(secret); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

// create makes the file unless it exists by the time it is complete: a hard link, unlike a rename, does not
// replace what another process made meanwhile.
func (k secretKind) create(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, "."+k.file+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	if err := draft.Chmod(0o600); err != nil { // whatever the umask is
		return errors.Join(err, draft.Close())
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails: it would end the process
	_, err = draft.WriteString(hex.EncodeToString(random) + "\n")
	err = errors.Join(err, draft.Sync(), draft.Close())
	if err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return ownerfiles.SyncFolder(dir)
}
