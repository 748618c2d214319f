package kafka

import (
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/groups"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

func TestTheAuditPublishesFromWhereItsGroupIsAndReadsBackFurther(t *testing.T) {
	cluster, topic, claims := logtest.ClaimedLog(t)
	const lookback = 20 * time.Minute
	audit := NewPresenceAudit(cluster, AuditOptions{Sessions: topic, Lookback: lookback, Logger: brokertest.Logger(t)})
	locate := func(committed int64) (start, publish int64, err error) {
		from, err := groups.Begin(brokertest.Context(t), cluster, topic, []groups.Assignment{{Offset: committed}})
		if err != nil {
			return 0, 0, err
		}
		start, err = audit.lookback(brokertest.Context(t), 0, from[0])
		return start, from[0], err
	}
	for _, c := range []struct {
		committed, since int64
		start, publish   int64
		hour             int // of the record there
	}{
		{-1, 5, 5, 5, 5},
		{5, 5, 5, 5, 5},
		{7, 6, 6, 7, 7},
		{7, 7, 7, 7, 7},
		{7, 9, 7, 7, 7}, // a clock that went back
		{9, 6, 6, 9, 9},
		{11, 5, 5, 5, 5}, // made anew
	} {
		claims.Since = c.since
		start, publish, err := locate(c.committed)
		if err != nil || start != c.start || publish != c.publish {
			t.Errorf("committed %d: it reads from %d and publishes from %d, %v; want %d and %d",
				c.committed, start, publish, err, c.start, c.publish)
		}
		if at, want := claims.Asked(t), brokertest.HoursApart.Add(time.Duration(c.hour)*time.Hour-lookback); !at.Equal(want) {
			t.Errorf("committed %d: it reads back to %s, not %s", c.committed, at, want)
		}
	}
	claims.Since = 6
	before := time.Now().Add(-lookback - time.Second)
	start, publish, err := locate(10)
	if at := claims.Asked(t); err != nil || start != 6 || publish != 10 || at.Before(before) || at.After(time.Now()) {
		t.Errorf("at the end it reads from %d, stamped %s, and publishes from %d, %v", start, at, publish, err)
	}
}

// A login must not miss what was appended behind an open transaction, and must not wait for it.
func TestWhoWaitsForTheReadableEndAndWhoForThatOfTheLog(t *testing.T) {
	cluster, topic, _ := logtest.ClaimedLog(t) // readable up to 8, appended up to 10
	appender := testAppender(t, cluster, topic, 1)
	conversations := NewConversations(cluster, appender)
	defer conversations.Close()
	defer appender.Close(brokertest.Context(t))
	if ends, err := conversations.EndOffsets(brokertest.Context(t)); err != nil || ends[0] != 10 {
		t.Errorf("a login is served from %v on, %v", ends, err)
	}
	if ends, err := conversations.Readable().EndOffsets(brokertest.Context(t)); err != nil || ends[0] != 8 {
		t.Errorf("the history follows up to %v, %v", ends, err)
	}
	barrier := NewReadBarrier(cluster, topic, 1, nil)
	defer barrier.Close()
	if ends, err := barrier.ends.EndOffsets(brokertest.Context(t)); err != nil || ends[0] != 8 {
		t.Errorf("the barrier waits for %v, %v", ends, err)
	}
}

func TestANodeReadsBackFromATimeToWhatCanBeRead(t *testing.T) {
	cluster, topic, claims := logtest.ClaimedLog(t)
	before := time.Now()
	from, to, err := Lookback(brokertest.Context(t), cluster, topic, 1, time.Now(), time.Hour)
	if err != nil || from[0] != 6 || to[0] != 8 || len(from) != 1 || len(to) != 1 {
		t.Errorf("it reads from %v to %v, %v", from, to, err)
	}
	if at := claims.Asked(t).Add(time.Hour); at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("an hour ago was %s", at.Add(-time.Hour))
	}
	// No record is as young: it begins at the end.
	claims.Since = -1
	if from, _, err = Lookback(brokertest.Context(t), cluster, topic, 1, time.Now(), time.Hour); err != nil || from[0] != 8 {
		t.Errorf("without a record as young, it reads from %v, %v", from, err)
	}
}
