package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// runAudit runs an audit until the returned function is called, which waits for its end.
func runAudit(t *testing.T, audit *PresenceAudit) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(brokertest.Context(t))
	done := make(chan error, 1)
	go func() { done <- audit.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// writeSessions appends session records to partition 0 and waits for them.
func writeSessions(t *testing.T, appender *appending.Appender, records ...domain.SessionRecord) {
	t.Helper()
	outcomes := make(chan error, len(records))
	for _, r := range records {
		NewSessions(appender).Append(r, func(err error) { outcomes <- err })
	}
	for range records {
		if err := <-outcomes; err != nil {
			t.Fatal(err)
		}
	}
}

// A topic whose records had all expired may start at 0 again after a restart of an embedded broker, which still knows
// what the group committed.
func TestTheAuditOfATopicMadeAnewPublishesFromItsStart(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		sessions, presence := testAppender(t, cluster, names.Sessions, 1), testAppender(t, cluster, names.Presence, 1)
		defer sessions.Close(brokertest.Context(t))
		defer presence.Close(brokertest.Context(t))
		group := names.Sessions + ".audit"
		logtest.Commit(t, cluster, group, names.Sessions, 1000)
		writeSessions(t, sessions, domain.SessionRecord{
			Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: 7, Count: 1,
		})
		_, log := logtest.Tail(t, cluster, names.Presence, 1)
		stop := runAudit(t, NewPresenceAudit(cluster, AuditOptions{
			Sessions: names.Sessions, Group: group, Presence: presence, Lookback: 20 * time.Minute, Logger: brokertest.Logger(t),
		}))
		log.WaitFor(t, 0, 1)
		stop()
	})
}

// The death of one node may cause more events at once than the queue of the public topic takes.
func TestTheAuditPublishesTheEndOfMoreSessionsThanItsQueueTakes(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const users = 3 * maxUnsettled
		names := testTopics(t, cluster, 1)
		sessions := testAppender(t, cluster, names.Sessions, 1)
		defer sessions.Close(brokertest.Context(t))
		presence := NewAppender(cluster, appending.AppenderOptions{
			Topic: names.Presence, Partitions: 1, Deadline: time.Minute, QueueBytes: 1 << 20, Logger: brokertest.Logger(t),
		})
		defer presence.Close(brokertest.Context(t))
		node := domain.Incarnation{1}
		for user := domain.UserID(1); user <= users; user += 100 {
			var ups []domain.SessionRecord
			for u := user; u < user+100; u++ {
				ups = append(ups, domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: u, Count: int64(u)})
			}
			writeSessions(t, sessions, ups...)
		}
		writeSessions(t, sessions, domain.SessionRecord{Kind: domain.SessionDead, Incarnation: node})
		_, log := logtest.Tail(t, cluster, names.Presence, 1)
		stop := runAudit(t, NewPresenceAudit(cluster, AuditOptions{
			Sessions: names.Sessions, Group: names.Sessions + ".audit", Presence: presence, Lookback: 20 * time.Minute,
			Logger: brokertest.Logger(t),
		}))
		values := log.WaitFor(t, 0, 2*users)
		stop()
		events, _ := presenceOf(t, values)
		offline := make(map[string]bool)
		for _, event := range events {
			if user, ok := strings.CutSuffix(event, " offline"); ok {
				offline[user] = true
			}
		}
		if len(offline) != users {
			t.Errorf("%d users went offline, not %d", len(offline), users)
		}
	})
}

func TestAFailedAuditPausesBeforeItStartsOver(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		sessions, presence := testAppender(t, cluster, names.Sessions, 1), testAppender(t, cluster, names.Presence, 1)
		defer sessions.Close(brokertest.Context(t))
		presence.Close(brokertest.Context(t)) // it refuses everything
		writeSessions(t, sessions, domain.SessionRecord{
			Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: 7, Count: 1,
		})
		failures := make(chan time.Time, 100)
		stop := runAudit(t, NewPresenceAudit(cluster, AuditOptions{
			Sessions: names.Sessions, Group: names.Sessions + ".audit", Presence: presence, Lookback: 20 * time.Minute,
			Logger: slog.New(&warnings{at: failures}),
		}))
		defer stop()
		first := <-failures
		if pause := (<-failures).Sub(first); pause < groups.Pause {
			t.Errorf("it started over after %s", pause)
		}
	})
}

// warnings is a log handler that tells when there was a warning, as long as somebody reads it.
type warnings struct{ at chan time.Time }

func (w *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }
func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	select {
	case w.at <- r.Time:
	default:
	}
	return nil
}
func (w *warnings) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *warnings) WithGroup(string) slog.Handler      { return w }

// Whoever joins a group waits for all its members, for longer than a node that is asked to leave may take.
func TestAnAuditThatIsStillJoiningItsGroupStopsAtOnce(t *testing.T) {
	joining := make(chan struct{}, 1)
	address := hangingCoordinator(t, joining)
	audit := NewPresenceAudit(logtest.Cluster(t, []string{address}), AuditOptions{
		Sessions: "sessions", Group: "audit", Logger: brokertest.Logger(t),
	})
	stop := runAudit(t, audit)
	<-joining
	since := time.Now()
	stop()
	// One that waits for the answer takes at least as long as the answer may: the session, and 3 s more.
	if took := time.Since(since); took > 9*time.Second {
		t.Errorf("it took %s", took)
	}
}

// hangingCoordinator is a broker that names itself the coordinator of every group, and does not answer who joins.
func hangingCoordinator(t *testing.T, joining chan<- struct{}) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		for {
			request, err := brokertest.ReadFrame(conn)
			if err != nil {
				return
			}
			answer := request[8:12:12] // the correlation id
			switch binary.BigEndian.Uint16(request[4:]) {
			case 18: // ApiVersions 0: no error; Metadata 1, FindCoordinator 0, JoinGroup up to 1
				answer = append(answer, 0, 0, 0, 0, 0, 3, 0, 3, 0, 1, 0, 1, 0, 10, 0, 0, 0, 0, 0, 11, 0, 0, 0, 1)
			case 3: // Metadata 1: broker 1, host, port, no rack; it is the controller; no topics
				answer = append(answer, 0, 0, 0, 1, 0, 0, 0, 1, 0, 9)
				answer = append(answer, "127.0.0.1"...)
				answer = binary.BigEndian.AppendUint32(answer, uint32(address.Port))
				answer = append(answer, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0)
			case 10: // FindCoordinator 0: no error, broker 1, host, port
				answer = append(answer, 0, 0, 0, 0, 0, 1, 0, 9)
				answer = append(answer, "127.0.0.1"...)
				answer = binary.BigEndian.AppendUint32(answer, uint32(address.Port))
			case 11: // JoinGroup
				select {
				case joining <- struct{}{}:
				default:
				}
				continue
			}
			size := binary.BigEndian.AppendUint32(nil, uint32(len(answer)))
			if _, err := conn.Write(append(size, answer...)); err != nil {
				return
			}
		}
	}
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				serving.Go(func() { serve(conn) })
			}
		}
	})
	return address.String()
}
