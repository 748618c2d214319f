package server

import (
	"context"
	"sync"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/projector"
	"chatting/adapters/texthook"
	"chatting/application"
	"chatting/application/async"
	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/invites"
	"chatting/application/ledger"
	"chatting/application/messaging"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/application/presence"
	"chatting/application/replay"
	"chatting/configs"
	"chatting/domain"
)

// The use cases, by subject. Each constructor wires those of one subject: a port is an adapter or a use case of another subject.

const (
	relayEvery   = 5 * time.Second
	expireEvery  = time.Minute
	refreshRetry = 5 * time.Second
	// refreshAtATime is how many lists are loaded from the database at a time: few of its connections.
	refreshAtATime = 4
)

type blockParts struct {
	Hide  *blocks.HidePresence // nil: who is blocked sees presence
	Log   port.ConversationLog // where changes of blocks are published
	Block *blocks.Block
	Relay *blocks.RelayBlocks
}

func newBlocks(c common) blockParts {
	var b blockParts
	if c.Config.Presence.HideFromBlocked {
		b.Hide = &blocks.HidePresence{Blocks: c.Store.Blocks}
	}
	b.Log = b.Hide.Announcing(c.Log, c.Sessions)
	b.Block = &blocks.Block{Store: c.Store.Blocks, Users: c.Store.Users, Log: b.Log, Now: c.Now}
	b.Relay = &blocks.RelayBlocks{Outbox: c.Store.Blocks, Log: b.Log, Now: c.Now, Every: relayEvery, Logger: c.Logger}
	return b
}

type presenceParts struct {
	Set      *presence.SetPresence
	Targets  port.OnlineUsers // who can be sent to
	IsOnline *presence.IsOnline
	Friends  *presence.Friends // nil if the user-management service keeps them
	Refresh  *presence.FriendRefresh
	// Whereabouts finds out where users are connected, by Questions.
	Whereabouts *presence.Whereabouts
	Questions   *kafka.ConnectionQuestions
}

func newPresence(c common, own identity, b blockParts, t tokenParts) presenceParts {
	set := presence.NewSetPresence(c.Sessions, c.Now, own.first(c.NewID), presenceTimes(c.Config), c.Notices)
	set.TellsAdded = t.Service == nil // which keeps lists in drop-in mode, and tells nobody of changes
	set.Name, set.Forgotten, set.HidesFromBlocked = own.node, c.Store.Users.LookUpAgain, c.Config.Presence.HideFromBlocked
	p := presenceParts{
		Set: set, Targets: presence.Reachable{Presence: set},
		IsOnline: &presence.IsOnline{Users: c.Store.Users, Presence: set, Hide: b.Hide},
		Refresh: &presence.FriendRefresh{
			Presence: set, Users: c.Store.Users, Lists: c.Store.Friends, Hide: b.Hide, Retry: refreshRetry, AtATime: refreshAtATime,
		},
	}
	p.Questions = kafka.NewConnectionQuestions(c.Sessions)
	p.Whereabouts = presence.NewWhereabouts(set, p.Questions, c.NewID, c.Notices)
	p.Questions.Whereabouts = p.Whereabouts
	if t.Service == nil {
		p.Friends = &presence.Friends{Store: c.Store.Friends, Sessions: c.Sessions}
		return p
	}
	p.Refresh.Lists = t.Service
	p.Refresh.AtATime = max(1, c.Config.UserManagement.Concurrency/2) // the others are for logins
	p.Refresh.MaxAge = c.Config.UserManagement.FriendsReload
	return p
}

func presenceTimes(cfg configs.Config) presence.Times {
	times := presence.DefaultTimes
	times.Lease, times.OfflineGrace = cfg.Presence.Lease, cfg.Presence.OfflineGrace
	return times
}

type messageParts struct {
	Echoes *messaging.Echoes
	Send   *messaging.SendMessage
	Check  *messaging.CheckText // nil unless the platform is asked about texts
	System *messaging.SendSystemMessage
	// With chat.offline: store; nil with reject.
	Stored    *replay.StoredMessages
	Mailboxes *messaging.Mailboxes
}

func newMessages(
	c common, acts moderationParts, b blockParts, p presenceParts, flushes *projector.Flushes, hook *texthook.Client,
) messageParts {
	m := messageParts{Echoes: newEchoes(c.Config, c.Log), Check: newCheck(c, hook)}
	m.Send = &messaging.SendMessage{
		Log: m.Echoes, Online: p.Targets, Now: c.Now, NewID: c.NewID, EscapeHTML: c.Config.Chat.HTMLEscape, Hide: b.Hide,
		Acts: acts.Register, Traces: c.Traces,
	}
	if c.Config.History.Enabled {
		m.Send.Sent = c.Store.Undelivered
	}
	m.System = &messaging.SendSystemMessage{Log: c.Log, Online: p.Targets, Now: c.Now, NewID: c.NewID, Traces: c.Traces}
	if c.Config.Chat.Offline == configs.OfflineStore {
		m.Stored = replay.NewStoredMessages(c.Store.Cursors, c.Store.Undelivered, followedLog(c, flushes), c.Logger)
		m.Mailboxes = messaging.NewMailboxes(c.Store.Undelivered, mailboxBounds(c.Config))
		m.Send.Stored, m.Send.Mailboxes, m.System.Stored = c.Store.Users, m.Mailboxes, c.Store.Users
	}
	return m
}

func newEchoes(cfg configs.Config, log port.ConversationLog) *messaging.Echoes {
	return messaging.NewEchoes(log, cfg.Kafka.AppendDeadline)
}

func mailboxBounds(cfg configs.Config) messaging.MailboxBounds {
	return messaging.MailboxBounds{
		Messages: cfg.Chat.OfflineMessagesPerSender, Bytes: int64(cfg.Chat.OfflineBytesPerSender),
	}
}

// beginStoring notes where storing begins; a broker or database that is away is waited for.
func (m messageParts) beginStoring(c common) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			err := m.Stored.Begin(ctx)
			if domain.CodeOf(err) != domain.CodeUnavailable || ctx.Err() != nil {
				return err
			}
			c.Logger.Warn("where storing for offline users begins cannot be noted, will try again", "error", err)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

type inviteParts struct {
	Pending *invites.Register
	Invite  *invites.Invite
	Expire  *invites.ExpireInvites
	List    *invites.PendingInvites // newTails tells it what is read
}

func newInvites(c common, b blockParts, p presenceParts, m messageParts) inviteParts {
	pending := invites.NewRegister()
	return inviteParts{
		Pending: pending,
		Invite: &invites.Invite{
			Log: m.Echoes, Online: p.Targets, Invites: pending, Now: c.Now, NewID: c.NewID, Life: c.Config.Invite.ExpiresAfter, Hide: b.Hide,
			Traces: c.Traces,
		},
		Expire: &invites.ExpireInvites{Invites: pending, Log: c.Log, Now: c.Now, Salt: int(c.NewID()[0])},
		List:   &invites.PendingInvites{Invites: pending, Blocks: c.Store.Blocks, Now: c.Now},
	}
}

type historyParts struct {
	Read   *history.ReadHistory // nil if no history is kept
	Lag    *history.Lag
	Expire *history.ExpireHistory
	Erase  *application.EraseUser
}

func newHistory(c common, acts moderationParts, b blockParts, p presenceParts, flushes *projector.Flushes) historyParts {
	h := historyParts{
		Lag: history.NewLag(c.Store.Projections, c.Log, c.Config.Kafka.Partitions, c.Now, c.Logger),
		Expire: &history.ExpireHistory{
			Store: c.Store.History, Clock: c.Store.Clock, LogTime: p.Set.LogTime, Retention: c.Config.History.Retention, Every: expireEvery,
			Logger: c.Logger,
		},
		Erase: &application.EraseUser{
			Eraser: c.Store.Eraser, Blocks: c.Store.Blocks, Log: b.Log, Sessions: c.Sessions, Ends: c.Log, Projected: c.Store.Projections,
			Partitions: c.Config.Kafka.Partitions, Now: c.Now, Logger: c.Logger, Acts: acts.Moderate, Users: c.Store.Users,
		},
	}
	if c.Config.History.Enabled {
		h.Read = history.NewReadHistory(c.Store.History, c.Store.ReadMarks, followedLog(c, flushes), c.Log)
		h.Read.Events = &history.MarkEvents{Log: c.Log, Blocks: c.Store.Blocks, Now: c.Now}
	}
	return h
}

// followedLog is the log as the history follows it.
func followedLog(c common, flushes *projector.Flushes) history.FollowedLog {
	return history.FollowedLog{
		Projected: c.Store.Projections, Ends: c.Log.Readable(), Partitions: c.Config.Kafka.Partitions, Flush: flushes,
	}
}

type loginParts struct {
	Delivery     *delivery.Delivery
	Authenticate *application.Authenticate
	Recheck      *application.RecheckTokens
	Lookup       *application.LoginLookup
	Turns        *async.Turns
	Login        *application.Login
	// Past reads the log for logins, from Log.
	Past     *past.Past
	Log      *kafka.Past
	Erasures *past.SharedErasures
}

func newLogins(
	c common, t tokenParts, acts moderationParts, b blockParts, p presenceParts, m messageParts, i inviteParts, rates rates,
	cluster *logclient.Cluster, bytes *ledger.ByteLedger,
) loginParts {
	served := delivery.NewDelivery(m.Echoes, i.Pending, c.Notices)
	served.Versions, served.Acts = c.Store.Blocks, acts.Register
	log := kafka.NewPast(cluster, pastOptions(c.Config, bytes, served.Live))
	l := loginParts{
		Delivery:     served,
		Authenticate: &application.Authenticate{Tokens: t.Tokens, Users: c.Store.Users, Acts: acts.Register, Notices: c.Notices},
		Recheck:      newRecheckTokens(c, t.Rechecks),
		// Who hides from a user is known with its friends.
		Lookup: application.NewLoginLookup(c.Store.Users, t.Service == nil && b.Hide != nil),
		Turns:  application.NewLoginTurns(served.Live),
		Log:    log, Erasures: past.NewSharedErasures(c.Store.Erasures),
	}
	l.Past = &past.Past{Log: log, Versions: c.Store.Blocks, Erasures: l.Erasures, Acts: acts.Register, Verdicts: served.Verdicts}
	l.Past.Repeats = newRepeats(c, acts, log, served.Verdicts, rates)
	served.Repeats = l.Past.Repeats
	served.Tokens = delivery.NewResumeTokens(c.Config.Kafka.Partitions, c.Now)
	if m.Stored != nil {
		m.Stored.Past = l.Past
	}
	l.Login = &application.Login{
		Authenticate: l.Authenticate, Lookup: l.Lookup, Turns: l.Turns, Outbox: c.Store.Blocks, Log: b.Log, Hide: b.Hide, Ends: c.Log,
		Delivery: served, Presence: p.Set, MaxPerUser: c.Config.Limit.ConnectionsPerUser,
		Rate: rates.userLogins, Notices: c.Notices, Recheck: l.Recheck,
		Replays: replay.Replays{
			Stored: m.Stored, Resumption: newResumption(c, served.Tokens, l.Past, bytes, rates), Notices: c.Notices,
		},
	}
	if t.Service != nil {
		l.Login.Friends = t.Service
	}
	return l
}

// newRepeats tells what stands in the log once more.
func newRepeats(c common, acts moderationParts, log past.Log, verdicts *past.Verdicts, rates rates) *past.Repeats {
	repeats := &past.Repeats{Log: log, Acts: acts.Register, Verdicts: verdicts}
	repeats.MayRead = func(user domain.UserID, records int64) bool {
		return rates.mayReadPast(user, min(records, int64(c.Config.Resume.LogRecords)))
	}
	if c.Config.History.Enabled {
		repeats.History, repeats.Progress = c.Store.Undelivered, historyProgress(c)
	}
	return repeats
}

// historyProgress tells how far the history is, for those who do not wait for it.
func historyProgress(c common) *history.Progress {
	return history.NewProgress(history.FollowedLog{
		Projected: c.Store.Projections, Ends: c.Log.Readable(), Partitions: c.Config.Kafka.Partitions,
	})
}

// newResumption lets clients take up where they stopped.
func newResumption(
	c common, tokens *delivery.ResumeTokens, past *past.Past, bytes *ledger.ByteLedger, rates rates,
) *replay.Resumption {
	options := replay.ResumeOptions{
		Tokens: tokens, Past: past, Readable: c.Log.Readable(), Bounds: resumeBounds(c.Config), Now: c.Now,
		Notices: c.Notices, Hold: holdIn(bytes), MayRead: rates.mayReadPast,
	}
	if c.Config.History.Enabled {
		options.Missed, options.Retention = c.Store.Undelivered, c.Config.History.Retention
		options.History = historyProgress(c)
	}
	return replay.NewResumption(options)
}

// holdIn counts in a ledger what is held for users.
func holdIn(bytes *ledger.ByteLedger) func(domain.UserID, int, func()) (func(), bool) {
	return func(user domain.UserID, n int, cut func()) (release func(), ok bool) {
		held := bytes.OpenFor(user, cut)
		if !held.TryHold(n) {
			held.Close()
			return nil, false
		}
		return sync.OnceFunc(held.Close), true
	}
}

func resumeBounds(cfg configs.Config) replay.ResumeBounds {
	return replay.ResumeBounds{Events: cfg.Resume.MaxEvents, Bytes: cfg.Resume.MaxBytes, Age: cfg.Resume.MaxAge}
}

// pastOptions are those of reading the log for logins.
func pastOptions(cfg configs.Config, bytes *ledger.ByteLedger, live func() bool) kafka.PastOptions {
	return kafka.PastOptions{
		Topic: kafka.NamesFor(cfg.TopicPrefix).Conversations, Records: cfg.Resume.LogRecords, Bytes: cfg.Resume.LogBytes,
		Ledger: bytes, Live: live, Turns: application.NewLoginTurns(live),
	}
}
