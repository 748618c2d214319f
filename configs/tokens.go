package configs

import (
	"strconv"
	"time"
)

// JWT holds the keys that tokens are verified with, and what tokens must say. A token is good if one of the keys verifies it.
type JWT struct {
	Secret        Secret // empty: see Config.GeneratesSecret
	PublicKeyFile string // PEM; empty: none

	Issuer    string        // empty: any
	Audiences []string      // empty: any
	UserClaim string        // empty: user_id or sub
	Leeway    time.Duration // by which nbf may lie in the future
}

func (j *JWT) options() []Option {
	return []Option{
		{Key: "jwt.secret", Secret: true, value: secret(&j.Secret, 32)},
		{Key: "jwt.public_key_file", Flag: true, value: filePath(&j.PublicKeyFile)},
		{Key: "jwt.issuer", value: plainText(&j.Issuer)},
		{Key: "jwt.audience", value: list("list of text", &j.Audiences, parseAudience)},
		{Key: "jwt.user_claim", value: userClaim(&j.UserClaim)},
		{Key: "jwt.leeway", value: duration(&j.Leeway, 0, 5*time.Minute)},
	}
}

// JWKS is a key set that is fetched.
type JWKS struct {
	URL     URL // http or https; empty: none
	Refresh time.Duration
	MaxAge  time.Duration // more than Refresh
}

func (j *JWKS) options() []Option {
	return []Option{
		{Key: "jwks.url", Flag: true, value: webURL(&j.URL)},
		{Key: "jwks.refresh", value: duration(&j.Refresh, time.Second, 24*time.Hour)},
		{Key: "jwks.max_age", value: duration(&j.MaxAge, 2*time.Second, 30*24*time.Hour)},
	}
}

// UserManagement is the service that the original server asked about tokens and friends.
type UserManagement struct {
	URL           URL // http or https; empty: not in drop-in mode
	Timeout       time.Duration
	Concurrency   int
	CacheTTL      time.Duration
	FriendsReload time.Duration
}

func (u *UserManagement) options() []Option {
	return []Option{
		{Key: "user_management.url", Flag: true, value: webURL(&u.URL)},
		{Key: "user_management.timeout", value: duration(&u.Timeout, 100*time.Millisecond, time.Minute)},
		{Key: "user_management.concurrency", value: integer(&u.Concurrency, 1, 10000)},
		{Key: "user_management.cache_ttl", value: duration(&u.CacheTTL, 0, 10*time.Minute)},
		{Key: "user_management.friends_reload", value: duration(&u.FriendsReload, time.Second, 24*time.Hour)},
	}
}

// S2S guards /s2sapi/.
type S2S struct {
	Token         Secret // empty: see Config.GeneratesS2SToken
	TrustLoopback bool   // programs on this machine need no token
}

func (s *S2S) options() []Option {
	return []Option{
		{Key: "s2s.token", Secret: true, value: secret(&s.Token, 16, checkBearer)},
		{Key: "s2s.trust_loopback", value: boolean(&s.TrustLoopback),
			derived: func(c Config) string { return strconv.FormatBool(c.IsTrial()) }},
	}
}
