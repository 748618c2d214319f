package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/application"
	"chatting/domain"
)

// claimedOffsets are what a broker says of where its only partition begins and ends.
type claimedOffsets struct {
	start, stable, end int64
	// since is the offset for a time; at takes down the times that were asked for.
	since int64
	mu    sync.Mutex
	at    []time.Time
}

// claim has a broker answer ListOffsets by claims, for as long as the test runs.
func (c *claimedOffsets) claim(broker *kfake.Cluster) {
	broker.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		c.mu.Lock()
		defer c.mu.Unlock()
		list, _ := request.(*kmsg.ListOffsetsRequest)
		response, _ := list.ResponseKind().(*kmsg.ListOffsetsResponse)
		partition := kmsg.NewListOffsetsResponseTopicPartition()
		switch asked := list.Topics[0].Partitions[0].Timestamp; {
		case asked == timestampEarliest:
			partition.Offset = c.start
		case asked == timestampLatest && list.IsolationLevel == readCommitted:
			partition.Offset = c.stable
		case asked == timestampLatest:
			partition.Offset = c.end
		default:
			partition.Offset = c.since
			c.at = append(c.at, time.UnixMilli(asked))
		}
		response.Topics = []kmsg.ListOffsetsResponseTopic{{
			Topic: list.Topics[0].Topic, Partitions: []kmsg.ListOffsetsResponseTopicPartition{partition},
		}}
		return response, nil, true
	})
}

// asked returns the only time that was asked for, and forgets it.
func (c *claimedOffsets) asked(t *testing.T) time.Time {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.at) != 1 {
		t.Fatalf("the offsets of the times %v were asked for", c.at)
	}
	at := c.at[0]
	c.at = nil
	return at
}

// hoursApart is when the records of a claimedLog were written: record n in the hour n of a day that is past.
var hoursApart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// claimedLog is a log of ten records that claims to begin at 5, to be readable up to 8 and to end at 10.
func claimedLog(t *testing.T) (cluster *Cluster, topic string, claims *claimedOffsets) {
	t.Helper()
	broker, cluster, topic := controlledTopic(t)
	var now time.Time
	appender := NewAppender(cluster, AppenderOptions{
		Topic: topic, Partitions: 1, Deadline: 5 * time.Second, QueueBytes: 4 << 20, Logger: testLogger(t), Now: func() time.Time { return now },
	})
	for n := range 10 {
		outcome := make(chan error, 1)
		now = hoursApart.Add(time.Duration(n) * time.Hour)
		appender.appendTo(0, record{key: []byte("1:2"), value: fmt.Append(nil, n)}, func(err error) { outcome <- err })
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
	}
	appender.Close(testContext(t))
	claims = &claimedOffsets{start: 5, stable: 8, end: 10, since: 6}
	claims.claim(broker)
	return cluster, topic, claims
}

// A node that starts must neither deliver a topic again that its group has read to the end, nor leave anything out.
func TestTheIngestBeginsWhereItsGroupIs(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	ingest := NewIngest(cluster, IngestOptions{Topic: topic, Logger: testLogger(t)})
	for committed, want := range map[int64]int64{
		-1: 5, 0: 5, 4: 5, 5: 5, 6: 6, 8: 8, 9: 9,
		10: 10, // all is read
		11: 5, 1000: 5,
	} {
		from, err := ingest.locate(testContext(t), []assignment{{ID: 0, Offset: committed}})
		if err != nil || len(from) != 1 || from[0] != want {
			t.Errorf("committed %d: it begins at %v, %v; want %d", committed, from, err, want)
		}
	}
}

func TestTheIngestLocatesEachOfItsPartitions(t *testing.T) {
	cluster := listed(t, func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsResponse) {}) // partition p begins and ends at 10 p
	ingest := NewIngest(cluster, IngestOptions{Topic: "log", Logger: testLogger(t)})
	from, err := ingest.locate(testContext(t), []assignment{{5, 50}, {0, -1}, {3, 7}, {2, 100}})
	if want := (map[int]int64{5: 50, 0: 0, 3: 30, 2: 20}); err != nil || !maps.Equal(from, want) {
		t.Errorf("it begins at %v, %v; want %v", from, err, want)
	}
}

func TestTheAuditPublishesFromWhereItsGroupIsAndReadsBackFurther(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	const lookback = 20 * time.Minute
	audit := NewPresenceAudit(cluster, AuditOptions{Sessions: topic, Lookback: lookback, Logger: testLogger(t)})
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
		claims.since = c.since
		start, publish, err := audit.locate(testContext(t), assignment{ID: 0, Offset: c.committed})
		if err != nil || start != c.start || publish != c.publish {
			t.Errorf("committed %d: it reads from %d and publishes from %d, %v; want %d and %d",
				c.committed, start, publish, err, c.start, c.publish)
		}
		if at, want := claims.asked(t), hoursApart.Add(time.Duration(c.hour)*time.Hour-lookback); !at.Equal(want) {
			t.Errorf("committed %d: it reads back to %s, not %s", c.committed, at, want)
		}
	}
	claims.since = 6
	before := time.Now().Add(-lookback - time.Second)
	start, publish, err := audit.locate(testContext(t), assignment{ID: 0, Offset: 10})
	if at := claims.asked(t); err != nil || start != 6 || publish != 10 || at.Before(before) || at.After(time.Now()) {
		t.Errorf("at the end it reads from %d, stamped %s, and publishes from %d, %v", start, at, publish, err)
	}
}

func TestAProjectionGoesOnWhereItStoppedUnlessTheLogIsAnotherOne(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	sixth := loggedRecord{offset: 6, at: hoursApart.Add(6 * time.Hour), key: []byte("1:2"), value: []byte("6")}.fingerprint()
	at := func(generation, offset, last int64, fingerprint application.RecordFingerprint) application.Projection {
		return application.Projection{
			Next: application.LogPosition{Generation: generation, Offset: offset}, Last: last, Fingerprint: fingerprint,
		}
	}
	none := application.RecordFingerprint{}
	atStart := loggedRecord{offset: 5, at: hoursApart.Add(5 * time.Hour), key: []byte("1:2"), value: []byte("5")}.fingerprint()
	for what, c := range map[string]struct {
		stored    application.Projection
		lostUntil int64
		want      application.Projection
	}{
		"never projected":                  {at(0, 0, -1, none), 0, at(1, 5, -1, none)},
		"in the middle":                    {at(3, 7, 6, sixth), 0, at(3, 7, 6, sixth)},
		"nothing was read yet":             {at(3, 7, -1, none), 0, at(3, 7, -1, none)},
		"at the start":                     {at(3, 5, 4, none), 0, at(3, 5, 4, none)},
		"at the end":                       {at(3, 10, 6, sixth), 0, at(3, 10, 6, sixth)},
		"past the end":                     {at(3, 11, 6, sixth), 0, at(4, 5, -1, none)},
		"another record there":             {at(3, 7, 6, none), 0, at(4, 5, -1, none)},
		"its last record is the first":     {at(3, 6, 5, atStart), 0, at(3, 6, 5, atStart)},
		"another record is the first":      {at(3, 6, 5, none), 0, at(4, 5, -1, none)},
		"its last record is where it ends": {at(3, 11, 10, none), 0, at(4, 5, -1, none)},
		"the last record is lost":          {at(3, 5, 3, none), 0, at(3, 5, 3, none)},
		"the next ones are lost":           {at(3, 4, 3, none), 0, at(3, 5, -1, none)},
		"some cannot be read":              {at(3, 7, 6, sixth), 9, at(3, 9, -1, none)},
		"some before cannot be read":       {at(3, 7, 6, sixth), 7, at(3, 7, 6, sixth)},
		"anew, and some cannot be read":    {at(3, 7, 6, none), 9, at(4, 5, -1, none)},
		"never, and some cannot be read":   {at(0, 0, -1, none), 9, at(1, 9, -1, none)},
	} {
		store := newMemoryHistory()
		store.projections[0] = c.stored
		store.projections[1] = application.Projection{Next: application.LogPosition{Generation: 9, Partition: 1, Offset: 9}}
		var log bytes.Buffer
		projector := testProjector(t, cluster, topic, store)
		projector.options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		p := &projectedPartition{projector: projector, lostUntil: c.lostUntil}
		got, err := p.locate(testContext(t))
		if err != nil || got != c.want {
			t.Errorf("%s: it goes on at %+v, %v; want %+v", what, got.Next, err, c.want.Next)
		}
		if store.projections[0] != c.want || p.lostUntil != 0 {
			t.Errorf("%s: the database says %+v", what, store.projections[0])
		}
		before, after := c.stored.Next, c.want.Next
		anew, lost := before.Generation > 0 && after.Generation > before.Generation, after.Generation == before.Generation && after != before
		if strings.Contains(log.String(), "made anew") != anew || strings.Contains(log.String(), "lost records") != lost {
			t.Errorf("%s: it says %q", what, log.String())
		}
	}
}

// Of several brokers, one that was deposed may say that the log ends earlier than it does.
func TestALogThatIsBackInFullIsNotTakenToBeAnotherOne(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	store := newMemoryHistory()
	store.projections[0] = application.Projection{Next: application.LogPosition{Generation: 3, Offset: 10}, Last: -1}
	projector := testProjector(t, cluster, topic, store)
	projector.options.Embedded = false
	p := &projectedPartition{projector: projector}
	locate := func(end int64, want error) {
		t.Helper()
		claims.mu.Lock()
		claims.end = end
		claims.mu.Unlock()
		if _, err := p.locate(testContext(t)); !errors.Is(err, want) {
			t.Errorf("with its end at %d: %v", end, err)
		}
	}
	locate(9, errPastEnd)
	since := p.pastEnd
	if since.IsZero() {
		t.Error("nothing is noted of it")
	}
	locate(9, errPastEnd)
	if p.pastEnd != since {
		t.Error("it begins to wait anew")
	}
	locate(10, nil)
	if !p.pastEnd.IsZero() {
		t.Error("the time before still counts")
	}
}

func TestARebuildBeginsWhereAllInvitesFromBeforeTheLogHaveEnded(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	p := &projectedPartition{projector: testProjector(t, cluster, topic, newMemoryHistory())}
	for _, c := range []struct{ start, since, want int64 }{{5, 7, 7}, {5, 5, 5}, {5, 4, 5}} {
		claims.start, claims.since = c.start, c.since
		from, err := p.rebuildFrom(testContext(t))
		if err != nil || from != c.want {
			t.Errorf("a log from %d on: rebuilt from %d, %v; want %d", c.start, from, err, c.want)
		}
		if at, want := claims.asked(t), hoursApart.Add(5*time.Hour+domain.InviteLookback); !at.Equal(want) {
			t.Errorf("it asks for %s, not %s", at, want)
		}
	}
	// What was not projected yet will be, as ever.
	for _, c := range []struct{ since, next, want int64 }{{7, 9, 7}, {9, 7, 7}} {
		claims.start, claims.since = 5, c.since
		store := newMemoryHistory()
		at := application.LogPosition{Generation: 3, Offset: c.next}
		store.projections[0] = application.Projection{Next: at, Last: -1}
		rebuilt, err := testProjector(t, cluster, topic, store).Rebuild(testContext(t), 0)
		claims.asked(t)
		from := at
		from.Offset = c.want
		if err != nil || rebuilt != (Rebuilt{from, at}) || store.projections[0].Next != from {
			t.Errorf("projected up to %d: rebuilt %+v, %v", c.next, rebuilt, err)
		}
	}
	claims.start = 0 // nothing is missing
	if from, err := p.rebuildFrom(testContext(t)); err != nil || from != 0 || len(claims.at) > 0 {
		t.Errorf("a whole log is rebuilt from %d, %v", from, err)
	}
}

// As a restore does it, whose history is another log's.
func TestAProjectionThatIsBegunAnewKeepsTheBlocks(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	store := newMemoryHistory()
	store.projections[0] = application.Projection{Next: application.LogPosition{Generation: 3, Offset: 900}, Last: 899}
	block := application.BlockState{BlockPair: application.BlockPair{Blocker: 1, Target: 2}, Blocked: true, Version: 7}
	store.stored = []application.StoredBlock{{BlockState: block}}
	end, err := testProjector(t, cluster, topic, store).BeginAnew(testContext(t), 0, 7)
	want := application.Projection{Next: application.LogPosition{Generation: 7, Offset: 5}, Last: -1}
	if err != nil || end != 8 || store.projections[0] != want {
		t.Errorf("it begins at %+v, up to %d, %v", store.projections[0], end, err)
	}
	at := want.Next
	at.Offset--
	if len(store.changes) != 1 || store.changes[0] != (application.JudgedChange{BlockState: block, At: at}) {
		t.Errorf("the blocks at its start are %+v", store.changes)
	}
}

// The blocks of other partitions are theirs.
func TestABeginningKnowsTheBlocksOfItsOwnPartition(t *testing.T) {
	const partitions = 8
	home := partitionOf([]byte("1:2"), partitionNumbers(partitions))
	cluster := listed(t, func(_ *kmsg.ListOffsetsRequest, response *kmsg.ListOffsetsResponse) {
		response.Topics[0].Partitions[0].Offset = 0 // nothing is logged
	})
	store := newMemoryHistory()
	var ours application.BlockState
	for user := domain.UserID(2); user < 40; user++ {
		block := application.BlockState{BlockPair: application.BlockPair{Blocker: user, Target: 1}, Blocked: true, Version: 1}
		store.stored = append(store.stored, application.StoredBlock{BlockState: block})
		if user == 2 {
			ours = block
		}
	}
	projector := testProjector(t, cluster, "log", store)
	projector.options.Partitions = partitions
	p := &projectedPartition{projector: projector, number: home}
	to := application.Projection{Next: application.LogPosition{Generation: 1, Partition: home}, Last: -1}
	if err := p.begin(testContext(t), application.Projection{}, to); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, change := range store.changes {
		found = found || change.BlockState == ours
		if key := domain.Between(change.Blocker, change.Target).Key(); projector.partitionOf([]byte(key)) != home {
			t.Errorf("it takes the block of %s", key)
		}
	}
	if !found || len(store.changes) == len(store.stored) {
		t.Errorf("it takes %d of %d blocks", len(store.changes), len(store.stored))
	}
}

func TestTheTimeOfAnOffsetIsThatOfItsRecord(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	for _, offset := range []int64{5, 7, 9} {
		at, err := cluster.timeOf(testContext(t), topic, 0, offset)
		if want := hoursApart.Add(time.Duration(offset) * time.Hour); err != nil || !at.Equal(want) {
			t.Errorf("record %d is of %s, %v; want %s", offset, at, err, want)
		}
	}
	for _, offset := range []int64{10, math.MaxInt64} {
		before := time.Now()
		if at, err := cluster.timeOf(testContext(t), topic, 0, offset); err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("offset %d, where the log ends, is of %s, %v", offset, at, err)
		}
	}
}

// A login must not miss what was appended behind an open transaction, and must not wait for it.
func TestWhoWaitsForTheReadableEndAndWhoForThatOfTheLog(t *testing.T) {
	cluster, topic, _ := claimedLog(t) // readable up to 8, appended up to 10
	conversations := testConversations(t, cluster, topic)
	if ends, err := conversations.EndOffsets(testContext(t)); err != nil || ends[0] != 10 {
		t.Errorf("a login is served from %v on, %v", ends, err)
	}
	if ends, err := conversations.Readable().EndOffsets(testContext(t)); err != nil || ends[0] != 8 {
		t.Errorf("the history follows up to %v, %v", ends, err)
	}
	barrier := NewReadBarrier(cluster, topic, 1, nil)
	defer barrier.Close()
	if ends, err := barrier.ends.get(testContext(t)); err != nil || ends[0] != 8 {
		t.Errorf("the barrier waits for %v, %v", ends, err)
	}
}

func TestANodeReadsBackFromATimeToWhatCanBeRead(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	before := time.Now()
	from, to, err := Lookback(testContext(t), cluster, topic, 1, time.Hour)
	if err != nil || from[0] != 6 || to[0] != 8 || len(from) != 1 || len(to) != 1 {
		t.Errorf("it reads from %v to %v, %v", from, to, err)
	}
	if at := claims.asked(t).Add(time.Hour); at.Before(before.Add(-time.Second)) || at.After(time.Now()) {
		t.Errorf("an hour ago was %s", at.Add(-time.Hour))
	}
	// No record is as young: it begins at the end.
	claims.since = -1
	if from, _, err = Lookback(testContext(t), cluster, topic, 1, time.Hour); err != nil || from[0] != 8 {
		t.Errorf("without a record as young, it reads from %v, %v", from, err)
	}
}

func TestALookFromOutsideReadsWhatWasAskedFor(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	read := func(reading TopicReading) (values string) {
		t.Helper()
		reading.Topic, reading.Logger = topic, testLogger(t)
		err := cluster.ReadTopic(testContext(t), reading, func(r *TailRecord) error {
			values += string(r.Value)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return values
	}
	if got := read(TopicReading{}); got != "567" {
		t.Errorf("all: %s", got)
	}
	if got := read(TopicReading{OnlyNew: true}); got != "" {
		t.Errorf("only new: %s", got)
	}
	// Brokers find the place by the times of whole batches, or by an index.
	since := hoursApart.Add(7 * time.Hour)
	if got := read(TopicReading{Since: since}); got != "7" {
		t.Errorf("since the hour 7: %s", got)
	}
	if at := claims.asked(t); !at.Equal(since) {
		t.Errorf("it asks for %s", at)
	}
	failed := errors.New("enough")
	count := 0
	for _, follow := range []bool{false, true} {
		err := cluster.ReadTopic(testContext(t), TopicReading{Topic: topic, Follow: follow, Logger: testLogger(t)}, func(*TailRecord) error {
			count++
			return failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("following: %t: a reader that fails ends it with %v", follow, err)
		}
	}
	ctx, stop := context.WithCancel(testContext(t))
	defer stop()
	err := cluster.ReadTopic(ctx, TopicReading{Topic: topic, Logger: testLogger(t)}, func(*TailRecord) error {
		stop()
		return nil
	})
	if err != nil {
		t.Errorf("a reading whose context ends meanwhile: %v", err)
	}
	if count != 2 {
		t.Errorf("%d records were handed over to readers that fail", count)
	}
}

// Such a reading would wait for ever, for a right that it does not have.
func TestATopicThatMayNotBeReadIsRefused(t *testing.T) {
	for code, refused := range map[kafka.Error]bool{
		0: false, kafka.TopicAuthorizationFailed: true, kafka.NotLeaderForPartition: false, kafka.OffsetOutOfRange: false,
		kafka.Unknown: false, // stands for an answer that names no partition, as from a broker that throttles
	} {
		broker, cluster, topic := controlledTopic(t)
		broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
			broker.KeepControl()
			fetch, _ := request.(*kmsg.FetchRequest)
			if fetch.MaxWaitMillis != 0 || fetch.Topics[0].Topic != topic || fetch.Topics[0].Partitions[0].FetchOffset != 5 {
				t.Errorf("it asks for %+v", fetch)
			}
			response, _ := fetch.ResponseKind().(*kmsg.FetchResponse)
			partition := kmsg.NewFetchResponseTopicPartition()
			partition.ErrorCode = int16(code)
			if code != kafka.Unknown {
				response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition}}}
			}
			return response, nil, true
		})
		if refused {
			claims := &claimedOffsets{start: 5, stable: 8, end: 10}
			claims.claim(broker)
			err := cluster.ReadTopic(testContext(t), TopicReading{Topic: topic, Logger: testLogger(t)}, nil)
			if err == nil || !strings.Contains(err.Error(), "may not read") {
				t.Errorf("a reading of it ends with %v", err)
			}
		}
		err := cluster.mayRead(testContext(t), topic, map[int]int64{0: 5})
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), topic) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	_, cluster, topic := controlledTopic(t)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := cluster.mayRead(ended, topic, map[int]int64{0: 5}); err != nil {
		t.Errorf("without an answer: %v", err)
	}
	if err := cluster.ReadTopic(ended, TopicReading{Topic: "none", Logger: testLogger(t)}, nil); err != nil {
		t.Errorf("a reading whose context has ended: %v", err)
	}
	if err := cluster.ReadTopic(testContext(t), TopicReading{Topic: "none", Logger: testLogger(t)}, nil); err == nil {
		t.Error("a topic that is not there is read")
	}
}
