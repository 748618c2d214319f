package server

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"chatting/adapters/auth"
	"chatting/adapters/usermanagement"
	"chatting/application"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
	"chatting/domain"
)

// tokenParts decide on tokens.
type tokenParts struct {
	Tokens   application.Tokens
	Rechecks application.TokenRechecks
	Service  *usermanagement.Client // nil unless in drop-in mode
	Keys     *auth.Verifier         // nil in drop-in mode
	// trialToken makes a token that is good for a time; nil unless this server made the secret.
	trialToken func(domain.UserID, time.Duration) (string, error)
}

// newTokens returns who verifies tokens: the user-management service in drop-in mode, else the configured keys, else the
// secret that the first start made.
func newTokens(cfg configs.Config, _ dataLock, logger *slog.Logger) (tokenParts, error) {
	if cfg.DropIn() {
		client, err := usermanagement.New(userManagementOptions(cfg))
		if err != nil {
			return tokenParts{}, exit.With(exit.Usage, configs.CausedBy("user_management.url", err))
		}
		return tokenParts{Tokens: client, Rechecks: client, Service: client}, nil
	}
	options := keyOptions(cfg)
	options.Logger = logger
	var parts tokenParts
	if cfg.GeneratesSecret() {
		secret, err := auth.LoadOrCreateSecret(cfg.DataDir)
		if err != nil {
			return tokenParts{}, configs.CausedBy("data_dir", err)
		}
		options.Secret = secret
		parts.trialToken = func(user domain.UserID, life time.Duration) (string, error) {
			return auth.MintHS256(secret, user, life, time.Now(), RequiredOfTokens(cfg))
		}
	}
	verifier, err := auth.New(options)
	if err != nil {
		return tokenParts{}, keyError(err)
	}
	parts.Tokens, parts.Rechecks, parts.Keys = verifier, verifier, verifier
	return parts, nil
}

func userManagementOptions(cfg configs.Config) usermanagement.Options {
	return usermanagement.Options{
		URL: cfg.UserManagement.URL.Reveal(), Timeout: cfg.UserManagement.Timeout,
		Concurrency: cfg.UserManagement.Concurrency, CacheFor: cfg.UserManagement.CacheTTL,
	}
}

// keyOptions are those of the configured keys.
func keyOptions(cfg configs.Config) auth.Options {
	options := auth.Options{
		PublicKeyFile: cfg.JWT.PublicKeyFile, JWKSURL: cfg.JWKS.URL.Reveal(), Refresh: cfg.JWKS.Refresh, MaxAge: cfg.JWKS.MaxAge,
		Required: RequiredOfTokens(cfg), Leeway: cfg.JWT.Leeway,
	}
	if cfg.JWT.Secret.IsSet() {
		options.Secret = []byte(cfg.JWT.Secret.Reveal())
	}
	return options
}

// RequiredOfTokens is what tokens must say, for the server and for `chatting token`.
func RequiredOfTokens(cfg configs.Config) auth.Required {
	return auth.Required{Issuer: cfg.JWT.Issuer, Audiences: cfg.JWT.Audiences, UserClaim: cfg.JWT.UserClaim}
}

// newRecheckTokens returns what verifies the tokens of open connections again. In drop-in mode it may ask half as many questions at
// a time as logins.
func newRecheckTokens(c common, rechecks application.TokenRechecks) *application.RecheckTokens {
	atATime := 1 // keys need no more
	if c.Config.DropIn() {
		atATime = max(1, c.Config.UserManagement.Concurrency/2)
	}
	return &application.RecheckTokens{
		Tokens: rechecks, Notices: c.Notices, Every: c.Config.WebSocket.TokenRecheck, AtATime: atATime, Now: c.Now, Logger: c.Logger,
	}
}

// keyError tells why the keys of tokens cannot be used.
func keyError(err error) error {
	var unusable *auth.OptionError
	if !errors.As(err, &unusable) {
		return err
	}
	return exit.With(exit.Usage, configs.CausedBy(map[auth.OptionName]string{
		auth.OptionSecret: "jwt.secret", auth.OptionPublicKeyFile: "jwt.public_key_file", auth.OptionJWKSURL: "jwks.url",
	}[unusable.Option], err))
}

// s2sToken is what other servers of the platform present; "" if they need none.
type s2sToken string

// newS2SToken returns the configured token, or that which the first start made in the data directory.
func newS2SToken(cfg configs.Config, _ dataLock, logger *slog.Logger) (s2sToken, error) {
	if !cfg.GeneratesS2SToken() {
		return s2sToken(cfg.S2S.Token.Reveal()), nil
	}
	token, err := auth.LoadOrCreateS2SToken(cfg.DataDir)
	if err != nil {
		return "", configs.CausedBy("data_dir", fmt.Errorf("%w (s2s.token is not set)", err))
	}
	logger.Info("other servers call /s2sapi/ with the token in this file; all nodes of a cluster need the same one: set CHATTING_S2S_TOKEN",
		"file", filepath.Join(cfg.DataDir, auth.S2STokenFile))
	return s2sToken(token), nil
}
