package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
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
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		names := testTopics(t, cluster, 1)
		sessionsAppender := testAppender(t, cluster, names.Sessions, 1)
		defer sessionsAppender.Close(testContext(t))
		presence := testAppender(t, cluster, names.Presence, 1)
		defer presence.Close(testContext(t))
		sessions := NewSessions(sessionsAppender)
		tail, log := startTail(t, cluster, names.Presence, 1)
		audit := NewPresenceAudit(cluster, AuditOptions{
			Sessions: names.Sessions, Group: names.Sessions + ".audit", Presence: presence,
			Lookback: 20 * time.Minute, Logger: testLogger(t),
		})
		run := func() (stop func()) {
			ctx, cancel := context.WithCancel(testContext(t))
			done := make(chan error, 1)
			go func() { done <- audit.Run(ctx) }()
			return func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
		node := domain.Incarnation{1}
		write := func(records ...domain.SessionRecord) {
			for _, r := range records {
				outcome := make(chan error, 1)
				sessions.Append(r, func(err error) { outcome <- err })
				if err := <-outcome; err != nil {
					t.Fatal(err)
				}
			}
		}
		up := func(user domain.UserID, count int64) domain.SessionRecord {
			return domain.SessionRecord{Kind: domain.SessionUp, Incarnation: node, User: user, Count: count}
		}
		down := func(user domain.UserID, count int64) domain.SessionRecord {
			return domain.SessionRecord{Kind: domain.SessionDown, Incarnation: node, User: user, Count: count}
		}

		write(up(7, 1), up(8, 2), up(7, 1), down(8, 2))
		stop := run()
		waitForValues(t, tail, log, 0, 3)
		stop()
		write(down(7, 1), up(9, 3)) // while nobody audits
		stop = run()
		got := waitForValues(t, tail, log, 0, 5)
		stop()

		events, ids := presenceOf(t, got)
		// What was published and not committed when the audit stopped comes again, under the same id.
		distinct := make(map[string]bool)
		var once []string
		for i, id := range ids {
			if !distinct[id] {
				distinct[id] = true
				once = append(once, events[i])
			}
		}
		want := fmt.Sprint([]string{"7 online", "8 online", "8 offline", "7 offline", "9 online"})
		if fmt.Sprint(once) != want {
			t.Errorf("published %v, not %v", once, want)
		}
	})
}

func TestAStartingNodeReadsBackTheSessionsOfAllNodes(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		const partitions = 4
		names := testTopics(t, cluster, partitions)
		appender := testAppender(t, cluster, names.Sessions, partitions)
		defer appender.Close(testContext(t))
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
		presence := application.NewSetPresence(sessions, time.Now, func() domain.EventID { return domain.EventID{2} },
			application.DefaultPresenceTimes, testLogger(t))
		from, to, err := SessionLookback(testContext(t), cluster, names.Sessions, partitions, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		tail := NewTail(cluster, TailOptions{
			Topic: names.Sessions, From: from, Logger: testLogger(t),
			Handler: &SessionTail{Presence: presence, Logger: testLogger(t), Lost: func() { t.Error("records were lost") }},
		})
		ctx, cancel := context.WithCancel(testContext(t))
		done := make(chan error, 1)
		go func() { done <- tail.Run(ctx) }()
		defer func() { cancel(); <-done }()
		if err := tail.WaitFor(testContext(t), to); err != nil {
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
		waitUntil(t, func() bool {
			for user := domain.UserID(1); user <= 20; user++ {
				if presence.Online(user) {
					return false
				}
			}
			return true
		})
	})
}
