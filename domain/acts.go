package domain

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// The places of an act that are none. An act counts for what stands behind its place.
const (
	// ActNowhere is the place of an act that does not stand in the partition, as far as it was read.
	ActNowhere int64 = math.MaxInt64
	// ActAlways is that of an act that counts for all of the partition.
	ActAlways int64 = -1
)

// PlacedAct is an act with the offset at which it stands in each partition, in the order of their numbers.
type PlacedAct struct {
	Act

	Places []int64
}

// Acts is what the platform did to users, with the places in the log from which on it counts. Whoever has applied the same records
// says the same of a place. The zero value has no partitions. It is not safe for concurrent use.
type Acts struct {
	partitions int
	users      map[UserID][]PlacedAct // by version
}

// NewActs returns an empty collection for a log with so many partitions.
func NewActs(partitions int) Acts {
	return Acts{partitions: partitions, users: make(map[UserID][]PlacedAct)}
}

// Len returns how many users have acts.
func (a *Acts) Len() int { return len(a.users) }

// Add notes an act with places that are known. A place that was known before stays if it is the earlier one. It tells whether the
// act was not known.
func (a *Acts) Add(placed PlacedAct) (isNew bool) {
	known, isNew := a.find(placed.Act)
	for p, at := range placed.Places {
		if p < a.partitions {
			known.Places[p] = min(known.Places[p], at)
		}
	}
	return isNew
}

// Stands notes that an act stands at a place. It tells whether the act was not known.
func (a *Acts) Stands(act Act, at Place) (isNew bool) {
	known, isNew := a.find(act)
	if p := at.Partition; p < a.partitions {
		known.Places[p] = min(known.Places[p], at.Offset)
	}
	return isNew
}

// find returns what is kept of an act.
func (a *Acts) find(act Act) (known *PlacedAct, isNew bool) {
	list := a.users[act.User]
	i, found := slices.BinarySearchFunc(list, act.Version, func(p PlacedAct, version int64) int { return cmp.Compare(p.Version, version) })
	if !found {
		placed := PlacedAct{Act: act, Places: make([]int64, a.partitions)}
		for p := range placed.Places {
			placed.Places[p] = ActNowhere
		}
		list = slices.Insert(list, i, placed)
		a.users[act.User] = list
	}
	return &list[i], !found
}

// PlacesOf returns where an act stands, ActNowhere in partitions where it was not read; nil for an act that is not known. The
// result is the caller's.
func (a *Acts) PlacesOf(user UserID, version int64) []int64 {
	for _, placed := range a.users[user] {
		if placed.Version == version {
			return slices.Clone(placed.Places)
		}
	}
	return nil
}

// Of returns the acts on a user, oldest first. The result must not be changed.
func (a *Acts) Of(user UserID) []PlacedAct { return a.users[user] }

// Judge decides on what a user said at a place in the log, which was written at a time: nil, or why it takes no effect. login is
// the version of the newest act that was known when the connection logged in: what comes from connections that an act has ended
// takes no effect behind it.
func (a *Acts) Judge(user UserID, at Place, written time.Time, login int64) *Error {
	list := a.users[user]
	if len(list) == 0 || at.Partition >= a.partitions {
		return nil
	}
	return judge(list, written, func(p PlacedAct) bool { return p.Places[at.Partition] < at.Offset }, login)
}

// Now decides on what a user says next: nil, or why it takes no effect. An act counts as soon as it was read in some partition.
func (a *Acts) Now(user UserID, now time.Time, login int64) *Error {
	list := a.users[user]
	if len(list) == 0 {
		return nil
	}
	return judge(list, now, PlacedAct.stands, login)
}

// stands tells whether the act was read somewhere.
func (p PlacedAct) stands() bool {
	return slices.ContainsFunc(p.Places, func(at int64) bool { return at < ActNowhere })
}

// endedFor is for how long, by the time of the log, an act keeps back what comes from connections that it has ended. No node takes so
// long to end them.
const endedFor = time.Hour

// judge decides by the newest act of each sort that counts.
func judge(list []PlacedAct, at time.Time, counts func(PlacedAct) bool, login int64) *Error {
	var ban, mute Act
	ended := false
	for _, placed := range list {
		if !counts(placed) {
			continue
		}
		switch placed.Kind.Sort() {
		case ActBan:
			ban = placed.Act
		case ActMute:
			mute = placed.Act
		}
		ended = ended || placed.EndsConnections() && placed.Version > login && at.Before(placed.Time.Add(endedFor))
	}
	switch {
	case ban.Restricts(ActBan, at):
		return ban.refusal()
	case ended:
		return errEnded
	case mute.Restricts(ActMute, at):
		return mute.refusal()
	default:
		return nil
	}
}

// errEnded is why what comes from a connection that an act has ended takes no effect. Its client says it again when it may.
var errEnded = NewError(CodeUnavailable, "The platform has ended the connection.")

// Restricts tells whether the act is of this kind, and has not ended by itself.
func (a Act) Restricts(kind ActKind, at time.Time) bool {
	return a.Kind == kind && (a.Until.IsZero() || at.Before(a.Until))
}

// refusal is why what the act keeps back is refused.
func (a Act) refusal() *Error {
	refused := &Error{Code: CodeMuted, Message: "You are muted", Until: a.Until, Reason: a.Reason}
	if a.Kind == ActBan {
		refused.Code, refused.Message = CodeBanned, "You are banned"
	}
	if !a.Until.IsZero() {
		refused.Message += " until " + a.Until.Format(time.RFC3339)
	}
	refused.Message += "."
	return refused
}

// BanOf returns why a user may not log in now; nil if it may.
func (a *Acts) BanOf(user UserID, now time.Time) *Error {
	for _, placed := range slices.Backward(a.users[user]) {
		if placed.Kind.Sort() == ActBan && placed.stands() {
			if placed.Restricts(ActBan, now) {
				return placed.refusal()
			}
			return nil
		}
	}
	return nil
}

// RevokedBefore returns up to when tokens of a user must have been issued to count no more; zero if none was revoked.
func (a *Acts) RevokedBefore(user UserID) time.Time {
	for _, placed := range slices.Backward(a.users[user]) {
		if placed.Kind == ActRevoke && placed.stands() {
			return placed.Time
		}
	}
	return time.Time{}
}

// VersionOf returns the version of the newest act on a user that was read somewhere, 0 if there is none.
func (a *Acts) VersionOf(user UserID) int64 {
	for _, placed := range slices.Backward(a.users[user]) {
		if placed.stands() {
			return placed.Version
		}
	}
	return 0
}

// Begins says when the first record of a partition was written, whose offset is 0. What is known to have counted before counts for
// all of the partition.
func (a *Acts) Begins(partition int, at time.Time) {
	for _, list := range a.users {
		for _, placed := range list {
			if partition < a.partitions && placed.Places[partition] < ActNowhere && placed.Time.Add(actSlack).Before(at) {
				placed.Places[partition] = ActAlways
			}
		}
	}
}

// actSlack is how far the clocks of two nodes may be apart, and how long an act may take.
const actSlack = 10 * time.Minute

// Restart says that a partition of the log was made anew: what counted in it counts for all of it.
func (a *Acts) Restart(partition int) {
	for _, list := range a.users {
		for _, placed := range list {
			if partition < a.partitions && placed.stands() {
				placed.Places[partition] = ActAlways
			}
		}
	}
}

// Forget drops acts that have had no meaning since before a time: they ended, or another one replaced them.
func (a *Acts) Forget(before time.Time) {
	for user, list := range a.users {
		replaced := make(map[ActKind]time.Time)
		kept := make([]PlacedAct, 0, len(list))
		for _, placed := range slices.Backward(list) {
			until, ends := placed.Lasts()
			if by, ok := replaced[placed.Kind.Sort()]; ok && (!ends || by.Before(until)) {
				until, ends = by, true
			}
			replaced[placed.Kind.Sort()] = placed.Time
			if !ends || !until.Before(before) {
				kept = append(kept, placed)
			}
		}
		slices.Reverse(kept)
		if len(kept) == 0 {
			delete(a.users, user)
		} else {
			a.users[user] = kept
		}
	}
}
