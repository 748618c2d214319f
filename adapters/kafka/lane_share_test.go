package kafka

import (
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/domain"
)

// stalledConversations is a conversation log of one partition whose broker gives no answer until release is called.
func stalledConversations(t *testing.T, cluster *Cluster) (log *Conversations, topic string, release func()) {
	t.Helper()
	gate := make(chan struct{})
	var once sync.Once
	release = func() { once.Do(func() { close(gate) }) }
	appender, topic := answeredAppender(t, cluster, time.Minute, func(int64) answer {
		<-gate
		return answer{}
	})
	log = NewConversations(cluster, appender)
	t.Cleanup(log.Close)
	t.Cleanup(release)
	return log, topic, release
}

func TestASenderWhoFloodsAStalledPartitionLeavesRoomForTheOthers(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		log, topic, release := stalledConversations(t, cluster)
		_, read := startTail(t, cluster, topic, 1)
		outcomes := make(chan error, 1000)
		refused := func() (err error, is bool) {
			select {
			case err = <-outcomes:
				return err, true
			default:
				return nil, false
			}
		}
		long, err := domain.NewText(strings.Repeat("x", 60<<10))
		if err != nil {
			t.Fatal(err)
		}
		say := func(from domain.UserID) (event domain.Event) {
			event = domain.Event{ID: newEventID(), Time: time.Now(), Body: domain.ChatMessage{From: from, To: 2, Text: long}}
			log.Append(event, func(err error) { outcomes <- err })
			return event
		}
		var accepted []domain.EventID
		flood := func(from domain.UserID) int {
			for n := range 200 {
				event := say(from)
				if err, is := refused(); is {
					if codeOf(err) != domain.CodeUnavailable {
						t.Fatalf("the flood of %d ends with %v", from, err)
					}
					return n
				}
				accepted = append(accepted, event.ID)
			}
			t.Fatalf("%d filled the queue", from)
			return 0
		}
		first := flood(1)
		second := flood(3)
		if second == 0 || second > first {
			t.Errorf("the queue took %d messages of one sender, then %d of another", first, second)
		}
		for from := domain.UserID(4); from < 8; from++ {
			accepted = append(accepted, say(from).ID)
			if err, is := refused(); is {
				t.Fatalf("%d, who sends one message, is refused: %v", from, err)
			}
		}
		release()
		for range accepted {
			if err := <-outcomes; err != nil {
				t.Fatalf("an accepted message: %v", err)
			}
		}
		waitUntil(t, func() bool { return len(read.of(0)) >= len(accepted) })
		for i, value := range read.of(0) {
			if !strings.Contains(value, accepted[i].String()) {
				t.Fatalf("record %d is not the one that was accepted as number %d", i, i)
			}
		}
		lane := log.appender.lanes[0]
		lane.mu.Lock()
		defer lane.mu.Unlock()
		if lane.queued != 0 || len(lane.shares) != 0 {
			t.Errorf("%d bytes are counted, of %d owners, with nothing queued", lane.queued, len(lane.shares))
		}
	})
}

func TestWhatExpiresInTheQueueFreesItsOwnersShare(t *testing.T) {
	l := newLane(NewCluster(ClusterOptions{Brokers: []string{"127.0.0.1:1"}}), AppenderOptions{
		Deadline: time.Second, QueueBytes: 1000, Logger: testLogger(t),
	}, 0)
	append100 := func(of owner) (err error) {
		l.append(record{value: make([]byte, 100-recordOverhead), owner: of}, func(outcome error) { err = outcome })
		return err
	}
	for n := range 5 {
		if err := append100(ownedBy(1)); err != nil {
			t.Fatalf("record %d of 5: %v", n, err)
		}
	}
	if err := append100(ownedBy(1)); codeOf(err) != domain.CodeUnavailable {
		t.Fatalf("more than what is free: %v", err)
	}
	if err := append100(ownedBy(domain.System)); err != nil {
		t.Fatalf("the platform is an owner of its own: %v", err)
	}
	for n := range 4 {
		if err := append100(owner{}); err != nil {
			t.Fatalf("record %d of 4 without an owner: %v", n, err)
		}
	}
	if err := append100(owner{}); codeOf(err) != domain.CodeUnavailable {
		t.Fatalf("beyond the queue: %v", err)
	}
	l.expire(time.Now().Add(2 * time.Second))
	if l.queued != 0 || len(l.shares) != 0 {
		t.Fatalf("%d bytes are counted, of %d owners, with nothing queued", l.queued, len(l.shares))
	}
}
