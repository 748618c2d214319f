package moderation

import (
	"context"
	"time"

	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// Store keeps the acts, and which of them are not known to be in the log.
type Store interface {
	Loaded
	Outbox
	// Add keeps an act, which is then not published yet, in one transaction. It gives the act its version, which is greater than
	// those of all acts on the user before, and its id (domain.ActID). Errors: CodeLimit if MaxActs acts count, or did lately, of
	// mutes and bans or of the others, whichever this one is, and it does not end another; CodeNotInForce for an unmute or unban
	// of a user who is not muted or banned; CodeUnavailable.
	Add(ctx context.Context, act domain.Act) (domain.Act, error)
	// LatestOf returns the latest acts on a user, newest first, at most limit.
	LatestOf(ctx context.Context, user domain.UserID, limit int) ([]domain.Act, error)
	// LatestOfSort returns the latest act of a sort on a user, however many others came later; found is false if there is none.
	LatestOfSort(ctx context.Context, user domain.UserID, sort domain.ActKind) (act domain.Act, found bool, err error)
	// ForgetReasons drops what acts on a user say beside what they do: their reasons and actors.
	ForgetReasons(ctx context.Context, user domain.UserID) error
}

// Outbox has the acts that are kept and not known to be in the log.
type Outbox interface {
	// PendingOf returns the unpublished acts on a user, oldest first.
	PendingOf(ctx context.Context, user domain.UserID) ([]domain.Act, error)
	// Pending returns the users of up to limit unpublished acts that were asked for before a time.
	Pending(ctx context.Context, before time.Time, limit int) ([]domain.UserID, error)
	// Published notes that an act is published, and where it stands in each partition of the log.
	Published(ctx context.Context, act domain.Act, places []int64) error
}

// MaxActs bounds the mutes and bans that count, or did lately, and likewise the other acts, which therefore never use up the room for
// mutes and bans. Every node has them in memory.
const MaxActs = 100_000

// Log is where acts are published.
type Log interface {
	// AppendToAudit appends an act to the audit. done is called once: see port.ConversationLog.
	AppendToAudit(act domain.Act, done func(error))
	// AppendAct appends an act to the partitions of the conversations in which it has no place yet; to all of them if places is nil.
	// done is called once, when all of them have an outcome, with the first error if any: see port.ConversationLog.
	AppendAct(act domain.Act, places []int64, done func(error))
}

// Moderate carries out what the platform does to a user.
type Moderate struct {
	Store    Store
	Log      Log
	Register *Register
	Now      port.Clock
	// Observer is told of acts; nil: nobody is.
	Observer Observer
}

// Observer is told of what the platform does. Its method must not block.
type Observer interface {
	// CarriedOut tells that something was done: the kind of an act, Announced or TextsRead.
	CarriedOut(what string)
}

// What an Observer is told of beside acts.
const (
	Announced = "announce"
	TextsRead = "read_texts"
)

// tell tells an observer, if there is one.
func tell(observer Observer, what string) {
	if observer != nil {
		observer.CarriedOut(what)
	}
}

// Command asks for an act. Until is zero for without end.
type Command struct {
	User          domain.UserID
	Kind          domain.ActKind
	Until         time.Time
	Reason, Actor string
}

// Execute carries out an act and returns once it counts: what the user says behind it in the log is shown to nobody, on no node.
// Errors: CodeBadAct, CodeLimit, CodeNotInForce, CodeUnavailable and CodeUnconfirmed. After the last two the act may be committed;
// then it counts when the relay publishes it.
func (m *Moderate) Execute(ctx context.Context, c Command) (domain.Act, error) {
	act, err := domain.NewAct(c.User, c.Kind, c.Until, c.Reason, c.Actor, m.Now())
	if err != nil {
		return domain.Act{}, err
	}
	if act, err = m.Store.Add(ctx, act); err != nil {
		return domain.Act{}, err
	}
	if err := m.publish(ctx, act.User); err != nil {
		return act, err
	}
	tell(m.Observer, string(act.Kind))
	return act, nil
}

// publish publishes what is pending of a user.
func (m *Moderate) publish(ctx context.Context, user domain.UserID) error {
	return Publish(ctx, m.Store, m.Log, m.Register, user)
}

// Publish publishes the acts on a user that are pending, in the order of their versions, and waits until this node has read each.
// Two requests, or a request and the relay, may publish the same act twice: the earlier place counts.
func Publish(ctx context.Context, outbox Outbox, log Log, register *Register, user domain.UserID) error {
	acts, err := outbox.PendingOf(ctx, user)
	if err != nil {
		return err
	}
	for _, act := range acts {
		if err := appendAct(ctx, log, register.PlacesOf(act), act); err != nil {
			return err
		}
		places, err := register.Await(ctx, act)
		if err != nil {
			return err
		}
		if err := outbox.Published(ctx, act, places); err != nil {
			return domain.WrapError(domain.CodeUnconfirmed, unconfirmed, err)
		}
	}
	return nil
}

const unconfirmed = "The act could not be confirmed."

// appendAct appends an act to the audit, and then where it has no place yet. Nothing is in force without its record in the audit, so
// an act that has a place stands in the audit already.
func appendAct(ctx context.Context, log Log, places []int64, act domain.Act) error {
	if places == nil {
		err := async.Await(ctx, unconfirmed, func(done func(error)) { log.AppendToAudit(act, done) })
		if err != nil {
			return err
		}
	}
	return async.Await(ctx, unconfirmed, func(done func(error)) { log.AppendAct(act, places, done) })
}

// Forgets ends what an erased user is muted for, and drops the reasons of all acts. A ban and a revocation stay: they are about the id.
func (m *Moderate) Forgets(ctx context.Context, user domain.UserID) error {
	// The store keeps the reasons of what is not published.
	if err := m.publish(ctx, user); err != nil {
		return err
	}
	_, err := m.Execute(ctx, Command{User: user, Kind: domain.ActUnmute, Actor: erasingActor})
	if err != nil && domain.CodeOf(err) != domain.CodeNotInForce {
		return err
	}
	return m.Store.ForgetReasons(ctx, user)
}

// erasingActor is who ends a mute because its user is erased.
const erasingActor = "erasure"

// maxShown bounds the acts of a Standing.
const maxShown = 50

// Standing is what is in force for a user, and the latest acts on it, newest first, at most 50.
type Standing struct {
	Muted, Banned bool
	Acts          []domain.Act
}

// StandingOf returns what is in force for a user. Errors: CodeUnavailable.
func (m *Moderate) StandingOf(ctx context.Context, user domain.UserID) (s Standing, err error) {
	if s.Acts, err = m.Store.LatestOf(ctx, user, maxShown); err != nil {
		return Standing{}, err
	}
	for kind, holds := range map[domain.ActKind]*bool{domain.ActMute: &s.Muted, domain.ActBan: &s.Banned} {
		act, found, err := m.Store.LatestOfSort(ctx, user, kind)
		if err != nil {
			return Standing{}, err
		}
		*holds = found && act.Restricts(kind, m.Now())
	}
	return s, nil
}
