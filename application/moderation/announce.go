package moderation

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/application/async"
	"chatting/application/port"
	"chatting/domain"
)

// Announcements is where announcements are published.
type Announcements interface {
	// AppendAnnouncementToAudit appends an announcement to the audit. done is called once: see port.ConversationLog.
	AppendAnnouncementToAudit(a domain.Announcement, done func(error))
	// AppendAnnouncement appends an announcement to all who are online, where every node reads it.
	AppendAnnouncement(a domain.Announcement, done func(error))
}

// AnnouncementRate bounds how often something is announced.
type AnnouncementRate interface {
	// Take counts an announcement and returns 0. If it comes too early, it counts nothing and returns by how much.
	Take() time.Duration
}

// Announce says something to all who are online, or to a list of users.
//
// What is for all is one record: every node shows it to the connections that it serves by then. It is not kept for anybody else, and
// no client gets it when it takes up. What is for a list is a system message to each of its users, and is kept as those are.
type Announce struct {
	Log Announcements
	// Say has a user of a list get a message under an id, and returns once that is durable. Errors: CodeNoUserOrOffline, CodeUnavailable and
	// CodeUnconfirmed.
	Say   func(context.Context, domain.EventID, domain.SystemMessage) error
	Rate  AnnouncementRate
	Now   port.Clock
	NewID port.IDs
	// Observer is told of announcements; nil: nobody is.
	Observer Observer
}

// AnnounceCommand asks for an announcement. ID makes a repetition harmless; the zero ID lets a new one be made.
type AnnounceCommand struct {
	ID            domain.EventID
	Text          string
	Online        bool
	Users         []domain.UserID
	Reason, Actor string
}

// saidAtOnce is how many users of a list are told at a time.
const saidAtOnce = 32

// Execute makes an announcement and returns once it is durable. It stands in the audit before anybody is told. offline are the users of
// the list who were offline or unknown, and get nothing, in ascending order. Errors: CodeBadAct, CodeRateLimited, CodeUnavailable and
// CodeUnconfirmed. After the last two some may have been told. A repetition under the same ID tells the others.
func (a *Announce) Execute(ctx context.Context, c AnnounceCommand) (made domain.Announcement, offline []domain.UserID, err error) {
	if c.ID == (domain.EventID{}) {
		c.ID = a.NewID()
	}
	if made, err = domain.NewAnnouncement(c.ID, c.Text, c.Online, c.Users, c.Reason, c.Actor, a.Now()); err != nil {
		return domain.Announcement{}, nil, err
	}
	if wait := a.Rate.Take(); wait > 0 {
		return domain.Announcement{}, nil, domain.NewRateLimited("Too many announcements.", wait)
	}
	err = async.Await(ctx, unconfirmedAnnouncement, func(done func(error)) { a.Log.AppendAnnouncementToAudit(made, done) })
	switch {
	case err != nil:
	case len(made.Users) == 0:
		err = async.Await(ctx, unconfirmedAnnouncement, func(done func(error)) { a.Log.AppendAnnouncement(made, done) })
	default:
		offline, err = a.sayToAll(ctx, made)
	}
	if err != nil {
		return domain.Announcement{}, nil, err
	}
	tell(a.Observer, Announced)
	return made, offline, nil
}

const unconfirmedAnnouncement = "The announcement could not be confirmed."

// sayToAll tells the users of a list, and returns which of them are offline.
func (a *Announce) sayToAll(ctx context.Context, made domain.Announcement) (offline []domain.UserID, err error) {
	var mu sync.Mutex
	err = async.AtOnce(saidAtOnce, made.Users, func(user domain.UserID) error {
		err := a.Say(ctx, made.IDFor(user), domain.SystemMessage{To: user, Text: made.Text})
		if domain.CodeOf(err) != domain.CodeNoUserOrOffline {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		offline = append(offline, user)
		return nil
	})
	slices.Sort(offline)
	return offline, err
}
