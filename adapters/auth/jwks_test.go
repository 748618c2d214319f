package auth

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"chatting/domain"
)

// jwk returns a key as a member of a set, with further members.
func jwk(t testing.TB, key any, kid string, further map[string]any) json.RawMessage {
	t.Helper()
	options := jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}}
	options.Metadata.KID = kid
	made, err := jwkset.NewJWKFromKey(key, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(made.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	members := make(map[string]any)
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range further {
		members[name] = value
	}
	text, err = json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func jwks(t testing.TB, keys ...json.RawMessage) string {
	t.Helper()
	if keys == nil {
		keys = []json.RawMessage{}
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// serveSet returns a verifier that has loaded the set from a real server, with these further options.
func serveSet(t *testing.T, set string, further ...Options) *Verifier {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, set)
	}))
	t.Cleanup(server.Close)
	var o Options
	if len(further) > 0 {
		o = further[0]
	}
	o.JWKSURL = server.URL + "/jwks.json"
	v := newVerifier(t, o)
	v.remote.awaitLoad(t.Context())
	if v.remote.set.Load() == nil {
		t.Fatal("the set was not loaded")
	}
	return v
}

func TestAPublishedKeyVerifiesTheAlgorithmsOfItsKind(t *testing.T) {
	p256, p384, p521, ed := newECKey(elliptic.P256()), newECKey(elliptic.P384()), newECKey(elliptic.P521()), newEdKey()
	v := serveSet(t, jwks(t, jwk(t, rsaKey().Public(), "rsa", nil), jwk(t, p256.Public(), "p256", nil),
		jwk(t, p384.Public(), "p384", nil), jwk(t, p521.Public(), "p521", nil), jwk(t, ed.Public(), "ed", nil)))
	for _, kid := range []bool{true, false} {
		for _, c := range []struct {
			method jwt.SigningMethod
			key    any
			kid    string
		}{
			{jwt.SigningMethodRS256, rsaKey(), "rsa"}, {jwt.SigningMethodRS384, rsaKey(), "rsa"}, {jwt.SigningMethodRS512, rsaKey(), "rsa"},
			{jwt.SigningMethodES256, p256, "p256"}, {jwt.SigningMethodES384, p384, "p384"}, {jwt.SigningMethodES512, p521, "p521"},
			{jwt.SigningMethodEdDSA, ed, "ed"},
		} {
			if !kid {
				c.kid = ""
			}
			mustAccept(t, v, sign(t, c.method, c.key, c.kid, user7()), 7)
		}
	}
	mustRefuse(t, v, sign(t, jwt.SigningMethodPS256, rsaKey(), "rsa", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, sign(t, jwt.SigningMethodES256, newECKey(elliptic.P256()), "p256", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, sign(t, jwt.SigningMethodES256, p256, "p384", user7()), domain.CodeUnauthenticated)
}

func TestAPublishedKeyIsUsedAsItsMembersSay(t *testing.T) {
	p256, ed := newECKey(elliptic.P256()), newEdKey()
	for name, c := range map[string]struct {
		key     crypto.Signer
		further map[string]any
		method  jwt.SigningMethod
		good    bool
	}{
		"for signatures":               {p256, map[string]any{"use": "sig"}, jwt.SigningMethodES256, true},
		"for encryption":               {p256, map[string]any{"use": "enc"}, jwt.SigningMethodES256, false},
		"to verify":                    {p256, map[string]any{"key_ops": []string{"verify"}}, jwt.SigningMethodES256, true},
		"to derive":                    {p256, map[string]any{"key_ops": []string{"deriveKey"}}, jwt.SigningMethodES256, false},
		"its algorithm":                {rsaKey(), map[string]any{"alg": "RS512"}, jwt.SigningMethodRS512, true},
		"another one of its kind":      {rsaKey(), map[string]any{"alg": "RS512"}, jwt.SigningMethodRS256, false},
		"an algorithm not taken":       {rsaKey(), map[string]any{"alg": "PS256"}, jwt.SigningMethodRS256, false},
		"an algorithm of another kind": {p256, map[string]any{"alg": "ES384"}, jwt.SigningMethodES256, false},
		"a private key, by accident":   {ed, map[string]any{"d": "AAAA"}, jwt.SigningMethodEdDSA, true},
	} {
		t.Run(name, func(t *testing.T) {
			// The second key makes the set usable.
			v := serveSet(t, jwks(t, jwk(t, c.key.Public(), "k", c.further), jwk(t, newEdKey().Public(), "other", nil)))
			for _, kid := range []string{"k", ""} {
				token := sign(t, c.method, c.key, kid, user7())
				if c.good {
					mustAccept(t, v, token, 7)
				} else {
					mustRefuse(t, v, token, domain.CodeUnauthenticated)
				}
			}
		})
	}
}

func TestKeysThatShareAKidAreAllTried(t *testing.T) {
	first, second, third, ed := newECKey(elliptic.P256()), newECKey(elliptic.P256()), newECKey(elliptic.P384()), newEdKey()
	v := serveSet(t, jwks(t, jwk(t, first.Public(), "k", nil), jwk(t, second.Public(), "k", nil), jwk(t, third.Public(), "k", nil),
		jwk(t, ed.Public(), "", nil), jwk(t, first.Public(), "k", nil)))
	for _, c := range []struct {
		method jwt.SigningMethod
		key    any
	}{{jwt.SigningMethodES256, first}, {jwt.SigningMethodES256, second}, {jwt.SigningMethodES384, third}} {
		mustAccept(t, v, sign(t, c.method, c.key, "k", user7()), 7)
		mustAccept(t, v, sign(t, c.method, c.key, "", user7()), 7)
	}
	mustAccept(t, v, sign(t, jwt.SigningMethodEdDSA, ed, "", user7()), 7)
	mustRefuse(t, v, sign(t, jwt.SigningMethodEdDSA, ed, "k", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, sign(t, jwt.SigningMethodES256, newECKey(elliptic.P256()), "k", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, signRaw(`{"alg":"EdDSA","kid":null}`, `{"user_id":7}`, testSecret), domain.CodeUnauthenticated)
}

// countingMethod is an algorithm that counts verifications and accepts none.
type countingMethod struct{ tried *int }

func (countingMethod) Alg() string                      { return "EdDSA" }
func (countingMethod) Sign(string, any) ([]byte, error) { return nil, errNoKey }
func (m countingMethod) Verify(string, []byte, any) error {
	*m.tried++
	return jwt.ErrTokenSignatureInvalid
}

func TestOneTokenIsTriedWithFewKeys(t *testing.T) {
	var keys []json.RawMessage
	for range jwksMaxKeys {
		keys = append(keys, jwk(t, newEdKey().Public(), "k", nil))
	}
	v := serveSet(t, jwks(t, keys...), Options{PublicKeyFile: pkixFile(t, newEdKey().Public())})
	tried := 0
	jwt.RegisterSigningMethod("EdDSA", func() jwt.SigningMethod { return countingMethod{&tried} })
	defer jwt.RegisterSigningMethod("EdDSA", func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
	mustRefuse(t, v, signRaw(`{"alg":"EdDSA","kid":"k"}`, `{"user_id":7}`, testSecret), domain.CodeUnauthenticated)
	if tried != maxTried {
		t.Fatalf("%d verifications of a token's signature, want %d", tried, maxTried)
	}
}

func TestAKeyOfTheSetWillDoWhereTheLocalOneOfItsKindDoesNot(t *testing.T) {
	published, local := newECKey(elliptic.P256()), newECKey(elliptic.P256())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, jwks(t, jwk(t, published.Public(), "k", nil)))
	}))
	defer server.Close()
	v := newVerifier(t, Options{Secret: testSecret, PublicKeyFile: pkixFile(t, local.Public()), JWKSURL: server.URL})
	mustAccept(t, v, sign(t, jwt.SigningMethodES256, local, "", user7()), 7)
	mustAccept(t, v, sign(t, jwt.SigningMethodES256, published, "k", user7()), 7)
	mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "k", user7()), 7)
	mustRefuse(t, v, sign(t, jwt.SigningMethodES256, newECKey(elliptic.P256()), "k", user7()), domain.CodeUnauthenticated)
}

func TestASymmetricKeyOfASetIsNotAccepted(t *testing.T) {
	set := jwks(t, jwk(t, testSecret, "k", nil))
	if !strings.Contains(set, `"oct"`) {
		t.Fatalf("no symmetric key in %s", set)
	}
	v := serveSet(t, set)
	for _, kid := range []string{"k", ""} {
		mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, testSecret, kid, user7()), domain.CodeUnauthenticated)
	}
}

func TestAnUnusableKeyDoesNotHideTheOthers(t *testing.T) {
	key := newECKey(elliptic.P256())
	for name, bad := range map[string]string{
		"unknown kind":  `{"kty":"LWE","kid":"k"}`,
		"unknown curve": `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		"off the curve": `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`,
		"wrong type":    `{"kty":7}`,
		"no object":     `"key"`,
		"null":          `null`,
		"weak RSA":      string(jwk(t, newRSAKey(1024).Public(), "weak", nil)),
		"symmetric":     string(jwk(t, testSecret, "s", nil)),
	} {
		t.Run(name, func(t *testing.T) {
			v := serveSet(t, jwks(t, json.RawMessage(bad), jwk(t, key.Public(), "k", nil)))
			mustAccept(t, v, sign(t, jwt.SigningMethodES256, key, "k", user7()), 7)
		})
	}
}

func TestTheSecretWorksWhileTheSetIsAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // accepts by its backlog, and never answers
	v := newVerifier(t, Options{Secret: testSecret, JWKSURL: "http://" + listener.Addr().String()})
	mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", user7()), 7)
	mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", user7()), domain.CodeUnauthenticated)
	mustRefuse(t, v, "garbage", domain.CodeUnauthenticated)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = v.Verify(ctx, sign(t, jwt.SigningMethodRS256, rsaKey(), "k", user7()))
	if domain.CodeOf(err) != domain.CodeUnavailable {
		t.Fatalf("%v, want %s", err, domain.CodeUnavailable)
	}
}

func TestCloseEndsALoadThatHangs(t *testing.T) {
	asked := make(chan struct{})
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	defer server.Close()
	defer close(release)
	v, err := New(Options{JWKSURL: server.URL, Refresh: refresh, MaxAge: maxAge, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	v.Close()
	v.Close() // again is no error
	select {
	case <-v.remote.ended:
	default:
		t.Fatal("the loading goroutine was not joined")
	}
}

// publisher is a JWK Set's server without a network, so that a test's clock may be a bubble's.
type publisher struct {
	mu     sync.Mutex
	answer func() (*http.Response, error)
	asked  atomic.Int64
}

func (p *publisher) publish(status int, body string) {
	p.set(func() (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
}

func (p *publisher) set(answer func() (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *publisher) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked.Add(1)
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return answer()
}

// bubble runs f with a verifier whose set p publishes, on a clock that moves only while everybody waits.
func bubble(t *testing.T, p *publisher, f func(t *testing.T, v *Verifier)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := Options{Secret: testSecret}
		v := newVerifier(t, o)
		v.remote = newRemoteKeys("http://127.0.0.1/jwks", p, refresh, maxAge, silent)
		v.sources = append(v.sources, v.remote)
		v.configure(o, append(slices.Clone(symmetricAlgorithms), asymmetricAlgorithms...))
		f(t, v)
	})
}

// mustHaveBeenAsked fails unless the publisher was asked so often so far.
func (p *publisher) mustHaveBeenAsked(t *testing.T, times int64) {
	t.Helper()
	synctest.Wait()
	if asked := p.asked.Load(); asked != times {
		t.Fatalf("the set was asked for %d times, want %d", asked, times)
	}
}

func TestTokensAreUnavailableUntilTheFirstSetIsThere(t *testing.T) {
	key := newECKey(elliptic.P256())
	set := jwks(t, jwk(t, key.Public(), "k", nil))
	for name, answer := range map[string]func() (*http.Response, error){
		"hangs":         nil,
		"refuses":       func() (*http.Response, error) { return nil, errors.New("connection refused") },
		"fails":         respond(500, set),
		"redirects":     respond(302, set),
		"empty":         respond(200, ""),
		"no JSON":       respond(200, "<html>"),
		"no set":        respond(200, `{}`),
		"null":          respond(200, `null`),
		"no list":       respond(200, `{"keys":{}}`),
		"two documents": respond(200, set+set),
		"huge":          respond(200, set+strings.Repeat(" ", jwksMaxBytes)),
		"endless": func() (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(blanks{})}, nil
		},
		"many keys": respond(200, `{"keys":[`+strings.Repeat(`{},`, jwksMaxKeys)+`{}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			p := &publisher{}
			p.set(answer)
			bubble(t, p, func(t *testing.T, v *Verifier) {
				token := sign(t, jwt.SigningMethodES256, key, "k", user7())
				before := time.Now()
				mustRefuse(t, v, token, domain.CodeUnavailable)
				if waited := time.Since(before); waited > keyWait {
					t.Fatalf("the refusal took %v", waited)
				}
				p.publish(200, set)
				time.Sleep(jwksTimeout + retryFirst)
				synctest.Wait()
				mustAccept(t, v, token, 7)
			})
		})
	}
}

func respond(status int, body string) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://127.0.0.2/"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestAFailedLoadIsRepeatedWithGrowingPauses(t *testing.T) {
	p := &publisher{}
	p.publish(500, "")
	bubble(t, p, func(t *testing.T, v *Verifier) {
		p.mustHaveBeenAsked(t, 1)
		asked := int64(1)
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			time.Sleep(pause*time.Second - 1)
			p.mustHaveBeenAsked(t, asked)
			time.Sleep(1)
			asked++
			p.mustHaveBeenAsked(t, asked)
		}
	})
}

func TestANewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	first, second := newECKey(elliptic.P256()), newEdKey()
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, first.Public(), "first", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		mustAccept(t, v, sign(t, jwt.SigningMethodES256, first, "first", user7()), 7)
		time.Sleep(jwksPause)
		p.mustHaveBeenAsked(t, 1)
		p.publish(200, jwks(t, jwk(t, second.Public(), "second", nil)))
		mustAccept(t, v, sign(t, jwt.SigningMethodEdDSA, second, "second", user7()), 7)
		p.mustHaveBeenAsked(t, 2)
		// What the new set lacks is forgotten.
		mustRefuse(t, v, sign(t, jwt.SigningMethodES256, first, "first", user7()), domain.CodeUnauthenticated)
	})
}

func TestUnknownKeysDoNotCauseMoreThanOneLoadAPause(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		p.mustHaveBeenAsked(t, 1)
		const pauses = 5
		for i := range int(pauses * jwksPause / (100 * time.Millisecond)) {
			before := time.Now()
			mustRefuse(t, v, sign(t, jwt.SigningMethodES256, key, fmt.Sprint("unknown", i), user7()), domain.CodeUnauthenticated)
			if waited := time.Since(before); waited > 0 {
				t.Fatalf("a token with an unknown key waited %v", waited)
			}
			time.Sleep(100 * time.Millisecond)
		}
		p.mustHaveBeenAsked(t, 1+pauses)
		mustAccept(t, v, sign(t, jwt.SigningMethodES256, key, "k", user7()), 7)
	})
}

func TestAWishDuringThePauseIsMetWhenItIsOver(t *testing.T) {
	first, second := newECKey(elliptic.P256()), newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, first.Public(), "first", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		p.mustHaveBeenAsked(t, 1)
		p.publish(200, jwks(t, jwk(t, second.Public(), "second", nil)))
		token := sign(t, jwt.SigningMethodES256, second, "second", user7())
		mustRefuse(t, v, token, domain.CodeUnauthenticated)
		time.Sleep(jwksPause)
		p.mustHaveBeenAsked(t, 2)
		mustAccept(t, v, token, 7)
	})
}

func TestASetIsLoadedAgainWhenItIsOld(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		token := sign(t, jwt.SigningMethodES256, key, "k", user7())
		mustAccept(t, v, token, 7)
		p.publish(200, jwks(t, jwk(t, newEdKey().Public(), "new", nil))) // the old key is withdrawn
		time.Sleep(refresh - 1)
		p.mustHaveBeenAsked(t, 1)
		mustAccept(t, v, token, 7)
		time.Sleep(1)
		p.mustHaveBeenAsked(t, 2)
		mustRefuse(t, v, token, domain.CodeUnauthenticated)
	})
}

func TestALastSetThatIsTooOldDoesNotCount(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		token := sign(t, jwt.SigningMethodES256, key, "k", jwt.MapClaims{"user_id": 7, "exp": time.Now().Add(2 * maxAge).Unix()})
		p.mustHaveBeenAsked(t, 1)
		p.publish(500, "")
		time.Sleep(maxAge - 1)
		mustAccept(t, v, token, 7)
		if err := v.Ready(t.Context()); err != nil {
			t.Fatalf("not ready while tokens are verified: %v", err)
		}
		time.Sleep(1)
		mustRefuse(t, v, token, domain.CodeUnavailable)
		if err := v.Ready(t.Context()); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Fatalf("ready with a set that does not count: %v", err)
		}
		// The other source of keys goes on, and the set recovers by itself.
		mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", user7()), 7)
		p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
		time.Sleep(retryMost)
		synctest.Wait()
		mustAccept(t, v, token, 7)
		if err := v.Ready(t.Context()); err != nil {
			t.Fatalf("not ready after the set was loaded: %v", err)
		}
	})
}

func TestAVerifierIsReadyOnceItHasKeys(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.set(func() (*http.Response, error) {
		return nil, errors.New("connection refused by http://user:s3cret@host")
	})
	bubble(t, p, func(t *testing.T, v *Verifier) {
		synctest.Wait()
		err := v.Ready(t.Context())
		if domain.CodeOf(err) != domain.CodeUnavailable || strings.Contains(err.Error(), "s3cret") {
			t.Fatalf("never loaded: %v", err)
		}
		p.publish(200, jwks(t))
		time.Sleep(retryMost)
		synctest.Wait()
		if err := v.Ready(t.Context()); !errors.Is(err, errKeysUseless) {
			t.Fatalf("an empty set: %v", err)
		}
		p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
		time.Sleep(refresh)
		synctest.Wait()
		if err := v.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if err := newVerifier(t, Options{Secret: testSecret}).Ready(t.Context()); err != nil {
		t.Fatalf("without a key set: %v", err)
	}
}

func TestTheLastSetCountsWhileNoNewOneCanBeLoaded(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		token := sign(t, jwt.SigningMethodES256, key, "k", user7())
		mustAccept(t, v, token, 7)
		p.publish(500, "")
		time.Sleep(10 * refresh)
		mustAccept(t, v, token, 7)
		mustRefuse(t, v, sign(t, jwt.SigningMethodES256, key, "other", user7()), domain.CodeUnauthenticated)
	})
}

func TestAHangingLoadHoldsATokenNoLongerThanItsWait(t *testing.T) {
	key := newECKey(elliptic.P256())
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, key.Public(), "k", nil)))
	bubble(t, p, func(t *testing.T, v *Verifier) {
		time.Sleep(jwksPause)
		synctest.Wait()
		p.set(nil)
		before := time.Now()
		mustRefuse(t, v, sign(t, jwt.SigningMethodES256, key, "other", user7()), domain.CodeUnauthenticated)
		if waited := time.Since(before); waited != keyWait {
			t.Fatalf("waited %v, want %v", waited, keyWait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := v.Verify(ctx, sign(t, jwt.SigningMethodES256, key, "other", user7())); err == nil {
			t.Fatal("accepted")
		}
		if waited := time.Since(before); waited != keyWait+time.Second {
			t.Fatalf("the caller's deadline was not kept: %v", waited)
		}
		mustAccept(t, v, sign(t, jwt.SigningMethodES256, key, "k", user7()), 7)
	})
}

// The brokenness of a set says nothing about a token, so a set without a usable key is as good as none.
func TestASetWithoutAUsableKeyTellsNothingAboutTokens(t *testing.T) {
	key := newECKey(elliptic.P256())
	good := jwks(t, jwk(t, key.Public(), "k", nil))
	for name, set := range map[string]string{
		"empty":         jwks(t),
		"symmetric":     jwks(t, jwk(t, testSecret, "k", nil)),
		"no signatures": jwks(t, jwk(t, key.Public(), "k", map[string]any{"use": "enc"})),
	} {
		t.Run(name, func(t *testing.T) {
			p := &publisher{}
			p.publish(200, set)
			bubble(t, p, func(t *testing.T, v *Verifier) {
				token := sign(t, jwt.SigningMethodES256, key, "k", user7())
				refusedByNobody := func() {
					t.Helper()
					mustRefuse(t, v, token, domain.CodeUnavailable)
					if _, err := v.Recheck(t.Context(), token); domain.CodeOf(err) != domain.CodeUnavailable {
						t.Errorf("rechecked: %v", err)
					}
					mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", user7()), 7)
					// No key of a set verifies these.
					other := []byte(strings.Repeat("x", 32))
					mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, other, "", user7()), domain.CodeUnauthenticated)
				}
				refusedByNobody() // from the start
				p.publish(200, good)
				time.Sleep(refresh)
				synctest.Wait()
				mustAccept(t, v, token, 7)
				p.publish(200, set)
				time.Sleep(refresh)
				synctest.Wait()
				refusedByNobody() // after a good one
			})
		})
	}
}
