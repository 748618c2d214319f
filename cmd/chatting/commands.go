package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/auth"
	sqlstore "chatting/adapters/sql"
	"chatting/configs"
	"chatting/domain"
)

// asServe makes a command serve: the root and serve itself.
func asServe(cmd *cobra.Command, s surroundings) {
	load := configFlags(cmd, s, everyFlag)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		outliveReaders()
		return serve(cmd.Context(), cfg, buildVersion(), s.err)
	}
}

func newServeCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server (what chatting alone does, too)",
		Long: `Run the server until SIGINT, SIGTERM or SIGHUP; then close the sockets, write presence and leave.
Flags are for what differs from start to start: every option has a CHATTING_* variable, see chatting config.`,
		Example: `  chatting serve
  chatting serve --http-addr :8000 --data-dir /var/lib/chatting
  CHATTING_KAFKA_BROKERS=k1:9092,k2:9092 CHATTING_DATABASE_URL_FILE=/run/secrets/database chatting serve`,
	}
	asServe(cmd, s)
	return cmd
}

func newTokenCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token --user ID",
		Short: "Print a token (JWT) for a user",
		Long: `Print a token that a server with the same configuration accepts. With no key configured it is signed with
the secret in the data directory, which the server made at its first start.`,
		Example: `  chatting token --user 7
  chatting token --user 7 --ttl 24h
  curl -H "Authorization: Bearer $(chatting token --user 7)" http://127.0.0.1:8000/api/chatting/friends/`,
	}
	load := configFlags(cmd, s, "data_dir")
	user := userFlag(cmd)
	ttl := cmd.Flags().Duration("ttl", time.Hour, "for how long it is good")
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		token, err := mint(cfg, *user, *ttl)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(s.out, token)
		return err
	}
	return cmd
}

// userFlag adds the flag that names a user.
func userFlag(cmd *cobra.Command) *string {
	user := &textFlag{unit: "id"}
	cmd.Flags().Var(user, "user", "the user, a positive integer")
	return &user.value
}

// mint returns a token that a server with this configuration accepts. It takes no lock, so that it works beside a
// server.
func mint(cfg configs.Config, user string, ttl time.Duration) (string, error) {
	if user == "" {
		return "", errNoUser
	}
	id, err := domain.ParseUserID(user)
	if err != nil {
		return "", fmt.Errorf("--user %q: %w", user, err)
	}
	if ttl < time.Second {
		return "", fmt.Errorf("--ttl %s: a token must be good for a second at least", ttl)
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
		return auth.MintHS256(secret, user, ttl, time.Now(), requiredOfTokens(cfg))
	}, nil
}

// secretOf names the secret that mint uses.
func secretOf(cfg configs.Config) string {
	if cfg.JWT.Secret.IsSet() {
		return "jwt.secret of this configuration"
	}
	return "the secret in the data directory " + absolute(cfg.DataDir)
}

// madeSecret returns the secret that a server made in its data directory. It makes none: no server would know it.
func madeSecret(dir string) ([]byte, error) {
	secret, err := auth.LoadSecret(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server has made its token secret in %s: name the server's data directory with --data-dir or "+
			"CHATTING_DATA_DIR, or its secret with CHATTING_JWT_SECRET_FILE; a server makes one when it starts", absolute(dir))
	}
	return secret, err
}

// absolute returns a directory as it is found from anywhere.
func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

// mustHaveDataDir fails if there is no data directory where this command looks for the one of a server.
func mustHaveDataDir(cfg configs.Config) error {
	if _, err := os.Stat(cfg.DataDir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no data directory %s: name the server's with --data-dir or CHATTING_DATA_DIR", absolute(cfg.DataDir))
	}
	return nil
}

// mustHaveDatabase fails if the database is a file, and there is none.
func mustHaveDatabase(cfg configs.Config) error {
	file, isFile := strings.CutPrefix(cfg.Database.URL.Reveal(), "sqlite:")
	if !isFile {
		return nil
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no database at %s: name the server's data directory with --data-dir or CHATTING_DATA_DIR, "+
			"or its database with CHATTING_DATABASE_URL", absolute(file))
	}
	return nil
}

func newMigrateCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the database to this program's schema",
		Long: `Bring the database to the schema version that this program knows, and print the version. A server does so
when it starts; this is for doing it before, with the rights it takes. Repeating it changes nothing. An embedded
database is made if it is missing, and its data directory too if that is named.`,
		Example: `  chatting migrate
  CHATTING_DATABASE_URL='postgres://chatting@db/chatting?sslmode=require' chatting migrate`,
	}
	load := configFlags(cmd, s, "data_dir")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		cfg, err := load()
		if err != nil {
			return err
		}
		if cfg.Database.Embedded {
			if cfg.IsDefault("data_dir") { // who has named it means to make it
				if err := mustHaveDataDir(cfg); err != nil {
					return err
				}
			}
			if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
				return causedBy("data_dir", err)
			}
		}
		store, err := sqlstore.Open(cmd.Context(), storeOptions(cfg, newLogger(cfg.Log, s.err)))
		if err != nil {
			return databaseError(cfg, err)
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		if err := store.Migrate(cmd.Context()); err != nil {
			return databaseError(cfg, err)
		}
		version, _, err := store.Version(cmd.Context())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "schema version %d\n", version)
		return err
	}
	return cmd
}

func newConfigCommand(s surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration, secrets masked",
		Long: `Print every option with the value that the file, the environment and the flags come to, as YAML. A comment
tells where a value comes from that is not the default. Secrets are masked, and all of a URL but its host.`,
		Example: `  chatting config
  CHATTING_HTTP_ADDR=:8000 chatting config --config chatting.yaml`,
	}
	load := configFlags(cmd, s, everyFlag)
	cmd.RunE = func(*cobra.Command, []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(s.out, cfg.Masked())
		return err
	}
	return cmd
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  chatting version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "chatting", buildVersion())
			return err
		},
	}
}
