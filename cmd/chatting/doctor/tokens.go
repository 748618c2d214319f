package doctor

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"chatting/adapters/auth"
	"chatting/adapters/netcause"
	"chatting/application"
	"chatting/configs"
)

// tokens looks at what decides which tokens are good.
func (p *patient) tokens(ctx context.Context) {
	cfg := p.Config
	if cfg.DropIn() {
		p.service(ctx)
		return
	}
	source := ""
	switch {
	case cfg.GeneratesSecret():
		source = "the secret that the server makes in its data directory"
	case cfg.JWT.Secret.IsSet():
		source = "the secret jwt.secret"
	case cfg.JWT.PublicKeyFile != "":
		source = "the public key in " + cfg.JWT.PublicKeyFile
	}
	usable := true
	if cfg.JWT.Secret.IsSet() || cfg.JWT.PublicKeyFile != "" {
		options := keyOptions(cfg)
		options.JWKSURL = ""
		if verifier, err := auth.New(options); err != nil {
			usable = false
			p.fail("correct jwt.secret or jwt.public_key_file", "%v", err)
		} else {
			verifier.Close()
		}
	}
	if cfg.JWKS.URL.IsSet() {
		usable = p.keySet(ctx) && usable
		source = "the key set at " + cfg.JWKS.URL.String()
	}
	if usable {
		p.ok("tokens are verified by %s", source)
	}
	if (cfg.JWKS.URL.IsSet() || cfg.JWT.PublicKeyFile != "") && cfg.JWT.Issuer == "" && len(cfg.JWT.Audiences) == 0 {
		p.warn("set jwt.issuer and jwt.audience (CHATTING_JWT_ISSUER, CHATTING_JWT_AUDIENCE)",
			"any token that is signed with these keys is good, also one for another application")
	}
	if p.Token != "" {
		p.token(ctx)
	}
}

// keySet loads the key set, and returns whether tokens can be verified with it.
func (p *patient) keySet(ctx context.Context) bool {
	shown := p.Config.JWKS.URL.String()
	usable, unusable, err := auth.LookAtKeySet(ctx, p.Config.JWKS.URL.Reveal())
	switch {
	case err != nil:
		p.fail("correct jwks.url (CHATTING_JWKS_URL), or let this machine reach it", "the key set at %s cannot be loaded: %v", shown, err)
	case usable == 0:
		p.fail("publish a key there that verifies RS256, ES256 or EdDSA", "the key set at %s has no key that can verify tokens", shown)
	case unusable > 0:
		p.warn("see which keys it has", "%d keys of the key set at %s cannot verify tokens", unusable, shown)
		return true
	default:
		return true
	}
	return false
}

// service asks the user-management service for anything.
func (p *patient) service(ctx context.Context) {
	shown := p.Config.UserManagement.URL.String()
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Config.UserManagement.URL.Reveal(), nil)
		if err != nil {
			return struct{}{}, err
		}
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		response, err := client.Do(request)
		if err != nil {
			return struct{}{}, netcause.Of(err)
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
		return struct{}{}, err
	})
	if err != nil {
		p.fail("start it, or correct user_management.url (CHATTING_USER_MANAGEMENT_URL)",
			"the user-management service at %s does not answer: %v", shown, err)
		return
	}
	p.ok("the user-management service at %s answers, and decides on tokens", shown)
}

// token says whether the server would accept the token that somebody has.
func (p *patient) token(ctx context.Context) {
	options := keyOptions(p.Config)
	if p.Config.GeneratesSecret() {
		// Not as the server loads it: that takes permissions of others away.
		secret, err := os.ReadFile(filepath.Join(p.Config.DataDir, "jwt-secret"))
		if err != nil {
			p.skip("the token cannot be verified: no server has made its secret in %s", p.Config.DataDir)
			return
		}
		options.Secret = bytes.TrimSpace(secret)
	}
	verifier, err := auth.New(options)
	if err != nil {
		return // that was told
	}
	defer verifier.Close()
	identity, err := within(ctx, func(ctx context.Context) (application.Identity, error) { return verifier.Verify(ctx, p.Token) })
	if err != nil {
		p.fail("get a token as docs/access.md says, or correct jwt.issuer, jwt.audience, jwt.user_claim and the keys",
			"the token is refused: %v", err)
		return
	}
	p.ok("the token is good: user %s, until %s", identity.User, identity.Expires.UTC().Format(time.RFC3339))
}

func keyOptions(cfg configs.Config) auth.Options {
	options := auth.Options{
		PublicKeyFile: cfg.JWT.PublicKeyFile, JWKSURL: cfg.JWKS.URL.Reveal(), Refresh: cfg.JWKS.Refresh, MaxAge: cfg.JWKS.MaxAge,
		Required: auth.Required{Issuer: cfg.JWT.Issuer, Audiences: cfg.JWT.Audiences, UserClaim: cfg.JWT.UserClaim},
		Leeway:   cfg.JWT.Leeway, Logger: slog.New(slog.DiscardHandler),
	}
	if cfg.JWT.Secret.IsSet() {
		options.Secret = []byte(cfg.JWT.Secret.Reveal())
	}
	return options
}
