package auth

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// roundTripper is a function that answers requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestARedirectToAnotherSetIsNotFollowed: whoever can redirect would name the keys.
func TestARedirectToAnotherSetIsNotFollowed(t *testing.T) {
	key := newECKey(elliptic.P256())
	for _, status := range []int{301, 302, 303, 307, 308} {
		var asked []string
		elsewhere := roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			if r.URL.Host == "id.example" {
				return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://evil.example/jwks"}}, Body: http.NoBody}, nil
			}
			set := strings.NewReader(jwks(t, jwk(t, key.Public(), "k", nil)))
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(set)}, nil
		})
		synctest.Test(t, func(t *testing.T) {
			r := newRemoteKeys("http://id.example/jwks", elsewhere, refresh, maxAge, silent)
			defer r.close()
			synctest.Wait()
			if err := r.ready(); !errors.Is(err, errKeysAway) {
				t.Errorf("status %d: %v", status, err)
			}
			if len(asked) != 1 {
				t.Errorf("status %d: asked %v", status, asked)
			}
		})
	}
}

// logged takes log lines of another goroutine.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines returns those since the last call.
func (l *logged) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

// TestTheLogTellsAboutTheKeySetOnce: a line when it is loaded, and again after a failure; with what of it is of no use, and
// without what the URL holds.
func TestTheLogTellsAboutTheKeySetOnce(t *testing.T) {
	var log logged
	p := &publisher{}
	set := jwks(t, jwk(t, newEdKey().Public(), "k", nil), jwk(t, newECKey(elliptic.P256()).Public(), "enc", map[string]any{"use": "enc"}),
		[]byte(`{"kty":"LWE"}`), []byte(`{"kty":"LWE"}`))
	p.publish(200, set)
	synctest.Test(t, func(t *testing.T) {
		r := newRemoteKeys("http://user:s3cret@id.example/jwks?sig=s3cret", p, refresh, maxAge, slog.New(slog.NewTextHandler(&log, nil)))
		lines := func(want ...string) {
			t.Helper()
			synctest.Wait()
			got := log.lines()
			if len(got) != len(want) {
				t.Fatalf("%d lines, want %d: %s", len(got), len(want), got)
			}
			for i, line := range got {
				if !strings.Contains(line, want[i]) || strings.Contains(line, "s3cret") {
					t.Errorf("%s, want %q and no secret", line, want[i])
				}
			}
		}
		lines("keys=1 unusable=3")
		time.Sleep(2 * refresh)
		lines("") // no more
		p.set(func() (*http.Response, error) { return nil, syscall.ECONNREFUSED })
		time.Sleep(refresh)
		lines(`error="connection refused" again_in=1s`)
		time.Sleep(time.Second)
		lines("again_in=2s")
		p.publish(200, set)
		time.Sleep(2 * time.Second)
		lines("keys=1 unusable=3")
		p.publish(503, "")
		time.Sleep(refresh)
		lines("status 503\" again_in=1s") // the pauses begin anew
		r.close()
	})
}

func TestTheKeySetIsAskedForAsOne(t *testing.T) {
	requests := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		http.Error(w, "", 500)
	}))
	defer server.Close()
	newVerifier(t, Options{JWKSURL: server.URL + "/jwks?a=b"})
	r := <-requests
	if r.Method != "GET" || r.URL.String() != "/jwks?a=b" || r.Header.Get("Accept") != "application/jwk-set+json, application/json" {
		t.Errorf("%s %s, %v", r.Method, r.URL, r.Header)
	}
}

func TestAKeySetMayBeAsLargeAsTheBoundAndNotLarger(t *testing.T) {
	key := newEdKey()
	set := jwks(t, jwk(t, key.Public(), "k", nil))
	fill := strings.Repeat(" ", jwksMaxBytes-len(set))
	mustAccept(t, serveSet(t, set+fill), sign(t, jwt.SigningMethodEdDSA, key, "k", user7()), 7)
	load := func(handler http.HandlerFunc) error {
		server := httptest.NewServer(handler)
		defer server.Close()
		v := newVerifier(t, Options{JWKSURL: server.URL})
		v.remote.awaitLoad(t.Context())
		return v.Ready(t.Context())
	}
	if err := load(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, set+fill+" ") }); !errors.Is(err, errKeysAway) {
		t.Errorf("a byte more: %v", err)
	}
	if err := load(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*jwksMaxBytes))
		io.WriteString(w, set)
	}); !errors.Is(err, errKeysAway) {
		t.Errorf("with a header of 2 MiB: %v", err)
	}
	keys := make([]string, jwksMaxKeys)
	for i := range keys {
		keys[i] = "{}"
	}
	if _, err := parseKeySet([]byte(`{"keys":[` + strings.Join(keys, ",") + `]}`)); err != nil {
		t.Errorf("as many keys as there may be: %v", err)
	}
}

// TestCloseLeavesNoConnection to the server of the key set.
func TestCloseLeavesNoConnection(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, jwks(t)) }))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	v := newVerifier(t, Options{JWKSURL: server.URL})
	v.remote.awaitLoad(t.Context())
	v.Close()
	<-closed
}

// TestAKeyElsewhereMayBeTheTokens: while the set is away, what the local key of the same kind says is not the last word.
func TestAKeyElsewhereMayBeTheTokens(t *testing.T) {
	p := &publisher{}
	p.publish(500, "")
	local, published := newECKey(elliptic.P256()), newECKey(elliptic.P256())
	synctest.Test(t, func(t *testing.T) {
		o := Options{Secret: testSecret, PublicKeyFile: pkixFile(t, local.Public())}
		v := newVerifier(t, o)
		v.remote = newRemoteKeys("http://127.0.0.1/jwks", p, refresh, maxAge, silent)
		v.sources = append(v.sources, v.remote)
		v.configure(o, append([]string{"HS256"}, asymmetricAlgorithms...))
		token := sign(t, jwt.SigningMethodES256, published, "k", user7())
		mustRefuse(t, v, token, domain.CodeUnavailable)
		mustAccept(t, v, sign(t, jwt.SigningMethodES256, local, "k", user7()), 7)
		// No set verifies what a secret has signed.
		mustRefuse(t, v, sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", user7()), domain.CodeUnauthenticated)
		p.publish(200, jwks(t, jwk(t, published.Public(), "k", nil)))
		time.Sleep(retryMost)
		synctest.Wait()
		mustAccept(t, v, token, 7)
		if reason, _ := reasonOf(t, v, sign(t, jwt.SigningMethodES256, newECKey(elliptic.P256()), "other", user7())); reason != application.RefusedSignature {
			t.Errorf("a key that neither has: %q", reason) // that of the local key says more than "unknown"
		}
	})
}

// TestARefreshWithinThePauseIsKept: the pause after a load is no longer than the refresh.
func TestARefreshWithinThePauseIsKept(t *testing.T) {
	p := &publisher{}
	p.publish(200, jwks(t, jwk(t, newEdKey().Public(), "k", nil)))
	synctest.Test(t, func(t *testing.T) {
		r := newRemoteKeys("http://127.0.0.1/jwks", p, 3*time.Second, maxAge, silent)
		defer r.close()
		for i := range int64(4) {
			p.mustHaveBeenAsked(t, i+1)
			time.Sleep(3 * time.Second)
		}
	})
}

func TestAJWKSURLNeedsItsTimesAndAScheme(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no refresh":       {Options{JWKSURL: server.URL, MaxAge: 1}, "needs times"},
		"no age":           {Options{JWKSURL: server.URL, Refresh: 1}, "needs times"},
		"negative refresh": {Options{JWKSURL: server.URL, Refresh: -1, MaxAge: 1}, "needs times"},
		"negative age":     {Options{JWKSURL: server.URL, Refresh: 1, MaxAge: -1}, "needs times"},
		"no scheme":        {Options{JWKSURL: "example.com/jwks", Refresh: 1, MaxAge: 1}, "absolute http or https URL"},
		"file":             {Options{JWKSURL: "file://localhost/etc/jwks", Refresh: 1, MaxAge: 1}, "absolute http or https URL"},
		"no host":          {Options{JWKSURL: "http:///jwks", Refresh: 1, MaxAge: 1}, "absolute http or https URL"},
		"unreadable":       {Options{JWKSURL: "http://x\x7f:s3cret@", Refresh: 1, MaxAge: 1}, "absolute http or https URL"},
	} {
		c.o.Logger = silent
		v, err := New(c.o)
		if err == nil {
			v.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"http://127.0.0.1:1/jwks", "https://127.0.0.1:1/jwks", "HTTPS://127.0.0.1:1"} {
		newVerifier(t, Options{JWKSURL: url, Refresh: time.Hour, MaxAge: time.Hour})
	}
}

func TestRSAKeysAreNeitherWeakNorSlow(t *testing.T) {
	for bits, good := range map[uint]bool{2047: false, 2048: true, 8192: true, 8193: false} {
		key := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}
		if _, err := algorithmsOf(key); (err == nil) != good {
			t.Errorf("%d bits: %v", bits, err)
		}
	}
}

func TestATokenMayBeAsLongAsTheBoundAndNotLonger(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	exp := time.Now().Add(time.Hour).Unix()
	found := make(map[int]bool)
	for pad := range 6 { // base64 has no text of some lengths, so the header and the claims make up the length
		for fill := MaxTokenBytes*3/4 - 200; len(found) < 2 && fill < MaxTokenBytes*3/4; fill++ {
			token := signRaw(`{"alg":"HS256","x":"`+strings.Repeat("x", pad)+`"}`,
				fmt.Sprintf(`{"user_id":7,"exp":%d,"x":"%s"}`, exp, strings.Repeat("x", fill)), testSecret)
			switch {
			case len(token) == MaxTokenBytes && !found[0]:
				found[0] = true
				mustAccept(t, v, token, 7)
			case len(token) == MaxTokenBytes+1 && !found[1]:
				found[1] = true
				if _, err := v.Verify(t.Context(), token); messageOf(err) != "The token is too long." {
					t.Errorf("a byte more: %v", err)
				}
			}
		}
	}
	if len(found) != 2 {
		t.Fatal("there is no such token")
	}
}

func TestTimesAreTakenFromThe1970sToTheYear9999(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	for claims, want := range map[string]application.RefusalReason{
		`"exp":253402300799`:               "",
		`"exp":253402300800`:               application.RefusedTimes,
		`"exp":0`:                          application.RefusedExpired,
		`"exp":-1`:                         application.RefusedTimes,
		`"exp":253402300799,"nbf":0`:       "",
		`"exp":253402300799,"nbf":-1`:      application.RefusedTimes,
		`"exp":253402300799,"nbf":"0"`:     application.RefusedTimes,
		`"exp":253402300799,"nbf":1e11`:    application.RefusedTooEarly,
		`"exp":253402300799,"iat":"never"`: "", // has no part in it
		`"nbf":0`:                          application.RefusedTimes,
		`"exp":null`:                       application.RefusedTimes,
	} {
		if got, _ := reasonOf(t, v, signRaw(`{"alg":"HS256"}`, `{"user_id":7,`+claims+`}`, testSecret)); got != want {
			t.Errorf("{%s}: %q, want %q", claims, got, want)
		}
	}
	now := time.Unix(maxNumericDate-3600, 0)
	if _, err := MintHS256(testSecret, 7, time.Hour, now, Required{}); err != nil {
		t.Errorf("a token up to the end of the year 9999: %v", err)
	}
	if _, err := MintHS256(testSecret, 7, time.Hour+1, now, Required{}); err == nil {
		t.Error("a token beyond it is minted")
	}
}

// TestTheReasonIsTheAudienceWhereAnyIssuerWillDo: operators look at the claim that the log names.
func TestTheReasonIsTheAudienceWhereAnyIssuerWillDo(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret, Required: Required{Audiences: []string{"chat"}}})
	for _, claims := range []jwt.MapClaims{{"user_id": 7}, {"user_id": 7, "iss": "somebody"}, {"user_id": 7, "iss": 7}} {
		if reason, _ := reasonOf(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", claims)); reason != application.RefusedAudience {
			t.Errorf("%v: %q", claims, reason)
		}
	}
}

func TestOtherEventsAreNoLogout(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	const logout = "http://schemas.openid.net/event/backchannel-logout"
	for _, c := range []struct {
		events any
		want   application.RefusalReason
	}{
		{"summer", ""}, {[]any{"summer", 7, nil}, ""}, {[]any{}, ""}, {7, ""}, {map[string]any{"summer": logout}, ""},
		{[]any{"summer", logout}, application.RefusedUse}, {map[string]any{"summer": 1, logout: 1}, application.RefusedUse},
		{" HTTP" + logout[4:] + " ", application.RefusedUse},
	} {
		token := sign(t, jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"user_id": 7, "events": c.events})
		if reason, _ := reasonOf(t, v, token); reason != c.want {
			t.Errorf("%v: %q", c.events, reason)
		}
	}
}

// TestMintedTokensHoldWhatIsRequiredAsOthersReadIt: an integer as user_id, a string as any other claim.
func TestMintedTokensHoldWhatIsRequiredAsOthersReadIt(t *testing.T) {
	now := time.Unix(1_800_000_000, 1)
	for _, c := range []struct {
		required Required
		want     jwt.MapClaims
	}{
		{Required{}, jwt.MapClaims{"iat": 1.8e9, "exp": 1.8e9 + 61, "user_id": 7.0}},
		{Required{Issuer: "me", Audiences: []string{"a", "b"}, UserClaim: "sub"},
			jwt.MapClaims{"iat": 1.8e9, "exp": 1.8e9 + 61, "sub": "7", "iss": "me", "aud": "a"}},
		{Required{UserClaim: "user_id"}, jwt.MapClaims{"iat": 1.8e9, "exp": 1.8e9 + 61, "user_id": "7"}},
	} {
		token, err := MintHS256(testSecret, 7, time.Minute, now, c.required)
		if err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil || fmt.Sprint(claims) != fmt.Sprint(c.want) {
			t.Errorf("%+v: %v, %v", c.required, claims, err)
		}
	}
}

func TestSecretFilesAtTheirBounds(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		mode       os.FileMode
		good       bool
	}{
		"a secret as short as may be": {tokenSecret.file, strings.Repeat("s", MinSecretBytes), 0o600, true},
		"as large as may be":          {tokenSecret.file, strings.Repeat("s", maxSecretBytes), 0o600, true},
		"everybody may run it":        {tokenSecret.file, strings.Repeat("s", MinSecretBytes), 0o601, false},
		"a token as short as may be":  {S2STokenFile, strings.Repeat("t", minBearerBytes), 0o600, true},
		"a token that is shorter":     {S2STokenFile, strings.Repeat("t", minBearerBytes-1), 0o600, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, c.file)
		if err := errors.Join(os.WriteFile(path, []byte(c.text), 0o600), os.Chmod(path, c.mode)); err != nil {
			t.Fatal(err)
		}
		got, err := LoadOrCreateSecret(dir)
		if c.file == S2STokenFile {
			var token string
			token, err = LoadOrCreateS2SToken(dir)
			got = []byte(token)
		}
		if (err == nil) != c.good || c.good && string(got) != c.text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestATokenWaitsForALoadThatRuns, and a caller that gives up does not.
func TestATokenWaitsForALoadThatRuns(t *testing.T) {
	key := newEdKey()
	release := make(chan struct{})
	p := &publisher{}
	p.set(func() (*http.Response, error) {
		<-release
		return respond(200, jwks(t, jwk(t, key.Public(), "k", nil)))()
	})
	server := newRemoteKeys("http://127.0.0.1/jwks", p, refresh, maxAge, silent)
	defer server.close()
	token := &jwt.Token{Method: jwt.SigningMethodEdDSA, Header: map[string]any{"kid": "k"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if keys, err := server.find(ctx, token); err == nil {
		t.Errorf("%d keys of a set that has not come", len(keys))
	}
	close(release)
	server.awaitLoad(t.Context())
	if keys, err := server.find(ctx, token); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

// TestATokenHasOneSpelling: base64 would let the last letter of a signature be several.
func TestATokenHasOneSpelling(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	token := sign(t, jwt.SigningMethodHS256, testSecret, "", user7())
	mustAccept(t, v, token, 7)
	last := token[len(token)-1] // of its six bits two are no part of the signature
	for _, other := range []byte{last + 1, last + 2} {
		if reason, _ := reasonOf(t, v, token[:len(token)-1]+string(other)); reason != application.RefusedMalformed {
			t.Errorf("%c instead of %c: reason %q", other, last, reason)
		}
	}
}
