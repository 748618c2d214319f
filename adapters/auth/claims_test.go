package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"chatting/application"
	"chatting/domain"
)

// reasonOf returns why a token was refused and whom the log would name.
func reasonOf(t *testing.T, v *Verifier, token string) (application.RefusalReason, domain.UserID) {
	t.Helper()
	_, err := v.Verify(t.Context(), token)
	var refused *application.RefusedToken
	if !errors.As(err, &refused) {
		return "", 0
	}
	mustNotLeak(t, err, token)
	return refused.Reason, refused.User
}

func TestOnlyAccessTokensAreTaken(t *testing.T) {
	ec := newEdKey()
	v := serveSet(t, jwks(t, jwk(t, ec.Public(), "k", nil)), Options{Secret: testSecret})
	for marks, good := range map[string]bool{
		``:                             true,
		`"token_type":"access"`:        true,
		`"token_type":"Access"`:        true,
		`"token_type":"Bearer"`:        true,
		`"token_type":"refresh"`:       false,
		`"token_type":"sliding"`:       false, // SimpleJWT: it refreshes as well
		`"token_type":"id"`:            false,
		`"token_type":""`:              false,
		`"token_type":null`:            false,
		`"token_type":7`:               false,
		`"token_type":["access"]`:      false,
		`"token_type":{"access":true}`: false,
		`"token_use":"access"`:         true, // Cognito
		`"token_use":"id"`:             false,
		`"typ":"Bearer"`:               true, // Keycloak
		`"typ":"Refresh"`:              false,
		`"typ":"ID"`:                   false,
		`"typ":"Offline"`:              false,
		`"typ":"Logout"`:               false,
		`"typ":"DPoP"`:                 false, // it needs a proof, which nobody asks for here
		`"typ":"JWT"`:                  true,
		`"typ":"at+jwt"`:               true,
		`"typ":true`:                   false,
		`"use":"access"`:               true,
		`"use":"refresh"`:              false,
		`"type":"access"`:              true, // Flask-JWT-Extended
		`"type":"refresh"`:             false,
		`"type":"REFRESH"`:             false,
		`"type":"player"`:              true, // says something else
		`"type":7`:                     false,
		`"type":null`:                  false,
		`"type":{"refresh":true}`:      false,
		`"type":["refresh"]`:           false,
		`"type":["player","Refresh"]`:  false,
		`"type":["player",7]`:          false,
		`"type":["player"]`:            true,
		`"type":"refreshToken"`:        false,
		`"type":"Refresh Token"`:       false,
		`"type":"refresh_token"`:       false,
		`"type":"ID-Token"`:            false,
		`"type":"offline token"`:       false,
		`"type":"logout+token"`:        false,
		`"type":"refreshing player"`:   true,
		`"events":{"http://schemas.openid.net/event/backchannel-logout":{}}`: false,
		`"events":["http://schemas.openid.net/event/backchannel-logout"]`:    false,
		`"events":"http://schemas.openid.net/event/backchannel-logout"`:      false,
		`"events":{"https://game.example/summer":{}}`:                        true,
		`"events":null`:                        true,
		`"token_type":"access","typ":"ID"`:     false,
		`"token_type":"refresh","typ":"JWT"`:   false,
		`"TOKEN_TYPE":"refresh"`:               true, // names of claims have one spelling
		`"token_type":"access","use":"access"`: true,
	} {
		claims := jwt.MapClaims{"user_id": 7}
		if err := json.Unmarshal([]byte(`{`+marks+`}`), &claims); err != nil {
			t.Fatal(err)
		}
		// Whichever key signed it.
		for _, token := range []string{
			sign(t, jwt.SigningMethodHS256, testSecret, "", claims), sign(t, jwt.SigningMethodEdDSA, ec, "k", claims),
		} {
			reason, user := reasonOf(t, v, token)
			switch {
			case good && reason != "":
				t.Errorf("{%s}: refused, %s", marks, reason)
			case !good && (reason != application.RefusedUse || user != 7):
				t.Errorf("{%s}: reason %q, user %d", marks, reason, user)
			}
		}
	}
}

func TestTheHeaderNamesNoOtherUse(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	claims := fmt.Sprintf(`{"user_id":7,"exp":%d}`, time.Now().Add(time.Hour).Unix())
	for typ, good := range map[string]bool{
		`"JWT"`:                true,
		`"jwt"`:                true,
		`"at+jwt"`:             true,
		`"AT+JWT"`:             true,
		`"application/at+jwt"`: true,
		`"Application/JWT"`:    true,
		`"dpop+jwt"`:           false,
		`"logout+jwt"`:         false,
		`"secevent+jwt"`:       false,
		`"refresh+jwt"`:        false,
		`"id_token"`:           false,
		`"application/"`:       false,
		`""`:                   false,
		`null`:                 false,
		`7`:                    false,
		`["JWT"]`:              false,
	} {
		reason, _ := reasonOf(t, v, signRaw(`{"alg":"HS256","typ":`+typ+`}`, claims, testSecret))
		if good != (reason == "") || !good && reason != application.RefusedUse {
			t.Errorf("typ %s: reason %q", typ, reason)
		}
	}
	if reason, _ := reasonOf(t, v, signRaw(`{"alg":"HS256"}`, claims, testSecret)); reason != "" {
		t.Errorf("no typ: %q", reason)
	}
}

func TestIssuerAndAudienceAreRequiredOfTokensByAnyKey(t *testing.T) {
	ec := newEdKey()
	v := serveSet(t, jwks(t, jwk(t, ec.Public(), "k", nil)), Options{
		Secret: testSecret, Required: Required{Issuer: "https://id.example/", Audiences: []string{"chat", "lobby"}},
	})
	for claims, want := range map[string]application.RefusalReason{
		`"iss":"https://id.example/","aud":"chat"`:              "",
		`"iss":"https://id.example/","aud":"lobby"`:             "",
		`"iss":"https://id.example/","aud":["shop","chat"]`:     "",
		`"iss":"https://id.example/","aud":["shop"]`:            application.RefusedAudience,
		`"iss":"https://id.example/","aud":"CHAT"`:              application.RefusedAudience,
		`"iss":"https://id.example/","aud":"chat,lobby"`:        application.RefusedAudience,
		`"iss":"https://id.example/","aud":[]`:                  application.RefusedAudience,
		`"iss":"https://id.example/","aud":""`:                  application.RefusedAudience,
		`"iss":"https://id.example/","aud":7`:                   application.RefusedAudience,
		`"iss":"https://id.example/","aud":["chat",7]`:          application.RefusedAudience,
		`"iss":"https://id.example/","aud":null`:                application.RefusedAudience,
		`"iss":"https://id.example/"`:                           application.RefusedAudience,
		`"iss":"https://id.example","aud":"chat"`:               application.RefusedIssuer,
		`"iss":"https://evil.example/","aud":"chat"`:            application.RefusedIssuer,
		`"iss":["https://id.example/"],"aud":"chat"`:            application.RefusedIssuer,
		`"iss":"","aud":"chat"`:                                 application.RefusedIssuer,
		`"iss":null,"aud":"chat"`:                               application.RefusedIssuer,
		`"aud":"chat"`:                                          application.RefusedIssuer,
		`"ISS":"https://id.example/","aud":"chat"`:              application.RefusedIssuer,
		`"iss":"https://evil.example/","aud":"shop"`:            application.RefusedIssuer,
		`"iss":"https://id.example/","aud":"chat","nbf":7`:      "",
		`"iss":"https://id.example/","aud":"chat","nbf":9e10`:   application.RefusedTooEarly,
		`"iss":"https://id.example/","aud":"chat","exp":7`:      application.RefusedExpired,
		`"iss":"https://id.example/","aud":"chat","exp":1e300`:  application.RefusedTimes,
		`"iss":"https://id.example/","aud":"chat","exp":"soon"`: application.RefusedTimes,
	} {
		held := jwt.MapClaims{"user_id": 7}
		if err := json.Unmarshal([]byte(`{`+claims+`}`), &held); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{
			sign(t, jwt.SigningMethodHS256, testSecret, "", held), sign(t, jwt.SigningMethodEdDSA, ec, "k", held),
		} {
			reason, user := reasonOf(t, v, token)
			if reason != want || want != "" && user != 7 {
				t.Errorf("{%s}: reason %q, user %d, want %q", claims, reason, user, want)
			}
		}
	}
}

func TestTheUserClaimIsAnOption(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret, Required: Required{UserClaim: "uid"}})
	mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"uid": 7, "user_id": 8, "sub": "9"}), 7)
	mustAccept(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", jwt.MapClaims{"uid": "7"}), 7)
	for _, claims := range []jwt.MapClaims{
		{"user_id": 7}, {"sub": "7"}, {"uid": "someone", "user_id": 7}, {"uid": nil, "sub": "7"}, {"uid": []int{7}}, {"UID": 7},
	} {
		if reason, _ := reasonOf(t, v, sign(t, jwt.SigningMethodHS256, testSecret, "", claims)); reason != application.RefusedUserClaim {
			t.Errorf("%v: reason %q", claims, reason)
		}
	}
}

func TestLeewayIsForTheIssuersClockAlone(t *testing.T) {
	v := newVerifier(t, Options{Secret: testSecret})
	v.configure(Options{Leeway: time.Minute}, symmetricAlgorithms)
	now := time.Now()
	token := func(claims jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, testSecret, "", claims) }
	mustAccept(t, v, token(jwt.MapClaims{"user_id": 7, "nbf": now.Add(50 * time.Second).Unix()}), 7)
	if reason, _ := reasonOf(t, v, token(jwt.MapClaims{"user_id": 7, "nbf": now.Add(70 * time.Second).Unix()})); reason != application.RefusedTooEarly {
		t.Errorf("reason %q", reason)
	}
	if reason, _ := reasonOf(t, v, token(jwt.MapClaims{"user_id": 7, "exp": now.Add(-time.Second).Unix()})); reason != application.RefusedExpired {
		t.Errorf("reason %q", reason)
	}
}

func TestTheReasonForTheLogIsTold(t *testing.T) {
	ec := newEdKey()
	v := serveSet(t, jwks(t, jwk(t, ec.Public(), "k", nil)), Options{Secret: testSecret})
	good := sign(t, jwt.SigningMethodEdDSA, ec, "k", user7())
	for name, c := range map[string]struct {
		token string
		want  application.RefusalReason
	}{
		"nothing":                {"", application.RefusedMalformed},
		"no JWT":                 {"a.b.c", application.RefusedMalformed},
		"too long":               {good + string(make([]byte, MaxTokenBytes)), application.RefusedMalformed},
		"a line break":           {good + "\n", application.RefusedMalformed},
		"none":                   {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", user7()), application.RefusedAlgorithm},
		"PS256":                  {sign(t, jwt.SigningMethodPS256, rsaKey(), "k", user7()), application.RefusedAlgorithm},
		"an algorithm of nobody": {signRaw(`{"alg":"XS256"}`, `{}`, testSecret), application.RefusedAlgorithm},
		"another secret":         {sign(t, jwt.SigningMethodHS256, []byte("another secret of thirty-two bytes"), "", user7()), application.RefusedSignature},
		"another kid":            {sign(t, jwt.SigningMethodEdDSA, ec, "other", user7()), application.RefusedUnknownKey},
		"another key":            {sign(t, jwt.SigningMethodEdDSA, newEdKey(), "k", user7()), application.RefusedSignature},
		"an extension":           {signRaw(`{"alg":"HS256","crit":["x"]}`, `{"user_id":7}`, testSecret), application.RefusedNotSupported},
		"no claims":              {signRaw(`{"alg":"HS256"}`, `7`, testSecret), application.RefusedMalformed},
	} {
		if reason, user := reasonOf(t, v, c.token); reason != c.want || user != 0 {
			t.Errorf("%s: reason %q, user %d, want %q and nobody", name, reason, user, c.want)
		}
	}
}

func TestMintedTokensSayWhatIsRequired(t *testing.T) {
	for _, required := range []Required{
		{}, {Issuer: "me"}, {Audiences: []string{"a", "b"}}, {UserClaim: "sub"}, {Issuer: "me", Audiences: []string{"a"}, UserClaim: "uid"},
	} {
		v := newVerifier(t, Options{Secret: testSecret, Required: required})
		token, err := MintHS256(testSecret, 7, time.Hour, time.Now(), required)
		if err != nil {
			t.Fatal(err)
		}
		mustAccept(t, v, token, 7)
	}
}
