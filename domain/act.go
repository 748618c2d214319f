package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ActKind says what the platform does to a user.
type ActKind string

// The kinds of acts.
const (
	ActMute   ActKind = "mute"   // the user's texts are shown to nobody
	ActUnmute ActKind = "unmute" // and are again
	ActBan    ActKind = "ban"    // the user cannot log in, its connections end, and nothing that it says is shown
	ActUnban  ActKind = "unban"  // and may come again
	ActEnd    ActKind = "end"    // the user's connections end; it may come again at once
	ActRevoke ActKind = "revoke" // tokens of the user that were issued before count no more, and its connections end
)

// Bounds of what a request for an act says.
const (
	MaxReasonBytes = 400
	MaxActorBytes  = 64
	// MaxActLength is how far ahead an act may end. One without an end lasts until another act ends it.
	MaxActLength = 10 * 365 * 24 * time.Hour
	// RevocationLength is for how long a revocation is remembered. No token should count longer.
	RevocationLength = 365 * 24 * time.Hour
)

// Act is what the platform does to a user. In the log it stands in every partition of the conversations, and takes effect in
// each of them at its place there.
type Act struct {
	ID   EventID
	User UserID
	Kind ActKind
	// Until is when a mute or a ban ends by itself; zero for never, and in other acts.
	Until time.Time
	// Reason is for the user and for the audit, and Actor is who acts, as the platform says: for the audit alone.
	Reason, Actor string
	// Version grows with each act on the user. A store gives it out.
	Version int64
	// Time is when the act was asked for, with millisecond precision.
	Time time.Time
}

// The errors of NewAct, each about one field.
var (
	ErrActKind   = NewError(CodeBadAct, "This is no act.")
	ErrActUser   = NewError(CodeBadAct, "An act needs a user.")
	ErrActUntil  = NewError(CodeBadAct, "An act ends after now and within 10 years; only mute and ban have an end.")
	ErrActReason = NewError(CodeBadAct, "A reason has at most 400 bytes of UTF-8 without control characters.")
	ErrActActor  = NewError(CodeBadAct, "An actor has 1 to 64 bytes of UTF-8 without control characters.")
)

// NewAct checks what a request says: CodeBadAct. The act has no version and no id yet.
func NewAct(user UserID, kind ActKind, until time.Time, reason, actor string, now time.Time) (Act, error) {
	act := Act{
		User: user, Kind: kind, Until: until.UTC().Truncate(time.Millisecond), Reason: strings.TrimSpace(reason),
		Actor: strings.TrimSpace(actor), Time: now.UTC().Truncate(time.Millisecond),
	}
	switch {
	case user <= System:
		return Act{}, ErrActUser
	case !kind.isKnown():
		return Act{}, ErrActKind
	case !until.IsZero() && (!kind.mayEnd() || !act.Until.After(now) || act.Until.After(now.Add(MaxActLength))):
		return Act{}, ErrActUntil
	case !isLine(act.Reason, MaxReasonBytes):
		return Act{}, ErrActReason
	case act.Actor == "" || !isLine(act.Actor, MaxActorBytes):
		return Act{}, ErrActActor
	}
	return act, nil
}

// LoggedAct checks an act that was read from the log, which others may write: CodeBadAct. Whether it was ever given out, its id
// tells: see ActID.
func LoggedAct(act Act) (Act, error) {
	if act.User <= System || !act.Kind.isKnown() || act.Version < 1 || !act.Until.IsZero() && !act.Kind.mayEnd() ||
		!isLine(act.Reason, MaxReasonBytes) || !isLine(act.Actor, MaxActorBytes) {
		return Act{}, ErrActKind
	}
	return act, nil
}

func (k ActKind) isKnown() bool {
	switch k {
	case ActMute, ActUnmute, ActBan, ActUnban, ActEnd, ActRevoke:
		return true
	default:
		return false
	}
}

func (k ActKind) mayEnd() bool { return k == ActMute || k == ActBan }

// Sort returns what an act replaces: of a user's acts of one sort, the latest counts.
func (k ActKind) Sort() ActKind {
	switch k {
	case ActUnmute:
		return ActMute
	case ActUnban:
		return ActBan
	default:
		return k
	}
}

// Lasts returns until when the act itself has a meaning, if no other replaces it: false for without end.
func (a Act) Lasts() (until time.Time, ends bool) {
	switch {
	case a.Kind.mayEnd():
		return a.Until, !a.Until.IsZero()
	case a.Kind == ActRevoke:
		return a.Time.Add(RevocationLength), true
	default:
		return a.Time, true
	}
}

// EndsConnections tells whether the act ends the user's connections.
func (a Act) EndsConnections() bool {
	return a.Kind == ActBan || a.Kind == ActEnd || a.Kind == ActRevoke
}

// isLine tells whether text has at most limit bytes and no control characters.
func isLine(text string, limit int) bool {
	return len(text) <= limit && utf8.ValidString(text) && strings.IndexFunc(text, unicode.IsControl) < 0
}

// ActID returns the id of an act: a UUID of version 8 (RFC 9562 §5.8) that only those who have the key can make. By it an act that
// the platform asked for can be told from one that somebody else wrote into the log, or changed there.
func ActID(key []byte, act Act) EventID {
	mac := hmac.New(sha256.New, key)
	until := int64(0)
	if !act.Until.IsZero() {
		until = act.Until.UnixMilli()
	}
	for _, number := range []int64{int64(act.User), act.Version, until, act.Time.UnixMilli()} {
		_ = binary.Write(mac, binary.BigEndian, number) // a hash takes everything
	}
	for _, text := range []string{string(act.Kind), act.Reason, act.Actor} {
		_ = binary.Write(mac, binary.BigEndian, int64(len(text)))
		_, _ = mac.Write([]byte(text))
	}
	var id EventID
	copy(id[:], mac.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}
