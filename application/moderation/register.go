package moderation

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/application/port"
	"chatting/domain"
)

// Register knows the acts that count, and where they stand in the log. It is told of each act that the node reads there, and asked
// by many. It is loaded from the database before the log is read.
//
// What it holds is bounded: the store keeps at most 2 MaxActs acts that count, or did lately, beside those that ended others.
type Register struct {
	now port.Clock
	// ended is told of acts that end connections, once each has begun to count here.
	ended func(domain.Act)

	mu    sync.RWMutex
	acts  domain.Acts
	key   []byte
	moved chan struct{} // closed when an act was read; nil while nobody waits
	// clock is by what acts become old, and forgotten is up to when they were dropped the last time.
	clock     domain.TrustedClock
	forgotten time.Time
}

const (
	// Lately is for how long an act is remembered that ended, or was replaced: longer than the log usually is.
	Lately = 30 * 24 * time.Hour
	// forgetEvery is how often a register looks for acts to drop: it looks at all of them.
	forgetEvery = time.Hour
)

// NewRegister returns a register without acts for a log with so many partitions. Load has to be called before it is asked.
func NewRegister(partitions int, now port.Clock) *Register {
	return &Register{now: now, acts: domain.NewActs(partitions), ended: func(domain.Act) {}}
}

// OnEnd has f called for each act that ends connections, after it counts here. It is called once, before anything is read. f runs in
// the goroutine that reads, under no lock of the register.
func (r *Register) OnEnd(f func(domain.Act)) { r.ended = f }

// Load takes over what the store has. Acts that are committed later are read in the log. It may be called again. now
// is the time, or an earlier one if the clock cannot be trusted. Errors: CodeUnavailable.
func (r *Register) Load(ctx context.Context, store Loaded, now time.Time) error {
	key, err := store.Key(ctx)
	if err != nil {
		return err
	}
	acts, err := store.Acts(ctx, now.Add(-Lately))
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.key, r.clock = key, r.clock.Next(now)
	for _, act := range acts {
		r.acts.Add(act)
	}
	return nil
}

// Loaded is what a Register takes over from the store.
type Loaded interface {
	// Key returns the secret by which acts that the store gave out are known: see domain.ActID.
	Key(ctx context.Context) ([]byte, error)
	// Acts returns the acts that counted at some time since, with the places in this log at which they are known to stand, in any
	// order. A time that is ahead leaves out none that count.
	Acts(ctx context.Context, since time.Time) ([]domain.PlacedAct, error)
}

// Read takes over an act that stands in the log. It is false, and nothing is done, for one that the store never gave out. It is also
// false for one that is not known and older than Lately: it was forgotten, and somebody has written it again.
func (r *Register) Read(act domain.Act, at domain.Place) bool {
	r.mu.RLock()
	when := r.clock.At
	r.mu.RUnlock()
	return r.ReadAsOf(act, at, when)
}

// ReadAsOf is Read for a reader that may be far behind. when is the time that the log has come to where it reads.
func (r *Register) ReadAsOf(act domain.Act, at domain.Place, when time.Time) bool {
	if now := r.now(); now.Before(when) {
		when = now // records from clocks that are ahead make no act old
	}
	begins, ok := r.stands(act, at, when.Add(-Lately))
	if begins && act.EndsConnections() {
		r.ended(act)
	}
	return ok
}

// stands notes that an act stands at a place, unless it is not real, or is not known and from before a time. begins tells that it is
// the newest act on its user.
func (r *Register) stands(act domain.Act, at domain.Place, oldest time.Time) (begins, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key == nil || domain.ActID(r.key, act) != act.ID || act.Time.Before(oldest) && r.acts.PlacesOf(act.User, act.Version) == nil {
		return false, false
	}
	begins = r.acts.VersionOf(act.User) < act.Version
	r.acts.Stands(act, at)
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
	return begins, true
}

// Forget drops the acts that have counted no more for Lately, by a clock that did not leap. It is to be called every few seconds, so
// that it sees how the clock goes, and drops acts once an hour. Without it a register forgets nothing.
func (r *Register) Forget() { r.ForgetAsOf(r.now()) }

// ForgetAsOf is Forget for a reader that may be far behind: what counted within Lately before when is kept. when is the time that the
// log has come to where the reader is, in the partition where it is farthest behind.
func (r *Register) ForgetAsOf(when time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = r.clock.Next(r.now())
	if r.clock.At.Before(when) {
		when = r.clock.At // records from clocks that are ahead make no act old
	}
	before := when.Add(-Lately)
	if before.Sub(r.forgotten).Abs() >= forgetEvery {
		r.acts.Forget(before)
		r.forgotten = before
	}
}

// Begins says when the first record of a partition was written, whose offset is 0: an act from before is from before the log.
func (r *Register) Begins(partition int, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acts.Begins(partition, at)
}

// Restart says that a partition of the log was made anew.
func (r *Register) Restart(partition int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acts.Restart(partition)
}

// Await waits until this node has read an act in all partitions, and returns where it stands. CodeUnconfirmed if ctx ends first.
func (r *Register) Await(ctx context.Context, act domain.Act) ([]int64, error) {
	for {
		places, moved := r.placesOf(act)
		if moved == nil {
			return places, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, domain.WrapError(domain.CodeUnconfirmed, "The act is not back from the log yet.", ctx.Err())
		}
	}
}

// PlacesOf returns where this node has read an act: its offset in each partition, domain.ActNowhere where it was not read; nil if it
// was read nowhere.
func (r *Register) PlacesOf(act domain.Act) []int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	places := r.acts.PlacesOf(act.User, act.Version)
	if !slices.ContainsFunc(places, func(at int64) bool { return at != domain.ActNowhere }) {
		return nil // the store had it
	}
	return places
}

// placesOf returns where an act stands, or a channel that is closed once more was read.
func (r *Register) placesOf(act domain.Act) ([]int64, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	places := r.acts.PlacesOf(act.User, act.Version)
	for _, at := range places {
		if at == domain.ActNowhere {
			places = nil
		}
	}
	if places != nil {
		return places, nil
	}
	if r.moved == nil {
		r.moved = make(chan struct{})
	}
	return nil, r.moved
}

// Judge decides on an event at its place in the log: nil, or why it takes no effect. Texts are judged, and nothing else: an invite
// says nothing, and a read mark is about what others said. written is the record's time, by which an act ends.
func (r *Register) Judge(event domain.Event, at domain.Place, written time.Time) error {
	text, ok := event.Body.(domain.ChatMessage)
	if !ok {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return asError(r.acts.Judge(text.From, at, written, event.Acts))
}

// MaySend decides on what a user is about to say: nil, CodeMuted, CodeBanned, or CodeUnavailable from a connection that is ended.
func (r *Register) MaySend(user domain.UserID, login int64) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return asError(r.acts.Now(user, r.now(), login))
}

// MayCome decides on a user who asks for something, with a token that was issued at a time: nil, CodeBanned, or CodeUnauthenticated
// for a token that was revoked. issued is zero if it is not known: then the token counts as one from before any revocation.
func (r *Register) MayCome(user domain.UserID, issued time.Time) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if err := r.acts.BanOf(user, r.now()); err != nil {
		return err
	}
	if before := r.acts.RevokedBefore(user); !before.IsZero() && !issued.After(before) {
		return errRevoked
	}
	return nil
}

// BanOf returns why a user may not log in, CodeBanned; nil if it may.
func (r *Register) BanOf(user domain.UserID) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return asError(r.acts.BanOf(user, r.now()))
}

var errRevoked = domain.NewError(domain.CodeUnauthenticated, "The token was revoked.")

// VersionOf returns the version of the newest act on a user that this node has read, 0 if there is none.
func (r *Register) VersionOf(user domain.UserID) int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.acts.VersionOf(user)
}

// asError is err as an error that is nil where err is.
func asError(err *domain.Error) error {
	if err == nil {
		return nil
	}
	return err
}
