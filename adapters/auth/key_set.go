package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// keySet is one loaded JWK Set.
type keySet struct {
	keys    map[string][]namedKey // by the algorithm that they may verify, in the order of the set
	usable  int
	skipped int // keys of the set that are not usable
	loaded  time.Time
}

// namedKey is a public key and its kid, "" for none.
type namedKey struct {
	kid string
	key jwt.VerificationKey
}

// find returns the keys that may have signed the token: those that it names by its kid, which may be several, or without a
// kid all of its algorithm.
func (s *keySet) find(token *jwt.Token) []jwt.VerificationKey {
	kid, named := token.Header["kid"]
	var found []jwt.VerificationKey
	for _, candidate := range s.keys[token.Method.Alg()] {
		if !named || kid == candidate.kid {
			found = append(found, candidate.key)
		}
	}
	return found
}

// parseKeySet reads a JWK Set. Keys that are malformed, symmetric, of an unknown kind or not for signatures are counted
// as skipped (RFC 7517 §5 wants that of unknown kinds). A set without a usable key is a set: the keys of the
// last one no longer verify tokens.
func parseKeySet(body []byte) (*keySet, error) {
	var document struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, errors.New("the answer is no JWK set")
	}
	if document.Keys == nil {
		return nil, errors.New("the answer is no JWK set: it has no keys member")
	}
	if len(*document.Keys) > jwksMaxKeys {
		return nil, fmt.Errorf("the set has %d keys, %d are the most", len(*document.Keys), jwksMaxKeys)
	}
	set := &keySet{keys: make(map[string][]namedKey)}
	for _, raw := range *document.Keys {
		// Private false: what a private key has beyond its public half is not read, and symmetric keys are refused.
		key, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{Private: false}, jwkset.JWKValidateOptions{})
		if err != nil {
			set.skipped++
			continue
		}
		algorithms := usableFor(key)
		if len(algorithms) == 0 {
			set.skipped++
			continue
		}
		set.usable++
		for _, algorithm := range algorithms {
			set.keys[algorithm] = append(set.keys[algorithm], namedKey{kid: key.Marshal().KID, key: key.Key()})
		}
	}
	return set, nil
}

// usableFor returns the algorithms that a key of a set may verify: those of its kind, only the one it names if it names
// one, and none where its use or operations exclude verifying (RFC 7517 §4.2 to §4.4).
func usableFor(key jwkset.JWK) []string {
	described := key.Marshal()
	if described.USE != "" && described.USE != jwkset.UseSig {
		return nil
	}
	if len(described.KEYOPS) > 0 && !slices.Contains(described.KEYOPS, jwkset.KeyOpsVerify) {
		return nil
	}
	algorithms, err := algorithmsOf(key.Key())
	if err != nil {
		return nil
	}
	if described.ALG == "" {
		return algorithms
	}
	if named := described.ALG.String(); slices.Contains(algorithms, named) {
		return []string{named}
	}
	return nil
}
