package logclient

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// tailEvents is a TailHandler that takes down what it is told.
type tailEvents struct{ told []string }

func (e *tailEvents) Record(r *recordbatch.StoredRecord) {
	e.told = append(e.told, fmt.Sprint("record ", r.Offset))
}
func (e *tailEvents) BatchEnd(partition int, next int64) {
	e.told = append(e.told, fmt.Sprint("end of ", partition, " at ", next))
}

func (e *tailEvents) LeftOut(left recordbatch.LeftOut) {
	e.told = append(e.told, fmt.Sprint("left out ", left.From, " to ", left.To))
}

func (e *tailEvents) Hole(partition int, from, to int64) {
	e.told = append(e.told, fmt.Sprint("hole of ", partition, " from ", from, " to ", to))
}

// want compares what was told since the last call.
func (e *tailEvents) want(t *testing.T, when string, want ...string) {
	t.Helper()
	if !slices.Equal(e.told, want) {
		t.Errorf("%s: the handler is told %q, want %q", when, e.told, want)
	}
	e.told = nil
}

// at returns the position of a partition, and seek sets it.
func at(tail *Tail, partition int) int64 { return tail.positions.get(partition).next }

func seek(tail *Tail, partition int, to int64) { tail.positions.of[partition].next = to }

// answered is the answer of a leader for one partition whose log can be read up to an offset.
func answered(number int, stable int64, batches ...[]byte) fetched {
	return fetched{partitions: []int{number}, answer: &fetchAnswer{partitions: []fetchedPartition{{
		Batches: recordbatch.Batches{Partition: number, Bytes: slices.Concat(batches...)}, stable: stable, highWatermark: stable + 100,
	}}}}
}

func refusedFetch(number int, code kafkago.Error) fetched {
	return fetched{partitions: []int{number}, answer: &fetchAnswer{partitions: []fetchedPartition{{
		Batches: recordbatch.Batches{Partition: number}, code: code,
	}}}}
}

func TestATailMovesWithWhatItHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events, interrupted := &tailEvents{}, 0
		tail := NewTail(nil, TailOptions{
			Topic: "topic", From: map[int]int64{3: 10}, Handler: events, Logger: brokertest.Logger(t), Interrupted: func(int) { interrupted++ },
		})
		state := tail.partitions[3]
		batch := func(base int64, values ...string) []byte {
			return brokertest.Batch{Base: base, Records: brokertest.Values(values...)}.Bytes()
		}
		expect := func(when string, position int64, wait time.Duration, interruptions int) {
			t.Helper()
			got := max(time.Until(state.notYet), 0)
			if now := at(tail, 3); now != position || got != wait || interrupted != interruptions || state.fetching {
				t.Errorf("%s: at %d, asked again after %s, %d interruptions, fetching: %t; want %d, %s, %d",
					when, at(tail, 3), got, interrupted, state.fetching, position, wait, interruptions)
			}
			time.Sleep(wait)
			interrupted = 0
			state.fetching = true // as assign leaves it
		}
		take := func(f fetched) { tail.take(t.Context(), f) }

		take(answered(3, 20, batch(10, "a", "b")))
		events.want(t, "two records", "record 10", "record 11", "end of 3 at 12")
		expect("two records", 12, 0, 0)
		if tail.CaughtUp(time.Hour) {
			t.Error("with eight to come, it says that it has caught up")
		}
		take(answered(3, 12))
		events.want(t, "nothing new")
		expect("nothing new", 12, 0, 0)
		if !tail.CaughtUp(0) {
			t.Error("at the end, it has not caught up")
		}
		time.Sleep(time.Second)
		if !tail.CaughtUp(time.Second) || tail.CaughtUp(time.Second-1) {
			t.Error("it does not know how old its last answer is")
		}

		// All of the batches are before the position: their records at it were taken out.
		take(answered(3, 13, batch(10, "a", "b")))
		events.want(t, "stale batches", "end of 3 at 13")
		expect("stale batches", 13, 0, 0)
		take(answered(3, 13, batch(10, "a", "b")))
		events.want(t, "stale batches at the end")
		expect("stale batches at the end", 13, 0, 0)

		take(refusedFetch(3, kafkago.NotLeaderForPartition))
		expect("another leader", 13, 20*time.Millisecond, 1)
		take(fetched{partitions: []int{3}, err: kafkago.RequestTimedOut})
		expect("no answer", 13, 40*time.Millisecond, 1)
		take(fetched{partitions: []int{3}, answer: &fetchAnswer{}})
		expect("an answer for nobody", 13, 80*time.Millisecond, 0)
		cut := batch(13, "c")
		take(answered(3, 20, cut[:65]))
		events.want(t, "what failed")
		expect("a batch that is cut off", 13, 160*time.Millisecond, 0)
		take(answered(3, 20))
		take(refusedFetch(3, kafkago.NotLeaderForPartition))
		expect("another leader, after an answer", 13, 20*time.Millisecond, 1)
		foreign := answered(9, 20, batch(13, "of somebody else"))
		foreign.partitions = []int{3}
		take(foreign)
		events.want(t, "a partition that nobody asked for")
		tail.partitions[3].fetching = false
		ended, end := context.WithCancel(t.Context())
		end()
		tail.take(ended, answered(3, 20, batch(13, "c")))
		events.want(t, "with its context ended")
		if at(tail, 3) != 13 {
			t.Errorf("with its context ended, it moves to %d", at(tail, 3))
		}
	})
}

// A batch may have been damaged on its way, so it is asked for again before it counts as lost.
func TestADamagedBatchIsAskedForThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &tailEvents{}
		tail := NewTail(nil, TailOptions{
			Topic: "topic", From: map[int]int64{3: 10}, Handler: events, Logger: brokertest.Logger(t),
			Interrupted: func(int) { t.Error("a damaged batch interrupts") },
		})
		state := tail.partitions[3]
		good := brokertest.Batch{Base: 10, Records: brokertest.Values("a")}.Bytes()
		bad := brokertest.Batch{Base: 11, Records: brokertest.Values("b", "c")}.Bytes()
		bad[len(bad)-1] ^= 1
		take := func(batches ...[]byte) { tail.take(t.Context(), answered(3, 13, batches...)) }
		take(good, bad)
		events.want(t, "what is before it", "record 10", "end of 3 at 11")
		take(bad)
		events.want(t, "the second time")
		if wait := time.Until(state.notYet); wait != 40*time.Millisecond || at(tail, 3) != 11 {
			t.Errorf("it is at %d, and asks again after %s", at(tail, 3), wait)
		}
		take() // it came, and not all of it
		take(bad)
		take(bad)
		events.want(t, "two times more, after an answer without damage")
		if tail.CaughtUp(time.Hour) {
			t.Error("it says that it has caught up")
		}
		take(bad)
		events.want(t, "the third time", "hole of 3 from 11 to 13")
		if at(tail, 3) != 13 || state.damaged != 0 || state.retry.count != 0 {
			t.Errorf("behind it: %+v", state)
		}
		// Progress before a damaged batch is no try of it.
		seek(tail, 3, 10)
		state.damaged = damagedTries - 1
		take(good, bad)
		events.want(t, "another one", "record 10", "end of 3 at 11")
	})
}

func TestAFetchThatFailsSaysSo(t *testing.T) {
	tail := NewTail(testCluster(t, []string{"127.0.0.1:1"}), TailOptions{From: map[int]int64{3: 10}, Handler: &tailEvents{}, Logger: brokertest.Logger(t)})
	if got := tail.fetcher.fetch(t.Context(), fetched{leader: 7, partitions: []int{3}}, tail.fetcher.request([]int{3}, tail.positions)); got.err == nil || got.answer != nil || got.leader != 7 || !slices.Equal(got.partitions, []int{3}) {
		t.Errorf("it is %+v", got)
	}
}

// A right that is missing does not come by itself: operators are told, once.
func TestAPartitionThatMayNotBeReadIsAnError(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tail := NewTail(nil, TailOptions{From: map[int]int64{3: 10}, Handler: &tailEvents{}, Logger: logger})
	for i, want := range []string{"level=ERROR", "level=DEBUG"} {
		out.Reset()
		if tail.take(t.Context(), refusedFetch(3, kafkago.TopicAuthorizationFailed)); !strings.Contains(out.String(), want) {
			t.Errorf("time %d: it says %s", i, out.String())
		}
	}
	tail.partitions[3].retry = Backoff{}
	out.Reset()
	if tail.take(t.Context(), refusedFetch(3, kafkago.NotLeaderForPartition)); !strings.Contains(out.String(), "level=DEBUG") {
		t.Errorf("of another leader it says %s", out.String())
	}
}

func TestATailOutsideTheLogFindsItsWayBack(t *testing.T) {
	cluster, topic, _ := claimedLog(t) // from 5 to 10
	events, interrupted := &tailEvents{}, 0
	tail := NewTail(cluster, TailOptions{
		Topic: topic, From: map[int]int64{0: 0}, Handler: events, Logger: brokertest.Logger(t), Interrupted: func(int) { interrupted++ },
	})
	state := tail.partitions[0]
	relocate := func(position int64, pastEnd time.Time) {
		t.Helper()
		seek(tail, 0, position)
		state.pastEnd, interrupted = pastEnd, 0
		tail.take(t.Context(), refusedFetch(0, kafkago.OffsetOutOfRange))
	}
	long, never := time.Now().Add(-PastEndPatience-time.Second), time.Time{}
	for _, c := range []struct {
		position int64
		pastEnd  time.Time
		want     int64 // the new position
		past     bool  // it is past the end now
		told     []string
	}{
		{3, never, 5, false, []string{"hole of 0 from 3 to 5"}},
		{4, long, 5, true, []string{"hole of 0 from 4 to 5"}},
		{5, never, 5, false, nil}, // in range: a leader that was behind
		{7, long, 7, false, nil},
		{10, long, 10, false, nil},
		{11, never, 11, true, nil},
		{11, time.Now(), 11, true, nil},
		{11, long, 10, true, []string{"hole of 0 from 11 to 10"}},
	} {
		relocate(c.position, c.pastEnd)
		when := fmt.Sprintf("at %d, past the end since %s", c.position, c.pastEnd)
		events.want(t, when, c.told...)
		if at(tail, 0) != c.want || state.pastEnd.IsZero() == c.past || (interrupted > 0) != (c.told == nil) {
			t.Errorf("%s: it goes on at %d, past the end since %s, interrupted: %d", when, at(tail, 0), state.pastEnd, interrupted)
		}
		if moved := at(tail, 0) != c.position; moved && tail.CaughtUp(time.Hour) {
			t.Errorf("%s: it says that it has caught up", when)
		}
	}
	// The next answer with records ends the waiting.
	seek(tail, 0, 7)
	state.pastEnd = long
	if tail.take(t.Context(), answered(0, 7)); !state.pastEnd.IsZero() {
		t.Error("the time before still counts")
	}
	events.told = nil
	seek(tail, 0, 3)
	ended, end := context.WithCancel(t.Context())
	end()
	interrupted = 0
	if tail.relocate(ended, 0); at(tail, 0) != 3 || interrupted != 1 || len(events.told) > 0 {
		t.Errorf("without an answer: at %d, %q", at(tail, 0), events.told)
	}
}

func TestATailAsksEachLeaderForThePartitionsThatAreFree(t *testing.T) {
	cluster := testCluster(t, brokertest.Controlled(t, 7).ListenAddrs())
	from := make(map[int]int64)
	for p := range 9 { // two more than there are
		from[p] = int64(p)
	}
	tail := NewTail(cluster, TailOptions{Topic: "log", From: from, Handler: &tailEvents{}, Logger: brokertest.Logger(t)})
	tail.partitions[1].fetching = true
	tail.partitions[2].notYet = time.Now().Add(time.Hour)
	tail.partitions[3].notYet = time.Now()
	groups := tail.assign(brokertest.Context(t), nil)
	if len(groups) != 1 {
		t.Fatalf("asked are %v", groups)
	}
	leader := slices.Collect(maps.Keys(groups))[0]
	partitions := groups[leader]
	slices.Sort(partitions)
	if !slices.Equal(partitions, []int{0, 3, 4, 5, 6}) {
		t.Errorf("asked is for %v", partitions)
	}
	for p, state := range tail.partitions {
		if state.fetching != (p == 1 || slices.Contains(partitions, p)) {
			t.Errorf("partition %d is asked for: %t", p, state.fetching)
		}
	}
	for _, p := range partitions {
		tail.partitions[p].fetching = false
	}
	if groups := tail.assign(brokertest.Context(t), map[int]bool{leader: true}); len(groups) != 0 {
		t.Errorf("a leader with a request under way is asked for %v", groups)
	}
	if groups := tail.assign(brokertest.Context(t), map[int]bool{leader + 1: true}); len(groups[leader]) != 5 {
		t.Errorf("beside another leader that is busy, asked are %v", groups)
	}
}

func TestWhoWaitsForATailIsWokenAtItsOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tail := NewTail(nil, TailOptions{From: map[int]int64{0: 5, 1: 5}, Handler: &tailEvents{}, Logger: brokertest.Logger(t)})
		wait := func(offsets map[int]int64) <-chan error {
			done := make(chan error, 1)
			go func() { done <- tail.WaitFor(t.Context(), offsets) }()
			synctest.Wait()
			return done
		}
		arrived := func(done <-chan error) bool {
			synctest.Wait()
			select {
			case err := <-done:
				return err == nil
			default:
				return false
			}
		}
		if !arrived(wait(map[int]int64{0: 5, 1: 4, 2: 1000})) {
			t.Error("what is read already, and a partition that is not read, are waited for")
		}
		both := wait(map[int]int64{0: 6, 1: 7})
		tail.positions.move(0, 6)
		tail.positions.move(1, 6)
		if arrived(both) {
			t.Error("it does not wait for both")
		}
		tail.positions.move(1, 7)
		if !arrived(both) {
			t.Error("it is not woken")
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := tail.WaitFor(ended, map[int]int64{0: 7}); err == nil {
			t.Error("with its context ended, it says that all is read")
		}
	})
}
