package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/auth"
	"chatting/cmd/chatting/installation"
	"chatting/cmd/chatting/server"
	"chatting/configs"
	"chatting/domain"
)

func newTokenCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token --user ID",
		Short: "Print a token (JWT) for a user",
		Long: `Print a token that a server with the same configuration accepts. If no key is configured, the secret in the
data directory signs it. The server makes that secret at its first start.`,
		Example: `  chatting token --user 7
  chatting token --user 7 --ttl 24h
  curl -H "Authorization: Bearer $(chatting token --user 7)" http://127.0.0.1:8000/api/chatting/friends/`,
	}
	user := userFlag(cmd)
	ttl := cmd.Flags().Duration("ttl", time.Hour, "how long the token is good")
	asJSON := jsonFlag(cmd, "print an object with token and user_id")
	withConfig(cmd, s, []string{"data_dir"}, func(_ context.Context, cfg configs.Config) error {
		token, err := mint(cfg, *user, *ttl)
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(s.Out, map[string]string{"token": token, "user_id": *user})
		}
		_, err = fmt.Fprintln(s.Out, token)
		return err
	})
	return cmd
}

// userFlag adds the flag that names a user.
func userFlag(cmd *cobra.Command) *string {
	return &addText(cmd, "user", "id", "", "the user, a positive integer").value
}

// mint returns a token that a server with this configuration accepts. It takes no lock, so that it works beside a
// server.
func mint(cfg configs.Config, user string, ttl time.Duration) (string, error) {
	if user == "" {
		return "", usage(errNoUser)
	}
	id, err := domain.ParseUserID(user)
	if err != nil {
		return "", usage(fmt.Errorf("--user %q: %w", user, err))
	}
	if ttl < time.Second {
		return "", usage(fmt.Errorf("--ttl %s: a token must be good for a second at least", ttl))
	}
	mint, err := newMint(cfg)
	if err != nil {
		return "", err
	}
	return mint(id, ttl)
}

// newMint returns what makes tokens that a server with this configuration accepts.
func newMint(cfg configs.Config) (func(user domain.UserID, ttl time.Duration) (string, error), error) {
	var secret []byte
	switch {
	case cfg.JWT.Secret.IsSet():
		secret = []byte(cfg.JWT.Secret.Reveal())
	case cfg.GeneratesSecret():
		var err error
		if secret, err = madeSecret(cfg.DataDir); err != nil {
			return nil, err
		}
	case cfg.DropIn():
		return nil, errors.New("cannot make a token: user_management.url is set, so that service issues them")
	default:
		return nil, errors.New("cannot make a token: only a public key is configured (jwt.public_key_file or jwks.url), " +
			"and whoever has the private key issues them")
	}
	return func(user domain.UserID, ttl time.Duration) (string, error) {
		return auth.MintHS256(secret, user, ttl, time.Now(), server.RequiredOfTokens(cfg))
	}, nil
}

// secretOf names the secret that mint uses.
func secretOf(cfg configs.Config) string {
	if cfg.JWT.Secret.IsSet() {
		return "jwt.secret of this configuration"
	}
	return "the secret in the data directory " + installation.Absolute(cfg.DataDir)
}

// madeSecret returns the secret that a server made in its data directory. It makes none: no server would know it.
func madeSecret(dir string) ([]byte, error) {
	secret, err := auth.LoadSecret(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server has made its token secret in %s: name the server's data directory with --data-dir or "+
			"CHATTING_DATA_DIR, or its secret with CHATTING_JWT_SECRET_FILE; a server makes one when it starts", installation.Absolute(dir))
	}
	return secret, err
}

// errNoUser says that a command was not told whose token it shall make.
var errNoUser = errors.New("whose token? say --user ID, such as --user 7")
