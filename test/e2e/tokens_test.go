package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/fasthttp/websocket"
	"github.com/golang-jwt/jwt/v5"

	"chatting/test/harness"
)

// provider is an identity provider: it publishes keys and signs tokens.
type provider struct {
	mu   sync.Mutex
	sets map[string]*ecdsa.PrivateKey // what it publishes, by kid; nil: it answers 500
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publish replaces the key set.
func (p *provider) publish(keys map[string]*ecdsa.PrivateKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets = keys
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sets == nil {
		http.Error(w, "away", http.StatusInternalServerError)
		return
	}
	set := jwkset.NewMemoryStorage()
	for kid, key := range p.sets {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		if err == nil {
			err = set.KeyWrite(r.Context(), jwk)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
			return
		}
	}
	text, err := set.JSONPublic(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusTeapot)
		return
	}
	w.Write(text)
}

func signToken(t *testing.T, key *ecdsa.PrivateKey, kid string, further jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": "https://id.example", "aud": []string{"shop", "chat"}, "uid": "7", "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range further {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = kid
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// ask sends a GET and returns the answer.
func ask(t *testing.T, addr, path, token string) (status int, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func mustBeRefused(t *testing.T, addr, token string) {
	t.Helper()
	c, err := connect(addr, token)
	var closed *websocket.CloseError
	if err == nil {
		c.Close()
	}
	if !errors.As(err, &closed) || closed.Code != 3401 {
		t.Fatalf("the login ends with %v, want close code 3401", err)
	}
	if status, body := ask(t, addr, "/api/chatting/blockedusers/", token); status != http.StatusUnauthorized {
		t.Fatalf("REST answers %d %s, want 401", status, body)
	}
}

// awaitWarning waits until the log has a warning with these words, and returns all warnings.
func awaitWarning(t *testing.T, node *harness.Node, words string) (log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	harness.Until(ctx, t, "a warning with "+words, func() bool {
		log = node.Warnings()
		return strings.Contains(log, words)
	})
	return log
}

func TestAKeySetThatCannotBeLoadedFailsReadinessUntilItCan(t *testing.T) {
	first := newKey(t)
	keys := &provider{}
	server := httptest.NewServer(keys)
	defer server.Close()
	address := strings.Replace(server.URL, "http://", "http://reader:s3cret@", 1)
	node := harness.StartNode(t, t.TempDir(), embedded("CHATTING_JWKS_URL="+address)...)
	token := signToken(t, first, "first", jwt.MapClaims{"user_id": 7})

	status, body := ask(t, node.HTTP, "/readyz", "")
	var answer struct{ Checks map[string]string }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusServiceUnavailable || answer.Checks["keys"] == "" || answer.Checks["keys"] == "ok" || answer.Checks["broker"] != "ok" {
		t.Fatalf("/readyz answers %d %s", status, body)
	}
	if status, _ := ask(t, node.HTTP, "/healthz", ""); status != http.StatusOK {
		t.Fatalf("/healthz answers %d", status)
	}
	if status, body := ask(t, node.HTTP, "/api/chatting/blockedusers/", token); status != http.StatusServiceUnavailable {
		t.Fatalf("REST answers %d %s", status, body)
	}

	keys.publish(map[string]*ecdsa.PrivateKey{"first": first})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	harness.Until(ctx, t, "readiness", func() bool {
		status, _ := ask(t, node.HTTP, "/readyz", "")
		return status == http.StatusOK
	})
	mustConnect(t, node.HTTP, token)
	if log := awaitWarning(t, node, "JWK set could not be loaded"); strings.Contains(log+body, "s3cret") {
		t.Fatalf("the password is in the log or in the answer %s\n%s", body, log)
	}
}

func TestTokensAreHeldAgainstTheOptionsAndTheKeysOfTheMoment(t *testing.T) {
	const every = 2 * time.Second
	first, second := newKey(t), newKey(t)
	keys := &provider{}
	keys.publish(map[string]*ecdsa.PrivateKey{"first": first})
	server := httptest.NewServer(keys)
	defer server.Close()
	node := harness.StartNode(t, t.TempDir(), embedded(
		"CHATTING_JWKS_URL="+server.URL, "CHATTING_JWKS_REFRESH="+every.String(), "CHATTING_WEBSOCKET_TOKEN_RECHECK="+every.String(),
		"CHATTING_JWT_ISSUER=https://id.example", "CHATTING_JWT_AUDIENCE=chat,lobby", "CHATTING_JWT_USER_CLAIM=uid",
	)...)
	old := signToken(t, first, "first", nil)
	c := mustConnect(t, node.HTTP, old)
	if c.User != 7 {
		t.Fatalf("logged in as %d", c.User)
	}
	for reason, further := range map[string]jwt.MapClaims{
		"not an access token": {"typ": "Refresh"},
		"wrong issuer":        {"iss": "https://elsewhere.example"},
		"wrong audience":      {"aud": "shop"},
		"no user claim":       {"uid": "someone"},
		"expired":             {"exp": time.Now().Add(-time.Minute).Unix()},
	} {
		token := signToken(t, first, "first", further)
		mustBeRefused(t, node.HTTP, token)
		log := awaitWarning(t, node, `"token refused: `+reason)
		if !strings.Contains(log, `"address":"127.0.0.1"`) {
			t.Errorf("the log names no address:\n%s", log)
		}
		for _, part := range strings.Split(token, ".")[1:] {
			if strings.Contains(log, part) {
				t.Errorf("the log holds a part of the token:\n%s", log)
			}
		}
	}

	// What is no token at all is logged, too.
	if _, err := harness.ConnectWith(node.HTTP, map[string]any{"token": 7}); !websocket.IsCloseError(err, 3401) {
		t.Fatalf("a login without a token ends with %v", err)
	}
	if status, body := ask(t, node.HTTP, "/api/chatting/blockedusers/", "two words"); status != http.StatusUnauthorized {
		t.Fatalf("REST answers %d %s, want 401", status, body)
	}
	awaitWarning(t, node, "the first frame holds no token")
	awaitWarning(t, node, "its Authorization holds no bearer token")

	// A new key is used, a withdrawn one refused, and the connection that it had let in ends.
	keys.publish(map[string]*ecdsa.PrivateKey{"second": second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.At(ctx, len(c.Frames())); !websocket.IsCloseError(err, 3401) {
		t.Fatalf("the connection of the withdrawn key ends with %v", err)
	}
	mustBeRefused(t, node.HTTP, old)
	mustConnect(t, node.HTTP, signToken(t, second, "second", nil))
}
