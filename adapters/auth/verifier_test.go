package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"chatting/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	silent     = slog.New(slog.DiscardHandler)
)

// The times of the verifiers under test.
const (
	leeway  = 5 * time.Second
	refresh = 5 * time.Minute
	maxAge  = 24 * time.Hour
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return newRSAKey(2048) })

func newRSAKey(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newECKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func newEdKey() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// newVerifier returns a verifier with these options, closed with the test.
func newVerifier(t testing.TB, o Options) *Verifier {
	t.Helper()
	o.Logger = silent
	o.Leeway = leeway
	if o.Refresh == 0 {
		o.Refresh, o.MaxAge = refresh, maxAge
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// sign returns a token with these claims, valid for an hour unless they say otherwise, and with kid unless it is "".
func sign(t testing.TB, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	if _, given := claims["exp"]; !given {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// signRaw returns a token over claims as they are written.
func signRaw(header, claims string, secret []byte) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		panic(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func user7() jwt.MapClaims { return jwt.MapClaims{"user_id": 7} }

func mustAccept(t *testing.T, v *Verifier, token string, user domain.UserID) {
	t.Helper()
	identity, err := v.Verify(context.Background(), token)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if identity.User != user {
		t.Fatalf("the token of %d is taken for one of %d", user, identity.User)
	}
}

func mustRefuse(t *testing.T, v *Verifier, token string, code domain.Code) {
	t.Helper()
	identity, err := v.Verify(context.Background(), token)
	if err == nil {
		t.Fatalf("accepted as user %d", identity.User)
	}
	if domain.CodeOf(err) != code {
		t.Fatalf("code %s (%v), want %s", domain.CodeOf(err), err, code)
	}
	if identity.User != 0 {
		t.Fatalf("a refused token names user %d", identity.User)
	}
	mustNotLeak(t, err, token)
}

// mustNotLeak fails where an error holds the token or a segment of it.
func mustNotLeak(t *testing.T, err error, token string) {
	t.Helper()
	for _, part := range append(strings.Split(token, "."), token) {
		if len(part) >= 8 && strings.Contains(err.Error(), part) {
			t.Fatalf("the error holds a part of the token: %v", err)
		}
	}
}

func writePEM(t testing.TB, blockType string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pkixFile(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "PUBLIC KEY", der)
}

func certificateFile(t testing.TB, key crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tokens"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, "CERTIFICATE", der)
}

var allMethods = []jwt.SigningMethod{
	jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512,
	jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
	jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
	jwt.SigningMethodES256, jwt.SigningMethodES384, jwt.SigningMethodES512,
	jwt.SigningMethodEdDSA,
}

func TestAKeyVerifiesTheAlgorithmsOfItsKindAndNoOthers(t *testing.T) {
	p256, p384, p521, ed := newECKey(elliptic.P256()), newECKey(elliptic.P384()), newECKey(elliptic.P521()), newEdKey()
	cases := []struct {
		name    string
		options Options
		key     any
		takes   string
	}{
		{"secret", Options{Secret: testSecret}, testSecret, "HS256 HS384 HS512"},
		{"RSA, PKIX", Options{PublicKeyFile: pkixFile(t, rsaKey().Public())}, rsaKey(), "RS256 RS384 RS512"},
		{"RSA, PKCS 1", Options{PublicKeyFile: writePEM(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey))}, rsaKey(), "RS256 RS384 RS512"},
		{"RSA, certificate", Options{PublicKeyFile: certificateFile(t, rsaKey())}, rsaKey(), "RS256 RS384 RS512"},
		{"P-256", Options{PublicKeyFile: pkixFile(t, p256.Public())}, p256, "ES256"},
		{"P-384", Options{PublicKeyFile: pkixFile(t, p384.Public())}, p384, "ES384"},
		{"P-521, certificate", Options{PublicKeyFile: certificateFile(t, p521)}, p521, "ES512"},
		{"Ed25519", Options{PublicKeyFile: pkixFile(t, ed.Public())}, ed, "EdDSA"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, c.options)
			accepted := 0
			for _, method := range allMethods {
				token := jwt.NewWithClaims(method, jwt.MapClaims{"user_id": 7, "exp": time.Now().Add(time.Hour).Unix()})
				signed, err := token.SignedString(c.key)
				if err != nil {
					continue // the key's kind cannot sign so
				}
				if strings.Contains(" "+c.takes+" ", " "+method.Alg()+" ") {
					mustAccept(t, v, signed, 7)
					accepted++
				} else {
					mustRefuse(t, v, signed, domain.CodeUnauthenticated)
				}
			}
			if accepted != len(strings.Fields(c.takes)) {
				t.Fatalf("%d algorithms were tried that the key takes", accepted)
			}
		})
	}
}

// The library would let a P-384 key verify what was signed over a SHA-256 hash and padded to ES256's length: here the
// signature is made by hand, as no library signs it.
func TestACurveDoesNotVerifyAnotherCurvesAlgorithm(t *testing.T) {
	key := newECKey(elliptic.P256())
	v := newVerifier(t, Options{PublicKeyFile: pkixFile(t, key.Public())})
	for _, method := range []*jwt.SigningMethodECDSA{jwt.SigningMethodES384, jwt.SigningMethodES512} {
		header := fmt.Sprintf(`{"alg":%q}`, method.Name)
		claims := fmt.Sprintf(`{"user_id":7,"exp":%d}`, time.Now().Add(time.Hour).Unix())
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		hash := method.Hash.New()
		hash.Write([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, key, hash.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		signature := make([]byte, 2*method.KeySize)
		r.FillBytes(signature[:method.KeySize])
		s.FillBytes(signature[method.KeySize:])
		if method.Verify(text, signature, key.Public()) != nil {
			t.Fatal("the library refuses it by itself: this test shows nothing")
		}
		mustRefuse(t, v, text+"."+base64.RawURLEncoding.EncodeToString(signature), domain.CodeUnauthenticated)
	}
}

func TestAPublicKeyIsNoSecret(t *testing.T) {
	path := pkixFile(t, rsaKey().Public())
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*Verifier{
		"alone":         newVerifier(t, Options{PublicKeyFile: path}),
		"with a secret": newVerifier(t, Options{PublicKeyFile: path, Secret: testSecret}),
	} {
		t.Run(name, func(t *testing.T) {
			block, _ := pem.Decode(text)
			for _, forged := range [][]byte{text, []byte(strings.TrimSpace(string(text))), block.Bytes} {
				mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, forged, "", user7()), domain.CodeUnauthenticated)
			}
		})
	}
}

func TestUnsignedTokensAreRefused(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret, PublicKeyFile: pkixFile(t, rsaKey().Public())})
	mustRefuse(t, v, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", user7()), domain.CodeUnauthenticated)
	good := sign(t, jwt.SigningMethodHS256, testSecret, "", user7())
	mustRefuse(t, v, good[:strings.LastIndexByte(good, '.')+1], domain.CodeUnauthenticated)
	claims := fmt.Sprintf(`{"user_id":7,"exp":%d}`, time.Now().Add(time.Hour).Unix())
	for _, alg := range []string{"none", "None", "NONE", "hs256", ""} {
		mustRefuse(t, v, signRaw(fmt.Sprintf(`{"alg":%q}`, alg), claims, testSecret), domain.CodeUnauthenticated)
	}
}

func TestWhatIsNoTokenIsRefused(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	good := sign(t, jwt.SigningMethodHS256, testSecret, "", user7())
	for _, token := range []string{
		"", ".", "..", "...", "abcdefghijkl", good + ".", good + "x", "." + good, good + "\n", " " + good, "Bearer " + good,
		"\x00\xff\xfe", strings.Repeat(".", MaxTokenBytes), "e30.e30.e30",
	} {
		mustRefuse(t, v, token, domain.CodeUnauthenticated)
	}
	mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", user7()), domain.CodeUnauthenticated)
}

func TestCriticalExtensionsAreRefused(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	claims := fmt.Sprintf(`{"user_id":7,"exp":%d}`, time.Now().Add(time.Hour).Unix())
	mustAccept(t, v, signRaw(`{"alg":"HS256"}`, claims, testSecret), 7)
	mustRefuse(t, v, signRaw(`{"alg":"HS256","crit":["b64"],"b64":true}`, claims, testSecret), domain.CodeUnauthenticated)
}

func TestATokenAboveTheLimitIsRefusedUnparsed(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	claims := user7()
	claims["x"] = strings.Repeat("x", MaxTokenBytes*3/4-200)
	long := sign(t, jwt.SigningMethodHS256, testSecret, "", claims)
	if len(long) > MaxTokenBytes || len(long) < MaxTokenBytes-200 {
		t.Fatalf("%d bytes show nothing about the limit", len(long))
	}
	mustAccept(t, v, long, 7)
	claims["x"] = strings.Repeat("x", MaxTokenBytes*3/4)
	mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", claims), domain.CodeUnauthenticated)
}

func TestTheIDIsUserIDOrElseSub(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	exp := fmt.Sprintf(`,"exp":%d}`, time.Now().Add(time.Hour).Unix())
	for claims, user := range map[string]domain.UserID{
		`{"user_id":7`:                      7,
		`{"user_id":"7"`:                    7,
		`{"sub":"7"`:                        7,
		`{"sub":7`:                          7,
		`{"user_id":7,"sub":"8"`:            7,
		`{"sub":"someone","user_id":"7"`:    7,
		`{"USER_ID":8,"sub":"7"`:            7,
		`{"user_id":9223372036854775807`:    9223372036854775807,
		`{"user_id":9007199254740993`:       9007199254740993, // 2^53+1: no float64
		`{"user_id":"9223372036854775807"`:  9223372036854775807,
		`{"user_id":0`:                      0,
		`{"user_id":-7`:                     0,
		`{"user_id":7.0`:                    0,
		`{"user_id":7e0`:                    0,
		`{"user_id":7.5`:                    0,
		`{"user_id":9223372036854775808`:    0,
		`{"user_id":18446744073709551623`:   0, // 2^64+7
		`{"user_id":1e400`:                  0,
		`{"user_id":"-7"`:                   0,
		`{"user_id":"+7"`:                   0,
		`{"user_id":" 7"`:                   0,
		`{"user_id":"07"`:                   0,
		`{"user_id":"7_0"`:                  0,
		`{"user_id":"0x7"`:                  0,
		`{"user_id":"٧"`:                    0,
		`{"user_id":"7\u0000"`:              0,
		`{"user_id":""`:                     0,
		`{"user_id":null,"sub":"7"`:         0,
		`{"user_id":true`:                   0,
		`{"user_id":[7]`:                    0,
		`{"user_id":{"id":7}`:               0,
		`{"user_id":"someone","sub":"7"`:    0,
		`{"sub":"someone"`:                  0,
		`{"name":"x"`:                       0,
		`{"User_Id":7`:                      0,
		`{"user_id":"99999999999999999999"`: 0,
	} {
		t.Run(claims, func(t *testing.T) {
			token := signRaw(`{"alg":"HS256"}`, claims+exp, testSecret)
			if user == 0 {
				mustRefuse(t, v, token, domain.CodeUnauthenticated)
			} else {
				mustAccept(t, v, token, user)
			}
		})
	}
}

func TestTimesAreHonoured(t *testing.T) {
	// The bubble's clock stands still while the test runs.
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Options{Secret: testSecret})
		now := time.Now().Unix()
		at := func(format string, seconds ...any) string { return fmt.Sprintf(`{"user_id":7,`+format+`}`, seconds...) }
		for claims, good := range map[string]bool{
			at(`"exp":%d`, now+1):                              true,
			at(`"exp":%d.9`, now+1):                            true,
			at(`"exp":%d`, now):                                false, // no leeway for exp
			at(`"exp":%d`, now-1):                              false,
			at(`"exp":%d`, 0):                                  false,
			at(`"exp":%d`, -1):                                 false,
			at(`"exp":"%d"`, now+60):                           false,
			at(`"exp":null`):                                   false,
			at(`"exp":1e300`):                                  false,
			at(`"exp":1e999`):                                  false,
			at(`"exp":%d`, int64(maxNumericDate)):              true,
			at(`"exp":%d`, int64(maxNumericDate)+1):            false,
			at(`"iat":%d`, now):                                false, // no exp
			at(`"exp":%d,"nbf":%d,"iat":%d`, now+60, now, now): true,
			at(`"exp":%d,"nbf":%d`, now+60, now+5):             true, // the leeway
			at(`"exp":%d,"nbf":%d`, now+60, now+6):             false,
			at(`"exp":%d,"nbf":-1`, now+60):                    false,
			at(`"exp":292277026596`):                           false,
			at(`"exp":-1e300`):                                 false,
			at(`"exp":[%d]`, now+60):                           false,
			at(`"exp":{}`):                                     false,
			at(`"exp":true`):                                   false,
			// iat alone never refuses.
			at(`"exp":%d,"iat":%d`, now+60, now+6):                          true,
			at(`"exp":%d,"iat":%d`, now+60, now+1e9):                        true,
			at(`"exp":%d,"iat":%d`, now+60, now-1e9):                        true,
			at(`"exp":%d,"iat":1e300`, now+60):                              true,
			at(`"exp":%d,"iat":-1`, now+60):                                 true,
			at(`"exp":%d,"iat":null`, now+60):                               true,
			at(`"exp":%d,"iat":["now"]`, now+60):                            true,
			at(`"exp":%d,"nbf":1e300`, now+60):                              false,
			at(`"exp":%d,"nbf":null`, now+60):                               false,
			at(`"exp":%d,"iat":"%d"`, now+60, now):                          true,
			at(`"exp":%d,"nbf":9223372036854775807,"iat":%d`, now+60, now):  false,
			at(`"exp":%d,"nbf":-9223372036854775808,"iat":%d`, now+60, now): false,
		} {
			token := signRaw(`{"alg":"HS256"}`, claims, testSecret)
			if good {
				mustAccept(t, v, token, 7)
				continue
			}
			if _, err := v.Verify(t.Context(), token); domain.CodeOf(err) != domain.CodeUnauthenticated {
				t.Errorf("%s: %v", claims, err)
			}
		}
	})
}

func TestTheReasonOfARefusalIsTold(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	now := time.Now()
	for want, claims := range map[string]jwt.MapClaims{
		"The token has expired.":                      {"user_id": 7, "exp": now.Add(-time.Hour).Unix()},
		"The token is not valid yet.":                 {"user_id": 7, "nbf": now.Add(time.Hour).Unix()},
		"The token names no user.":                    {},
		"The token's user is not a positive integer.": {"sub": "someone"},
		"The token's times are not valid.":            {"user_id": 7, "exp": "soon"},
		"The token is not valid.":                     {"user_id": 7, "token_type": "refresh"},
	} {
		_, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, testSecret, "", claims))
		if messageOf(err) != want {
			t.Errorf("%v: %v, want %s", claims, err, want)
		}
	}
	_, err := v.Verify(t.Context(), signRaw(`{"alg":"HS256"}`, `{"user_id":7}`, testSecret))
	if want := "The token does not say when it expires."; messageOf(err) != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// messageOf returns what a client is told.
func messageOf(err error) string {
	var classified *domain.Error
	if !errors.As(err, &classified) {
		return ""
	}
	return classified.Message
}

func TestAnIdentityExpiresWithItsToken(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	exp := time.Now().Add(90 * time.Second).Truncate(time.Second)
	claims := user7()
	claims["exp"] = exp.Unix()
	identity, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, testSecret, "", claims))
	if err != nil || !identity.Expires.Equal(exp) {
		t.Fatalf("expires %v (%v), want %v", identity.Expires, err, exp)
	}
}

func TestAnyOfSeveralKeysWillDo(t *testing.T) {
	key, stranger := newECKey(elliptic.P256()), newECKey(elliptic.P256())
	v := newVerifier(t, Options{Secret: testSecret, PublicKeyFile: pkixFile(t, key.Public())})
	mustAccept(t, v, sign(t, jwt.SigningMethodHS512, testSecret, "", user7()), 7)
	mustAccept(t, v, sign(t, jwt.SigningMethodES256, key, "any", user7()), 7)
	mustRefuse(t, v, sign(t, jwt.SigningMethodES256, stranger, "", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, sign(t, jwt.SigningMethodRS256, rsaKey(), "", user7()), domain.CodeUnauthenticated)
}

func TestMintedTokensAreAccepted(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	for _, ttl := range []time.Duration{time.Millisecond, time.Second, time.Hour, 100 * 365 * 24 * time.Hour} {
		now := time.Now()
		token, err := MintHS256(testSecret, 9223372036854775807, ttl, now, Required{})
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
			t.Fatal(err)
		}
		expires, err := claims.GetExpirationTime()
		if early := now.Add(ttl); err != nil || expires.Before(early) || expires.Sub(early) >= time.Second {
			t.Fatalf("%v: expires at %v (%v), want %v or less than a second later", ttl, expires, err, early)
		}
		if ttl >= time.Hour {
			mustAccept(t, v, token, 9223372036854775807)
		}
	}
}

func TestNothingUselessIsMinted(t *testing.T) {
	now := time.Now()
	for name, mint := range map[string]func() (string, error){
		"short secret": func() (string, error) { return MintHS256(testSecret[1:], 7, time.Hour, now, Required{}) },
		"system":       func() (string, error) { return MintHS256(testSecret, 0, time.Hour, now, Required{}) },
		"negative":     func() (string, error) { return MintHS256(testSecret, -7, time.Hour, now, Required{}) },
		"no time":      func() (string, error) { return MintHS256(testSecret, 7, 0, now, Required{}) },
		"past":         func() (string, error) { return MintHS256(testSecret, 7, -time.Hour, now, Required{}) },
		"too far": func() (string, error) {
			return MintHS256(testSecret, 7, time.Hour, time.Unix(maxNumericDate, 0), Required{})
		},
	} {
		if token, err := mint(); err == nil || token != "" {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
}

func TestUnusableKeysAreRefusedAtTheStart(t *testing.T) {
	p256 := newECKey(elliptic.P256())
	private, err := x509.MarshalPKCS8PrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	two := pkixFile(t, p256.Public())
	text, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(two, append(text, text...), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"nothing":         {},
		"empty secret":    {Secret: []byte{}},
		"short secret":    {Secret: testSecret[1:]},
		"no such file":    {PublicKeyFile: filepath.Join(t.TempDir(), "absent")},
		"no PEM":          {PublicKeyFile: os.Args[0]},
		"private key":     {PublicKeyFile: writePEM(t, "PRIVATE KEY", private)},
		"broken key":      {PublicKeyFile: writePEM(t, "PUBLIC KEY", []byte("x"))},
		"broken cert":     {PublicKeyFile: writePEM(t, "CERTIFICATE", []byte("x"))},
		"two keys":        {PublicKeyFile: two},
		"weak RSA":        {PublicKeyFile: pkixFile(t, newRSAKey(1024).Public())},
		"P-224":           {PublicKeyFile: pkixFile(t, newECKey(elliptic.P224()).Public())},
		"URL, no scheme":  {JWKSURL: "example.com/jwks"},
		"URL, file":       {JWKSURL: "file:///etc/jwks"},
		"URL, no host":    {JWKSURL: "http:///jwks"},
		"URL, unreadable": {JWKSURL: "http://x\x7f:s3cret@"},
	} {
		o.Logger = silent
		v, err := New(o)
		if err == nil {
			v.Close()
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), string(testSecret[1:])) {
			t.Errorf("%s: the error holds a secret: %v", name, err)
		}
	}
}
