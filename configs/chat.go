package configs

import (
	"strconv"
	"time"
)

// Chat has the rules for texts.
type Chat struct {
	HTMLEscape               bool
	Offline                  OfflineMode
	OfflineMessagesPerSender int
	OfflineBytesPerSender    int
}

// OfflineMode says what becomes of messages to known users who are offline.
type OfflineMode string

// The modes for messages to offline users.
const (
	OfflineReject OfflineMode = "reject" // the sender is told
	OfflineStore  OfflineMode = "store"  // they are delivered at the next login; only where the history is enabled
)

func (c *Chat) options() []Option {
	return []Option{
		{Key: "chat.html_escape", value: boolean(&c.HTMLEscape),
			derived: func(c Config) string { return strconv.FormatBool(c.DropIn()) }},
		{Key: "chat.offline", value: oneOf(&c.Offline, OfflineReject, OfflineStore)},
		{Key: "chat.offline_messages_per_sender", value: limit(&c.OfflineMessagesPerSender)},
		{Key: "chat.offline_bytes_per_sender", value: size(&c.OfflineBytesPerSender, 0, 1024*mib)},
	}
}

// History is the projection of the conversations in the database.
type History struct {
	Enabled   bool
	Retention time.Duration
	Delay     time.Duration
}

func (h *History) options() []Option {
	return []Option{
		{Key: "history.enabled", value: boolean(&h.Enabled)},
		{Key: "history.retention", value: duration(&h.Retention, time.Hour, 10*365*24*time.Hour)},
		{Key: "history.delay", value: duration(&h.Delay, 0, 2*time.Second)},
	}
}

// Invite has the times of game invites.
type Invite struct {
	ExpiresAfter time.Duration
}

func (i *Invite) options() []Option {
	return []Option{
		{Key: "invite.expires_after", value: duration(&i.ExpiresAfter, time.Second, 10*time.Minute)},
	}
}

// Presence has the times of presence, and who sees it.
type Presence struct {
	Lease           time.Duration
	HideFromBlocked bool
	LeaveGrace      time.Duration
	OfflineGrace    time.Duration
}

func (p *Presence) options() []Option {
	return []Option{
		{Key: "presence.lease", value: duration(&p.Lease, 3*time.Second, time.Minute)},
		{Key: "presence.hide_from_blocked", value: boolean(&p.HideFromBlocked),
			derived: func(c Config) string { return strconv.FormatBool(!c.DropIn()) }},
		{Key: "presence.leave_grace", value: duration(&p.LeaveGrace, 0, 5*time.Minute)},
		{Key: "presence.offline_grace", value: duration(&p.OfflineGrace, 0, 5*time.Minute)},
	}
}
