package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/application/notice"
	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// presenceOf returns the public events of a topic with one partition, as "user status", and their ids.
func presenceOf(t *testing.T, values []string) (events, ids []string) {
	t.Helper()
	for _, value := range values {
		var e struct {
			ID   string `json:"id"`
			Data struct {
				UserID int64  `json:"user_id"`
				Status string `json:"status"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(value), &e); err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprint(e.Data.UserID, " ", e.Data.Status))
		ids = append(ids, e.ID)
	}
	return events, ids
}

func TestTheAuditPublishesEveryTransitionAndGoesOnWhereItStopped(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		names := testTopics(t, cluster, 1)
		sessionsAppender := testAppender(t, cluster, names.Sessions, 1)
		defer sessionsAppender.Close(brokertest.Context(t))
		presence := testAppender(t, cluster, names.Presence, 1)
		defer presence.Close(brokertest.Context(t))
		_, log := logtest.Tail(t, cluster, names.Presence, 1)
		audit := NewPresenceAudit(cluster, AuditOptions{
			Sessions: names.Sessions, Group: names.Sessions + ".audit", Presence: presence,
			Lookback: 20 * time.Minute, Logger: brokertest.Logger(t),
		})
		node := domain.Incarnation{1}
		up := func(user domain.UserID, count int64) domain.SessionRecord {
			return domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: count}
		}
		down := func(user domain.UserID, count int64) domain.SessionRecord {
			return domain.SessionRecord{Kind: domain.SessionDown, Incarnation: node, User: user, Count: count}
		}

		// What was published and not committed when the audit stopped comes again, under the same id.
		once := func() (once []string) {
			events, ids := presenceOf(t, log.Of(0))
			for i, id := range ids {
				if !slices.Contains(ids[:i], id) {
					once = append(once, events[i])
				}
			}
			return once
		}

		writeSessions(t, sessionsAppender, up(7, 1), up(8, 2), up(7, 1), down(8, 2))
		stop := runAudit(t, audit)
		brokertest.WaitUntil(t, func() bool { return len(once()) == 3 })
		stop()
		writeSessions(t, sessionsAppender, down(7, 1), up(9, 3)) // while nobody audits
		stop = runAudit(t, audit)
		brokertest.WaitUntil(t, func() bool { return len(once()) >= 5 })
		stop()

		want := fmt.Sprint([]string{"7 online", "8 online", "8 offline", "7 offline", "9 online"})
		if got := fmt.Sprint(once()); got != want {
			t.Errorf("published %s, not %s", got, want)
		}
	})
}

func TestAStartingNodeReadsBackTheSessionsOfAllNodes(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions = 4
		names := testTopics(t, cluster, partitions)
		appender := testAppender(t, cluster, names.Sessions, partitions)
		defer appender.Close(brokertest.Context(t))
		sessions := NewSessions(appender)
		for user := domain.UserID(1); user <= 20; user++ {
			outcome := make(chan error, 1)
			sessions.Append(domain.SessionRecord{
				Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: user, Count: int64(user),
			}, func(err error) { outcome <- err })
			if err := <-outcome; err != nil {
				t.Fatal(err)
			}
		}
		presence := presence.NewSetPresence(sessions, time.Now, func() domain.EventID { return domain.EventID{2} },
			presence.DefaultTimes, notice.NewLog(brokertest.Logger(t), time.Now))
		from, to, err := Lookback(brokertest.Context(t), cluster, names.Sessions, partitions, time.Now(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		tail := logclient.NewTail(cluster, logclient.TailOptions{
			Topic: names.Sessions, From: from, Logger: brokertest.Logger(t),
			Handler: &SessionTail{Presence: presence, Notices: notice.NewLog(brokertest.Logger(t), time.Now), Lost: func() { t.Error("records were lost") }},
		})
		ctx, cancel := context.WithCancel(brokertest.Context(t))
		done := make(chan error, 1)
		go func() { done <- tail.Run(ctx) }()
		defer func() { cancel(); <-done }()
		if err := tail.WaitFor(brokertest.Context(t), to); err != nil {
			t.Fatal(err)
		}
		for user := domain.UserID(1); user <= 20; user++ {
			if !presence.Online(user) {
				t.Errorf("user %d is not known to be online", user)
			}
		}
		buried := make(chan error, 1)
		sessions.Bury(domain.Incarnation{1}, func(err error) { buried <- err })
		if err := <-buried; err != nil {
			t.Fatal(err)
		}
		brokertest.WaitUntil(t, func() bool {
			for user := domain.UserID(1); user <= 20; user++ {
				if presence.Online(user) {
					return false
				}
			}
			return true
		})
	})
}
