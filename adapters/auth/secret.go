package auth

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// MinSecretBytes is the least length of a symmetric key: that of the hash of HS256 (RFC 7518 §3.2).
const MinSecretBytes = 32

const (
	secretFile     = "jwt-secret"
	maxSecretBytes = 4 << 10
)

func checkSecret(secret []byte) error {
	if len(secret) < MinSecretBytes {
		return fmt.Errorf("the token secret has %d bytes: at least %d are needed", len(secret), MinSecretBytes)
	}
	return nil
}

// LoadOrCreateSecret returns the token secret kept in the file jwt-secret of the data directory, and makes both where
// they are missing. Whoever calls it at the same time, in this process or another, gets the same secret: the file
// appears under its name complete and on disk, or not at all, and never changes.
//
// The secret is the file's text without the white space around it, as it stands (64 hexadecimal digits where it was made
// here), so that the text can also be configured as the secret of another node. A file that everybody may read or write
// is refused. Group permissions are accepted: Kubernetes adds them to the files of a volume that has an fsGroup.
// Permissions are not looked at on Windows. Errors hold no part of the secret.
func LoadOrCreateSecret(dir string) ([]byte, error) {
	path := filepath.Join(dir, secretFile)
	secret, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := createSecret(dir, path); err != nil {
		return nil, fmt.Errorf("making the token secret: %w", err)
	}
	return readSecret(path)
}

func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the token secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the token secret: %s is not a regular file", path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("the token secret: everybody on this machine may use %s (mode %04o): "+
			"delete it to get a new one, or chmod 600 it if nobody did", path, info.Mode().Perm())
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the token secret: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the token secret: %w", err)
	}
	if len(text) > maxSecretBytes {
		return nil, fmt.Errorf("the token secret: %s is larger than %d bytes", path, maxSecretBytes)
	}
	secret := []byte(strings.TrimSpace(string(text)))
	if err := checkSecret(secret); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return secret, nil
}

// createSecret makes the file unless it exists by the time it is complete: a hard link, unlike a rename, does not
// replace what another process made meanwhile.
func createSecret(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, "."+secretFile+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
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
	return syncDirectory(dir)
}

// syncDirectory makes the new name survive a power failure. Windows cannot, and does not need to.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	handle, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(handle.Sync(), handle.Close())
}
