package application

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"chatting/domain"
)

// loginLogEvery is how often LoginLog writes its counts.
const loginLogEvery = time.Minute

// Visitor is a connection as log lines name it.
type Visitor struct {
	User domain.UserID // 0 if it is not known
	// Address is the client's network address; "" if it is not known.
	Address string
	// Connection tells the connections of one life of a node apart; 0 for what never became one.
	Connection uint64
}

func (v Visitor) attrs(more ...slog.Attr) []slog.Attr {
	var attrs []slog.Attr
	if v.User != 0 {
		attrs = append(attrs, slog.Int64("user", int64(v.User)))
	}
	if v.Address != "" {
		attrs = append(attrs, slog.String("address", v.Address))
	}
	if v.Connection != 0 {
		attrs = append(attrs, slog.Uint64("connection", v.Connection))
	}
	return append(attrs, more...)
}

// LoginLog logs who logs in, who is refused and who leaves: each one at debug, and their counts at info, once a minute.
// Reasons are constants of the code, so that there are few of them. LoginLog is safe for concurrent use. A nil one does
// nothing.
type LoginLog struct {
	logger *slog.Logger

	mu     sync.Mutex
	counts loginCounts
}

type loginCounts struct {
	logins, logouts, refused int
	reasons                  map[string]int // of refusals
}

// NewLoginLog returns a log of logins that writes to logger. Run writes the counts.
func NewLoginLog(logger *slog.Logger) *LoginLog { return &LoginLog{logger: logger} }

// LoggedIn notes a login.
func (l *LoginLog) LoggedIn(who Visitor) {
	l.note("login", who, func(counts *loginCounts) { counts.logins++ })
}

// LoggedOut notes the end of a connection that was logged in, and why it ended.
func (l *LoginLog) LoggedOut(who Visitor, reason string) {
	l.note("logout", who, func(counts *loginCounts) { counts.logouts++ }, slog.String("reason", reason))
}

// Refused notes a login that was refused, and why.
func (l *LoginLog) Refused(who Visitor, reason string) {
	l.note("login refused", who, func(counts *loginCounts) {
		counts.refused++
		if counts.reasons == nil {
			counts.reasons = make(map[string]int)
		}
		counts.reasons[reason]++
	}, slog.String("reason", reason))
}

func (l *LoginLog) note(message string, who Visitor, count func(*loginCounts), attrs ...slog.Attr) {
	if l == nil {
		return
	}
	l.mu.Lock()
	count(&l.counts)
	l.mu.Unlock()
	l.logger.LogAttrs(context.Background(), slog.LevelDebug, message, who.attrs(attrs...)...) //nolint:sloglint // the caller's is a constant
}

// Run writes the counts once a minute until ctx ends, and then those that are left.
func (l *LoginLog) Run(ctx context.Context) {
	ticker := time.NewTicker(loginLogEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			l.Report()
			return
		case <-ticker.C:
			l.Report()
		}
	}
}

// Report writes what was counted since the last report, in one line; nothing if nothing was.
func (l *LoginLog) Report() {
	l.mu.Lock()
	counts := l.counts
	l.counts = loginCounts{}
	l.mu.Unlock()
	if counts.logins+counts.logouts+counts.refused == 0 {
		return
	}
	attrs := []slog.Attr{
		slog.Int("logins", counts.logins), slog.Int("logouts", counts.logouts), slog.Int("refused", counts.refused),
	}
	if len(counts.reasons) > 0 {
		attrs = append(attrs, slog.Any("refused_because", counts.reasons))
	}
	l.logger.LogAttrs(context.Background(), slog.LevelInfo, "logins of the last minute", attrs...)
}

// WhyRefused returns why a login failed with err, for LoginLog.
func WhyRefused(err error) string {
	var refused *RefusedToken
	if errors.As(err, &refused) {
		return string(refused.Reason)
	}
	return string(domain.CodeOf(err))
}
