// Package auth verifies local tokens: JSON Web Tokens (RFC 7519) signed with a shared secret, with the private half of a
// PEM key, or with a key of a JWK Set that an identity provider publishes (RFC 7517). It also mints tokens for trial and
// keeps the secret that a first start makes.
//
// A key decides which algorithms it may verify, never a token (RFC 8725 §3.1): a secret HS256, HS384 and HS512; an RSA
// key RS256, RS384 and RS512; a P-256 key ES256, P-384 ES384, P-521 ES512; an Ed25519 key EdDSA. Keys are kept by
// algorithm, so a token reaches no others: none, PS256 and an HS256 made from the bytes of a public key find no key.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// MaxTokenBytes bounds a token; longer ones are refused unparsed.
const MaxTokenBytes = 8 << 10

// maxTried bounds the keys that one token is tried with. Each costs a verification of its signature, and who sends a token
// without kid can cause them all.
const maxTried = 16

// Options name the keys. At least one source must be given. With several, a token is good when a key of any of them
// verifies it: the secret and the PEM key are tried first, because they need no network. What the claims must say holds for
// tokens of all sources.
type Options struct {
	// Secret is a symmetric key of at least MinSecretBytes for HS256, HS384 and HS512; nil for none.
	Secret []byte
	// PublicKeyFile is a PEM file with one public key (PKIX or PKCS #1) or one certificate, whose validity period is not
	// looked at; "" for none.
	PublicKeyFile string
	// JWKSURL is where a JWK Set is published, http or https; "" for none.
	JWKSURL string
	// Refresh is after how long the JWK Set is loaded again. It is needed with JWKSURL, as MaxAge is.
	Refresh time.Duration
	// MaxAge is for how long the last JWK Set counts while no newer one can be loaded.
	MaxAge time.Duration
	// Required is what the claims must say.
	Required
	// Leeway is how far ahead the issuer's clock may be: nbf may lie that much in the future. exp has no leeway, so that a
	// token which is accepted has a time to live.
	Leeway time.Duration
	// Logger gets the failures to load the JWK Set.
	Logger *slog.Logger
}

// Required is what the claims of a token must say, beside its times. The zero value is what MintHS256 says by itself.
type Required struct {
	// Issuer is what iss must be; "" for anything.
	Issuer string
	// Audiences are those of which aud must name one; empty for any.
	Audiences []string
	// UserClaim is the claim that names the user; "" for user_id or, where that is absent, sub.
	UserClaim string
}

// Verifier implements application.Tokens and application.TokenRechecks. It is safe for concurrent use.
type Verifier struct {
	parser     *jwt.Parser
	validator  *jwt.Validator
	issuer     string
	userClaims []string
	sources    []keySource
	remote     *remoteKeys // nil where no JWK Set is configured
}

var (
	_ application.Tokens        = (*Verifier)(nil)
	_ application.TokenRechecks = (*Verifier)(nil)
)

// keySource finds the keys that may have signed a token, by its algorithm and kid. errNoKey tells that the source has none,
// a *domain.Error that nobody can say now.
type keySource interface {
	find(ctx context.Context, token *jwt.Token) ([]jwt.VerificationKey, error)
}

var errNoKey = errors.New("no key for the token")

// OptionName names one of the Options.
type OptionName string

// The options that may hold a value that cannot be used.
const (
	OptionSecret        OptionName = "Secret"
	OptionPublicKeyFile OptionName = "PublicKeyFile"
	OptionJWKSURL       OptionName = "JWKSURL"
)

// OptionError tells which option holds a value that cannot be used.
type OptionError struct {
	Option OptionName
	Err    error
}

// Error returns the cause's message, which does not hold the value of a secret.
func (e *OptionError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *OptionError) Unwrap() error { return e.Err }

// New checks the keys and starts to load the JWK Set, without waiting for it. Errors are about the configuration and
// hold no secret. Close must be called in the end.
func New(o Options) (*Verifier, error) {
	local := make(localKeys)
	if o.Secret != nil {
		if err := local.addSecret(o.Secret); err != nil {
			return nil, &OptionError{OptionSecret, err}
		}
	}
	if o.PublicKeyFile != "" {
		if err := local.addPublicKeyFile(o.PublicKeyFile); err != nil {
			return nil, &OptionError{OptionPublicKeyFile, err}
		}
	}
	v := &Verifier{}
	methods := local.algorithms()
	if len(local) > 0 {
		v.sources = append(v.sources, local)
	}
	if o.JWKSURL != "" {
		endpoint, err := parseJWKSURL(o.JWKSURL)
		if err != nil {
			return nil, &OptionError{OptionJWKSURL, err}
		}
		if o.Refresh <= 0 || o.MaxAge <= 0 {
			return nil, errors.New("a JWKS URL needs times for its key set")
		}
		v.remote = newRemoteKeys(endpoint, jwksTransport(), o.Refresh, o.MaxAge, o.Logger)
		v.sources = append(v.sources, v.remote)
		methods = append(methods, asymmetricAlgorithms...)
	}
	if len(v.sources) == 0 {
		return nil, errors.New("no key to verify tokens with: a secret, a public key file or a JWKS URL is needed")
	}
	v.configure(o, methods)
	return v, nil
}

// configure sets what tokens must look like.
func (v *Verifier) configure(o Options, methods []string) {
	v.parser = jwt.NewParser(
		jwt.WithValidMethods(methods), jwt.WithJSONNumber(), jwt.WithStrictDecoding(),
		jwt.WithoutClaimsValidation(), // judge does that
	)
	// iat is not looked at: RFC 7519 §4.1.6 gives it no part in whether a token is good.
	requirements := []jwt.ParserOption{jwt.WithLeeway(o.Leeway)}
	if o.Issuer != "" {
		v.issuer = o.Issuer
		requirements = append(requirements, jwt.WithIssuer(o.Issuer))
	}
	if len(o.Audiences) > 0 {
		requirements = append(requirements, jwt.WithAudience(o.Audiences...))
	}
	v.validator = jwt.NewValidator(requirements...)
	v.userClaims = defaultUserClaims
	if o.UserClaim != "" {
		v.userClaims = []string{o.UserClaim}
	}
}

// Close stops loading the JWK Set and waits until that has ended. Keys already loaded go on to verify.
func (v *Verifier) Close() {
	if v.remote != nil {
		v.remote.close()
	}
}

// Ended is closed when the loading of the JWK Set has ended, which is to be after Close. It is nil where none is loaded.
func (v *Verifier) Ended() <-chan struct{} {
	if v.remote == nil {
		return nil
	}
	return v.remote.ended
}

// Verify implements application.Tokens. Expires is the token's exp. It waits for the network only for a JWK Set that is
// being loaded or lacks the token's key, and then for keyWait at most. CodeUnavailable only if the token could be
// signed with a key of a JWK Set that was never loaded, is too old or has no usable key. No error holds the token or a part of it.
func (v *Verifier) Verify(ctx context.Context, token string) (application.Identity, error) {
	if len(token) > MaxTokenBytes {
		return application.Identity{}, application.RefuseToken("The token is too long.", application.RefusedMalformed, 0)
	}
	if strings.ContainsAny(token, "\r\n") { // which encoding/base64 skips wherever they stand
		return application.Identity{}, errMalformed
	}
	var failure *domain.Error
	left := maxTried
	for _, source := range v.sources {
		understood := false
		parsed, err := v.parser.Parse(token, func(t *jwt.Token) (any, error) {
			understood = true
			keys, err := v.candidates(ctx, source, t, left)
			left -= len(keys)
			return jwt.VerificationKeySet{Keys: keys}, err
		})
		if err == nil {
			return v.judge(parsed)
		}
		if refused := classify(err, understood); failure != errSignature || refused != errUnknown {
			failure = refused
		}
		if !understood || failure == errCritical {
			break // another key would not help
		}
	}
	return application.Identity{}, failure
}

// Recheck implements application.TokenRechecks: it is Verify, which remembers no answers.
func (v *Verifier) Recheck(ctx context.Context, token string) (application.Identity, error) {
	return v.Verify(ctx, token)
}

// Ready returns nil while tokens of every configured source can be verified; CodeUnavailable with a reason that holds no
// secret where the JWK Set was never loaded, is too old or has no usable key. It recovers by itself.
func (v *Verifier) Ready(context.Context) error {
	if v.remote == nil {
		return nil
	}
	return v.remote.ready()
}

// candidates returns at most so many keys of a source, those that may have signed the token.
func (v *Verifier) candidates(ctx context.Context, source keySource, t *jwt.Token, most int) ([]jwt.VerificationKey, error) {
	// The header says that the token must not be accepted by whoever does not understand an extension (RFC 7515
	// §4.1.11). None is understood here.
	if _, critical := t.Header["crit"]; critical {
		return nil, errCritical
	}
	keys, err := source.find(ctx, t)
	keys = keys[:min(len(keys), most)]
	if len(keys) == 0 && err == nil {
		err = errNoKey
	}
	return keys, err
}

// notValid is what clients are told of most refused tokens.
const notValid = "The token is not valid."

// The refusals of tokens whose signature is not good. They name no user, because nobody has vouched for their claims.
var (
	errMalformed = application.RefuseToken(notValid, application.RefusedMalformed, 0)
	errAlgorithm = application.RefuseToken(notValid, application.RefusedAlgorithm, 0)
	errUnknown   = application.RefuseToken(notValid, application.RefusedUnknownKey, 0)
	errSignature = application.RefuseToken(notValid, application.RefusedSignature, 0)
	errCritical  = application.RefuseToken(notValid, application.RefusedNotSupported, 0)
)

// classify turns the library's error into one of few: its own texts quote parts of the token. understood tells whether a
// key was asked for.
func classify(err error, understood bool) *domain.Error {
	var classified *domain.Error
	switch {
	case errors.As(err, &classified):
		return classified
	case errors.Is(err, errNoKey):
		return errUnknown
	case errors.Is(err, jwt.ErrTokenSignatureInvalid) && understood:
		return errSignature
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return errAlgorithm
	default:
		return errMalformed
	}
}

// MintHS256 returns an access token for user that expires ttl after now, rounded up to a whole second, and says what is
// required. The secret must have MinSecretBytes, ttl must be positive.
func MintHS256(secret []byte, user domain.UserID, ttl time.Duration, now time.Time, required Required) (string, error) {
	if err := checkSecret(secret); err != nil {
		return "", err
	}
	if _, err := domain.NewUserID(int64(user)); err != nil {
		return "", err
	}
	if ttl <= 0 {
		return "", fmt.Errorf("a token that lives for %s could not be used", ttl)
	}
	expires := now.Add(ttl).Add(time.Second - time.Nanosecond).Unix()
	if expires > maxNumericDate {
		return "", fmt.Errorf("a token that lives for %s would expire after the year 9999", ttl)
	}
	claims := jwt.MapClaims{"iat": now.Unix(), "exp": expires}
	if required.Issuer != "" {
		claims["iss"] = required.Issuer
	}
	if len(required.Audiences) > 0 {
		claims["aud"] = required.Audiences[0]
	}
	// As a string, which sub has to be (RFC 7519 §4.1.2), unless it is the claim that this server has always written.
	if required.UserClaim == "" {
		claims[userClaim] = int64(user)
	} else {
		claims[required.UserClaim] = user.String()
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
}
