package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// The bounds of an RSA modulus: below, RFC 7518 §3.3 forbids it; above, a verification costs too much.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

var (
	symmetricAlgorithms  = []string{"HS256", "HS384", "HS512"}
	rsaAlgorithms        = []string{"RS256", "RS384", "RS512"}
	asymmetricAlgorithms = append(slices.Clone(rsaAlgorithms), "ES256", "ES384", "ES512", "EdDSA")
)

// algorithmsOf returns the algorithms that a public key may verify. The library checks the type of a key, but not that
// the curve is the algorithm's. Errors tell which keys would do.
func algorithmsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key has %d to %d bits, this one has %d", minRSABits, maxRSABits, bits)
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
		return nil, errors.New("the curve of an ECDSA key is P-256, P-384 or P-521")
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	default:
		return nil, fmt.Errorf("a key is RSA, ECDSA or Ed25519, not %T", key)
	}
}

// localKeys are the keys at hand, by the algorithms that they may verify.
type localKeys map[string][]jwt.VerificationKey

func (l localKeys) algorithms() []string { return slices.Sorted(maps.Keys(l)) }

// find implements keySource. It does not look at kid: local keys have no names.
func (l localKeys) find(_ context.Context, token *jwt.Token) ([]jwt.VerificationKey, error) {
	return l[token.Method.Alg()], nil
}

// addSecret adds a symmetric key. RFC 7518 §3.2 asks for as many bytes as the hash has; what a short key lacks is
// accepted for HS384 and HS512, which are then as strong as HS256 with the same key.
func (l localKeys) addSecret(secret []byte) error {
	if err := checkSecret(secret); err != nil {
		return err
	}
	for _, algorithm := range symmetricAlgorithms {
		l[algorithm] = append(l[algorithm], slices.Clone(secret))
	}
	return nil
}

func (l localKeys) addPublicKeyFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the public key for tokens: %w", err)
	}
	key, err := parsePublicKey(text)
	if err != nil {
		return fmt.Errorf("the public key for tokens in %s: %w", path, err)
	}
	algorithms, err := algorithmsOf(key)
	if err != nil {
		return fmt.Errorf("the public key for tokens in %s: %w", path, err)
	}
	for _, algorithm := range algorithms {
		l[algorithm] = append(l[algorithm], key)
	}
	return nil
}

// parsePublicKey reads exactly one PEM block (RFC 7468): with a second one, which of them counts would be a guess.
func parsePublicKey(text []byte) (any, error) {
	block, rest := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no PEM file")
	}
	if another, _ := pem.Decode(rest); another != nil {
		return nil, errors.New("it holds more than one PEM block: one public key or one certificate is needed")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	default:
		return nil, fmt.Errorf("it holds a block %q: a public key or a certificate is needed", block.Type)
	}
}
