package application

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Identity is whom a token stands for. Issued and Expires are zero if the issuer did not say.
type Identity struct {
	User            domain.UserID
	Issued, Expires time.Time
	// Acts is, of a login, the version of the newest act of the platform on the user that it knew, 0 for none.
	Acts int64
}

// Tokens verifies bearer tokens.
type Tokens interface {
	// Verify returns the user that the token stands for. It returns CodeUnauthenticated, caused by a RefusedToken, for a
	// bad or expired token, and CodeUnavailable if the part that decides on tokens is away.
	Verify(ctx context.Context, token string) (Identity, error)
}

// RefusedToken is why a token was refused. It is the cause of a CodeUnauthenticated error, for logs. Clients do not learn
// it.
type RefusedToken struct {
	Reason RefusalReason
	// User is whom the token names, 0 if that is not known or not proven by a signature.
	User domain.UserID
}

// Error implements error.
func (r *RefusedToken) Error() string { return string(r.Reason) }

// RefusalReason is one of a few reasons for which tokens are refused. It holds nothing of a token.
type RefusalReason string

// The reasons.
const (
	RefusedMalformed    RefusalReason = "malformed"
	RefusedAlgorithm    RefusalReason = "algorithm not accepted"
	RefusedUnknownKey   RefusalReason = "unknown key"
	RefusedSignature    RefusalReason = "bad signature"
	RefusedExpired      RefusalReason = "expired"
	RefusedTooEarly     RefusalReason = "not valid yet"
	RefusedTimes        RefusalReason = "no expiry, or times that are not valid"
	RefusedIssuer       RefusalReason = "wrong issuer"
	RefusedAudience     RefusalReason = "wrong audience"
	RefusedUse          RefusalReason = "not an access token"
	RefusedUserClaim    RefusalReason = "no user claim, or no user id in it"
	RefusedAnotherUser  RefusalReason = "another user's"
	RefusedByService    RefusalReason = "refused by the user-management service"
	RefusedNotSupported RefusalReason = "critical extension"
	RefusedRevoked      RefusalReason = "revoked by the platform"
)

// RefuseToken returns the CodeUnauthenticated error for a refused token. The message is for the client.
func RefuseToken(message string, reason RefusalReason, user domain.UserID) *domain.Error {
	return domain.WrapError(domain.CodeUnauthenticated, message, &RefusedToken{Reason: reason, User: user})
}

// addressKey is where a context keeps the client's address.
type addressKey struct{}

// WithClientAddress returns a context for work on behalf of a client at that address. The address is only logged.
func WithClientAddress(ctx context.Context, address string) context.Context {
	return context.WithValue(ctx, addressKey{}, address)
}

// noteRefusal logs why a token was refused. It does nothing for other errors, and without notices.
func noteRefusal(ctx context.Context, notices *notice.Log, err error) {
	var refused *RefusedToken
	if errors.As(err, &refused) {
		noteRefused(ctx, notices, *refused)
	}
}

func noteRefused(ctx context.Context, notices *notice.Log, refused RefusedToken) {
	if notices == nil {
		return
	}
	var attrs []slog.Attr
	if refused.User != 0 {
		attrs = append(attrs, slog.Int64("user", int64(refused.User)))
	}
	if address, known := ctx.Value(addressKey{}).(string); known && address != "" {
		attrs = append(attrs, slog.String("address", address))
	}
	notices.Warn("token refused: "+string(refused.Reason), attrs...)
}

// Authenticate verifies a token and makes its user known.
type Authenticate struct {
	Tokens Tokens
	Users  port.KnownUsers
	// Acts tells whom the platform keeps out; nil for nobody.
	Acts Acts
	// Notices has a line about every token that is refused; nil for none.
	Notices *notice.Log
}

// Acts tells whom the platform keeps out. *moderation.Register is one.
type Acts interface {
	// MayCome returns nil, CodeBanned, or CodeUnauthenticated for a token of the user that was revoked: one that was issued at a time,
	// which is zero if it is not known.
	MayCome(user domain.UserID, issued time.Time) error
}

// Execute returns whom the token stands for. Errors: those of Tokens.Verify, CodeBanned, CodeUnavailable if the database is away.
func (a *Authenticate) Execute(ctx context.Context, token string) (Identity, error) {
	identity, err := a.verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	if err := a.Users.Remember(ctx, identity.User); err != nil {
		return Identity{}, err
	}
	return identity, nil
}

// verify is Execute for a caller that makes the user known by itself.
func (a *Authenticate) verify(ctx context.Context, token string) (Identity, error) {
	identity, err := a.Tokens.Verify(ctx, token)
	if err != nil {
		noteRefusal(ctx, a.Notices, err)
		return identity, err
	}
	return identity, a.admit(ctx, identity)
}

// admit refuses whom the platform keeps out.
func (a *Authenticate) admit(ctx context.Context, identity Identity) error {
	if a.Acts == nil {
		return nil
	}
	err := a.Acts.MayCome(identity.User, identity.Issued)
	if domain.CodeOf(err) == domain.CodeUnauthenticated {
		err = RefuseToken("The token was revoked.", RefusedRevoked, identity.User)
		noteRefusal(ctx, a.Notices, err)
	}
	return err
}
