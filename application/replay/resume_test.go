package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

func wantRecovered(t *testing.T, what string, answer delivery.ResumeAnswer, recovered bool) {
	t.Helper()
	if !answer.Named || answer.Recovered != recovered || answer.From.IsZero() != recovered || answer.Token == "" {
		t.Errorf("%s: the answer is %+v, want recovered: %v", what, answer, recovered)
	}
}

func TestADeviceGetsWhatItMissedOnceAndThenWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 2, nil, 201)
		s.Chat(202, 201)
		d := s.device(201)
		if answer := d.connect(); answer.Named || answer.Recovered || answer.Token == "" {
			t.Errorf("a first login is answered %+v", answer)
		}
		seen := s.Chat(202, 201)
		s.Tail()
		d.want("live", seen)
		d.breakOff(-1)
		missed, own, other := s.Chat(202, 201), s.Named(201, 202, "n"), s.Chat(203, 201)
		s.Chat(202, 203)
		s.Tail()
		d.login(nil)
		held := s.Chat(202, 201)
		s.Tail()
		d.replay.Start()
		synctest.Wait()
		wantRecovered(t, "after a break", d.conn.Answer(), true)
		live := s.Chat(202, 201)
		s.Tail()
		got := framesOf(d.conn)
		slices.SortFunc(got[:3], strings.Compare)
		want := []string{}
		for _, at := range []domain.Place{missed, own, other} {
			want = append(want, string(porttest.FrameOf(at)))
		}
		slices.SortFunc(want, strings.Compare)
		want = append(want, string(porttest.FrameOf(held)), string(porttest.FrameOf(live)))
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if replayed := porttest.Of[porttest.Replayed](d.conn); len(replayed) != 3 {
			t.Errorf("%d frames are marked as replayed", len(replayed))
		}
		d.breakOff(-1)
		wantRecovered(t, "at once", d.connect(), true)
		d.want("at once")
		d.breakOff(-1)
	})
}

// Wherever a client stops in what it was given, its token is right there: the next frame is the first that it gets.
func TestATokenIsRightBehindEachFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 2, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		for range 4 {
			s.Chat(202, 201)
			s.Chat(203, 201)
			s.Chat(201, 202)
		}
		s.Tail()
		d.login(nil)
		s.Chat(203, 201)
		s.Chat(202, 201)
		s.Tail()
		d.replay.Start()
		synctest.Wait()
		s.Chat(202, 201)
		s.Tail()
		all, given := framesOf(d.conn), d.conn.All()
		if len(all) != 15 {
			t.Fatalf("got %v", all)
		}
		for n := range given {
			token := d.conn.TokenAfter(n + 1)
			again := s.device(201)
			again.token = &token
			wantRecovered(t, fmt.Sprint("after ", n), again.connect(), true)
			synctest.Wait()
			seen := framesIn(given[:n+1])
			got, want := framesOf(again.conn), all[len(seen):]
			if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
				t.Errorf("after %v: got %v, want %v", seen, got, want)
			}
			again.breakOff(-1)
		}
		d.breakOff(-1)
	})
}

func TestAPongHasTheTokenOfTheMoment(t *testing.T) {
	s := newResumeStage(t, 1, nil, 201)
	d := s.device(201)
	d.connect()
	before := d.conn.Answer().Token
	for range 3 {
		s.Chat(202, 203) // nothing for this user
	}
	s.Tail()
	s.clock = s.clock.Add(time.Second)
	if !d.attachment.Pong() {
		t.Fatal("there is no pong")
	}
	pong := porttest.Of[porttest.Pong](d.conn)[0].Token
	point, ok := domain.NewResumeSeal(resumeKey, 201).Open(pong, 1)
	if !ok || point.Next[0] != 3 || !point.Time.Equal(s.clock) || pong == before {
		t.Errorf("the token stands for %+v, %v", point, ok)
	}
	s.clock = s.clock.Add(time.Minute)
	d.attachment.Pong()
	if point, _ := domain.NewResumeSeal(resumeKey, 201).Open(porttest.Of[porttest.Pong](d.conn)[1].Token, 1); !point.Time.Equal(s.clock) {
		t.Error("the token of an idle connection grows old")
	}
	d.breakOff(-1)
	plain := &porttest.Conn{}
	a := s.Delivery.Attach(201, plain)
	defer a.Detach()
	a.Activate(nil, s.Ends())
	if a.Pong() {
		t.Error("a connection without the feature has a token")
	}
}

// Tokens of users who came at different times are of different times, though nothing was said between.
func TestATokenIsNotOlderThanItsUser(t *testing.T) {
	s := newResumeStage(t, 1, nil)
	first := s.device(201)
	first.connect()
	s.clock = s.clock.Add(time.Second)
	second := s.device(202)
	second.since = s.clock
	second.connect()
	first.breakOff(-1)
	second.breakOff(-1)
	wantRecovered(t, "the second user", second.connect(), true)
	second.breakOff(-1)
}

func TestWhatCannotBeRecoveredIsSaid(t *testing.T) {
	for what, test := range map[string]struct {
		change func(*replay.ResumeOptions)
		broken func(s *resumeStage, d *device)
	}{
		"a token that is none": {nil, func(_ *resumeStage, d *device) { none := "none"; d.token = &none }},
		"one that is not sealed, as they were once": {nil, func(_ *resumeStage, d *device) {
			old := "AfOFdjC4AZt8cJquAAAAAA"
			d.token = &old
		}},
		"another installation's": {nil, func(s *resumeStage, d *device) {
			other := domain.NewResumeSeal(domain.ResumeKey{3, 2, 1}, d.user).Token(domain.ResumePoint{Time: s.clock, Next: []int64{1}}.Append(nil))
			d.token = &other
		}},
		"another user's":                      {nil, func(_ *resumeStage, d *device) { d.user = 202 }},
		"one of an older user of the same id": {nil, func(s *resumeStage, d *device) { d.since = s.clock.Add(10*time.Minute + time.Millisecond) }},
		"one from a time to come":             {nil, func(s *resumeStage, _ *device) { s.clock = s.clock.Add(-10*time.Minute - time.Millisecond) }},
		"one that is too old":                 {nil, func(s *resumeStage, _ *device) { s.clock = s.clock.Add(time.Hour + time.Millisecond) }},
		"one of a topic that was made anew": {nil, func(s *resumeStage, _ *device) {
			s.Delivery.Begins(0, s.clock.Add(time.Millisecond))
		}},
		"one from before the topic was made anew under this node": {nil, func(s *resumeStage, _ *device) {
			s.clock = s.clock.Add(time.Millisecond)
			s.Delivery.Restart(0, 0)
		}},
		"a log that is shorter": {nil, func(s *resumeStage, _ *device) { s.Log.Records[0] = s.Log.Records[0][:0] }},
		"too many events":       {func(o *replay.ResumeOptions) { o.Bounds.Events = 2 }, nil},
		"too many bytes":        {func(o *replay.ResumeOptions) { o.Bounds.Bytes = 8 }, nil},
		"too far for the log, without a history": {func(o *replay.ResumeOptions) { o.Missed = nil }, func(s *resumeStage, _ *device) {
			s.Read.Records = 2
		}},
		"too much was read of the log of late, without a history": {
			func(o *replay.ResumeOptions) {
				o.Missed, o.MayRead = nil, func(domain.UserID, int64) bool { return false }
			}, nil,
		},
		"too far for the log, with a history that does not answer": {nil, func(s *resumeStage, _ *device) {
			s.Read.Records, s.told.notKnown = 2, errors.New("away")
		}},
		"too far for the log, with a history that fails": {nil, func(s *resumeStage, _ *device) {
			s.Read.Records, s.told.err = 2, errors.New("away")
		}},
		"too far for the log, with a history that is behind": {nil, func(s *resumeStage, _ *device) {
			s.Read.Records, s.told.projected = 2, []int64{1}
		}},
		"too far for the log, with a history of an earlier topic": {nil, func(s *resumeStage, _ *device) {
			s.Read.Records, s.told.projected = 2, []int64{1000}
		}},
		"too far for the log, with a history that may have forgotten some of it": {
			func(o *replay.ResumeOptions) { o.Retention = time.Hour },
			func(s *resumeStage, _ *device) { s.Read.Records, s.clock = 2, s.clock.Add(46*time.Minute) },
		},
		"too much for the history": {func(o *replay.ResumeOptions) { o.Bounds.Events = 2 }, func(s *resumeStage, _ *device) {
			s.Read.Records = 2
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newResumeStage(t, 1, test.change, 201)
			d := s.device(201)
			d.connect()
			s.Chat(202, 201)
			s.Tail()
			d.breakOff(-1)
			for range 3 {
				s.Chat(202, 201)
			}
			s.Tail()
			if test.broken != nil {
				test.broken(s, d)
			}
			answer := d.connect()
			synctest.Wait()
			wantRecovered(t, what, answer, false)
			if got := framesOf(d.conn); len(got) != 0 {
				t.Errorf("%s: it gets %v", what, got)
			}
			if point, ok := domain.NewResumeSeal(resumeKey, d.user).Open(answer.Token, 1); !ok || point.Next[0] != s.Ends()[0] {
				t.Errorf("%s: its next token stands for %+v, %v", what, point, ok)
			}
			d.breakOff(-1)
			if s.Read.Open != 0 {
				t.Errorf("%s: what was read of the log is not given back", what)
			}
		})
	}
}

func TestWithoutTheFeatureNothingIsRecovered(t *testing.T) {
	s := newResumeStage(t, 1, nil, 201)
	named := "a token"
	c := &porttest.Conn{Resume: &named}
	a := s.Delivery.Attach(201, c)
	replay := s.replays.Of(a)
	replay.Begin(t.Context())
	if err := replay.Prepare(t.Context(), s.Log, nil); err != nil {
		t.Fatal(err)
	}
	replay.Start()
	s.Chat(202, 201)
	s.Tail()
	if c.Answer() != (delivery.ResumeAnswer{}) || c.TokenAfter(len(c.All())) != "" || len(framesOf(c)) != 1 {
		t.Errorf("it is told %+v and given %v", c.Answer(), c.All())
	}
	replay.Close()
	a.Detach()
}

// What the history has is not read from the log, and the other way round: what stands at the seam comes once.
func TestWhatIsTooFarForTheLogComesFromTheHistory(t *testing.T) {
	for projected := range int64(7) {
		synctest.Test(t, func(t *testing.T) {
			s := newResumeStage(t, 1, nil, 201)
			d := s.device(201)
			d.connect()
			first := s.Chat(202, 201)
			s.Tail()
			d.breakOff(-1)
			var missed []domain.Place
			for range 5 {
				missed = append(missed, s.Chat(202, 201))
			}
			s.Tail()
			s.Read.Records, s.told.projected = 4, []int64{first.Offset + projected}
			answer := d.connect()
			synctest.Wait()
			if reaches := projected >= 2; answer.Recovered != reaches {
				t.Errorf("with %d projected: the answer is %+v", projected, answer)
			} else if reaches {
				d.want(fmt.Sprint("with ", projected), missed...)
			}
			d.breakOff(-1)
		})
	}
}

func TestOnlyClientsThatKnowHowAnInviteEndsAreToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		plain, knows := s.device(201), s.device(201, port.FeatureInvites)
		plain.connect()
		knows.connect()
		plain.breakOff(-1)
		knows.breakOff(-1)
		invite := domain.GameInvite{From: 201, To: 202, Status: domain.InviteOpened, Room: "4ae1dcf0-6a9f-4f2b-8d63-0f1d1f3b9d10"}
		opened := s.Append(domain.Event{Time: porttest.SomeTime, Body: invite})
		invite.From, invite.To, invite.Status = 202, 201, domain.InviteAccepted
		accepted := s.Append(domain.Event{Time: porttest.SomeTime, Body: invite})
		s.Tail()
		plain.connect()
		knows.connect()
		synctest.Wait()
		plain.want("without the feature", opened)
		knows.want("with it", opened, accepted)
		plain.breakOff(-1)
		knows.breakOff(-1)
	})
}

// A message that was sent again after the break has its echo by the replay, and is not shown once more; one from the history has
// no name, and its sender still waits for the echo.
func TestAnOwnMessageThatIsSentAgainIsEchoedOnce(t *testing.T) {
	for what, test := range map[string]struct {
		records int
		want    int
	}{"from the log": {0, 0}, "from the history": {1, 1}} {
		synctest.Test(t, func(t *testing.T) {
			s := newResumeStage(t, 1, nil, 201)
			d := s.device(201)
			d.connect()
			d.breakOff(-1)
			own := s.Named(201, 202, "n1")
			s.Chat(202, 203)
			s.Tail()
			s.Read.Records = test.records
			wantRecovered(t, what, d.connect(), true)
			synctest.Wait()
			d.want(what, own)
			s.Named(201, 202, "n1")
			s.Tail()
			if got := len(porttest.Of[porttest.Delivered](d.conn)); got != test.want {
				t.Errorf("%s: it is echoed %d times more", what, got)
			}
			d.breakOff(-1)
		})
	}
}

func TestWhatWaitsForTheDatabaseIsNotInTheTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		gate := &porttest.StageVersions{Gate: make(chan struct{})}
		s.Checks(gate)
		d := s.device(201)
		d.connect()
		s.Block(201, 203)
		s.Unblock(201, 203)
		waiting := s.Chat(203, 201)
		seen := s.Chat(202, 201)
		s.Tail()
		synctest.Wait()
		d.want("while the database is asked", seen)
		d.attachment.Pong()
		token := d.conn.TokenAfter(len(d.conn.All()))
		if point, ok := domain.NewResumeSeal(resumeKey, 201).Open(token, 1); !ok || point.Next[0] >= waiting.Offset {
			t.Errorf("the token stands for %+v, %v", point, ok)
		}
		close(gate.Gate)
		synctest.Wait()
		d.want("in the end", seen, waiting)
		if point, ok := domain.NewResumeSeal(resumeKey, 201).Open(d.conn.TokenAfter(len(d.conn.All())), 1); !ok || point.Next[0] != s.Ends()[0] {
			t.Errorf("in the end it stands for %+v, %v", point, ok)
		}
		d.breakOff(-1)
	})
}

func TestAResumeThatHasToMakeRoomIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		s.Chat(202, 201)
		s.Tail()
		d.login(nil)
		s.Read.Cuts[0]()
		d.conn.Room = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
		d.replay.Start()
		synctest.Wait()
		porttest.WantClosed(t, "the device", d.conn, port.CloseTryLater)
		d.breakOff(-1)
		if s.Read.Open != 0 {
			t.Error("what was read is not given back")
		}
	})
}

// Where messages are stored, a client confirms a replay as far as everything was handed over with it.
func TestAClientThatTakesUpConfirmsWhatItGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 2, nil, 201)
		s.stores(make(map[int]int64))
		d := s.device(201)
		d.connect()
		synctest.Wait()
		d.breakOff(-1)
		first := s.Chat(202, 201)
		other := s.Chat(201, 203)
		s.Chat(202, 204)
		s.Tail()
		wantRecovered(t, "after a break", d.connect(), true)
		synctest.Wait()
		ends := s.Ends()
		var want, got []string
		for p := range 2 {
			if p == first.Partition || p == other.Partition {
				want = append(want, string(porttest.FrameOf(domain.Place{Partition: p, Offset: ends[p] - 1})))
			}
		}
		for _, r := range porttest.Of[porttest.Replayed](d.conn) {
			if r.At != "" {
				got = append(got, r.At)
			}
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("it confirms %v, want %v", got, want)
		}
		d.breakOff(-1)
	})
}

// What is left out of a replay, because the history is too far behind, is still before the client's token: it gets it once the
// history is there.
func TestATokenIsNotPastWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		behind := map[int]int64{0: 0}
		s.stores(behind)
		s.Read.Records = 2
		var all []domain.Place
		for range 5 {
			all = append(all, s.Chat(202, 201))
		}
		s.Tail()
		d := s.device(201)
		d.connect()
		synctest.Wait()
		d.want("while the history is behind", all[3], all[4])
		live := s.Chat(202, 201)
		s.Tail()
		d.want("then live", all[3], all[4], live)
		token := d.conn.TokenAfter(len(d.conn.All()))
		if point, ok := domain.NewResumeSeal(resumeKey, 201).Open(token, 1); !ok || point.Next[0] != 0 {
			t.Errorf("its token stands for %+v, %v", point, ok)
		}
		d.breakOff(-1)
		behind[0] = s.Ends()[0]
		wantRecovered(t, "once the history is there", d.connect(), true)
		synctest.Wait()
		d.want("once the history is there", append(all, live)...)
		d.breakOff(-1)
	})
}

func TestWhatComesFromTheHistoryCountsAsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		for range 5 {
			s.Chat(202, 201)
		}
		s.Tail()
		s.Read.Records = 2
		d.login(nil)
		if s.held == 0 {
			t.Error("nothing is held")
		}
		wantRecovered(t, "with room", d.conn.Answer(), true)
		d.breakOff(0)
		if s.held != 0 {
			t.Errorf("%d bytes are held still", s.held)
		}
		s.heldRoom = 10
		wantRecovered(t, "without room", d.connect(), false)
		d.breakOff(-1)
		if s.held != 0 || s.Read.Open != 0 {
			t.Errorf("%d bytes and %d readers are held still", s.held, s.Read.Open)
		}
	})
}

// What was read has only a block in it, and what it hides.
func TestAReplayOfNothingHoldsNothing(t *testing.T) {
	s := newResumeStage(t, 1, nil, 101)
	d := s.device(101)
	d.connect()
	d.breakOff(-1)
	s.Append(s.Changes(101, 102, true))
	s.Chat(102, 101)
	s.Tail()
	if answer := d.connect(); !answer.Recovered {
		t.Fatalf("not recovered: %+v", answer)
	}
	if s.Read.Open != 0 {
		t.Errorf("%d readings are held while the connection lasts", s.Read.Open)
	}
	d.breakOff(-1)
}

// What was read is given back once it is handed over, though something that is held waits for room still.
func TestAReplayThatIsDoneHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		s.Chat(202, 201)
		s.Tail()
		d.login(nil)
		s.Chat(202, 201)
		s.Tail()
		asked := 0
		d.conn.Room = func(ctx context.Context, _ int) error {
			if asked++; asked == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		d.replay.Start()
		synctest.Wait()
		if asked != 2 || s.Read.Open != 0 {
			t.Errorf("after %d waits for room %d readings are held", asked, s.Read.Open)
		}
		d.breakOff(-1)
	})
}

// The history does not know yet that the topic was made anew: a place of the one is none of the other.
func TestAClientConfirmsNothingOfATopicThatTheHistoryDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		projected := make(map[int]int64)
		projection := s.stores(projected)
		d := s.device(201)
		d.connect()
		synctest.Wait()
		d.breakOff(-1)
		s.Chat(202, 201)
		s.Tail()
		projected[0] = 1000
		wantRecovered(t, "after a break", d.connect(), true)
		synctest.Wait()
		for _, r := range porttest.Of[porttest.Replayed](d.conn) {
			if r.At != "" {
				t.Errorf("it is asked to confirm %v", r.At)
			}
		}
		d.replay.Received([]domain.Place{{Offset: 0}})
		d.breakOff(-1)
		if cursor := projection.Cursors[201]; len(cursor) > 0 && cursor[0].Offset > 0 {
			t.Errorf("the cursor is at %v", cursor)
		}
	})
}

// A connection that comes before those from before have left says nothing of the topic that they were served from.
func TestATokenHasNoPlaceOfAnEarlierTopic(t *testing.T) {
	s := newResumeStage(t, 1, nil)
	early := s.device(201)
	early.connect()
	s.Named(202, 201, "n")
	s.Chat(202, 201)
	s.Tail()
	s.Log.Records[0], s.Next[0] = nil, 0
	s.Delivery.Restart(0, 0)
	late := s.device(201)
	token := late.connect().Token
	late.attachment.Pong()
	for _, token := range []string{token, late.conn.TokenAfter(len(late.conn.All()))} {
		if point, ok := domain.NewResumeSeal(resumeKey, 201).Open(token, 1); !ok || point.Next[0] != 0 {
			t.Errorf("the token stands for %+v, %v", point, ok)
		}
	}
	again := s.Named(202, 201, "n")
	s.Tail()
	late.want("what is said again", again)
	early.breakOff(-1)
	late.breakOff(-1)
}

// What waits for the database when the topic is made anew has no place in the new one.
func TestWhatWaitsForTheDatabaseIsOfNoLaterTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil)
		gate := &porttest.StageVersions{Gate: make(chan struct{})}
		s.Checks(gate)
		early := s.device(201)
		early.connect()
		s.Block(201, 203)
		s.Unblock(201, 203)
		s.Chat(203, 201)
		s.Tail()
		late := s.device(201)
		late.login(nil)
		s.Log.Records[0], s.Next[0] = nil, 0
		s.Delivery.Restart(0, 0)
		close(gate.Gate)
		synctest.Wait()
		late.replay.Start()
		if got := framesOf(late.conn); len(got) > 0 {
			t.Errorf("it gets %v", got)
		}
		porttest.WantClosed(t, "the connection that needed it", early.conn, port.CloseTryLater)
		early.breakOff(-1)
		late.breakOff(-1)
	})
}

// A client whose stretch the log cannot hand out in time gets in all the same: it would name the same token again.
func TestALogThatIsTooSlowLetsAClientIn(t *testing.T) {
	for what, test := range map[string]struct {
		broken    func(s *resumeStage)
		recovered bool
	}{
		"a log that fails":           {func(s *resumeStage) { s.Read.Err = errors.New("away") }, true},
		"a log that does not answer": {func(s *resumeStage) { s.Read.Stuck = true }, true},
		"a log that fails, and a history that is behind": {func(s *resumeStage) {
			s.Read.Err, s.told.projected = errors.New("away"), []int64{1}
		}, false},
		"a log and a history that fail": {func(s *resumeStage) { s.Read.Err, s.told.err = errors.New("away"), errors.New("away") }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newResumeStage(t, 1, nil, 201)
			d := s.device(201)
			d.connect()
			d.breakOff(-1)
			missed := []domain.Place{s.Chat(202, 201), s.Chat(202, 201)}
			s.Tail()
			test.broken(s)
			wantRecovered(t, what, d.connect(), test.recovered)
			synctest.Wait()
			if !test.recovered {
				missed = nil
			}
			d.want(what, missed...)
			d.breakOff(-1)
		})
	}
}

func TestALoginThatEndsReadsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		s.Chat(202, 201)
		s.Tail()
		s.Read.Stuck = true
		a := s.Delivery.Attach(201, &porttest.Conn{Features: d.features, Resume: d.token})
		replay := s.replays.Of(a)
		replay.Begin(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := replay.Prepare(ctx, s.Log, nil); domain.CodeOf(err) != domain.CodeUnavailable || s.told.asked != 0 {
			t.Errorf("%v, and the history was asked %d times", err, s.told.asked)
		}
		replay.Close()
		a.Detach()
	})
}

// Marks and ends of invites that a client never gets are no reason for it to get nothing.
func TestOnlyWhatAClientGetsCountsAgainstTheBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, func(o *replay.ResumeOptions) { o.Bounds.Events, o.Missed = 2, nil }, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		first := s.Chat(202, 201)
		for range 3 {
			s.Append(domain.Event{Body: domain.ReadMark{Reader: 202, Partner: 201, Receipt: true}})
		}
		second := s.Chat(202, 201)
		s.Tail()
		wantRecovered(t, "a client that gets no receipts", d.connect(), true)
		synctest.Wait()
		d.want("a client that gets no receipts", first, second)
		d.breakOff(-1)
	})
}

// The log moves when somebody blocks the user, or reads without a receipt: a client that pings must not see that it did.
func TestAPongDoesNotTellWhetherTheLogHasMoved(t *testing.T) {
	s := newResumeStage(t, 1, nil, 201)
	d := s.device(201)
	d.connect()
	pong := func() string {
		t.Helper()
		if !d.attachment.Pong() {
			t.Fatal("there is no pong")
		}
		pongs := porttest.Of[porttest.Pong](d.conn)
		return pongs[len(pongs)-1].Token
	}
	first, quiet := pong(), pong()
	s.Chat(202, 203) // of others, as a block would be
	s.Tail()
	moved := pong()
	if first == quiet || quiet == moved || len(first) != len(quiet) || len(quiet) != len(moved) {
		t.Errorf("before %s, with nothing between %s, after the log moved %s", first, quiet, moved)
	}
}

// However much a client took up, what its sender sends again is not shown again, for as long as that is likely.
func TestWhatWasTakenUpIsNotShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, func(o *replay.ResumeOptions) { o.Bounds.Events = 3000 }, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		for n := range 1500 {
			s.Named(202, 201, domain.ClientMessageID(fmt.Sprint(n)))
		}
		s.Tail()
		wantRecovered(t, "after a break", d.connect(), true)
		synctest.Wait()
		s.Named(202, 201, "0")
		s.Tail()
		if got := len(porttest.Of[porttest.Delivered](d.conn)); got != 0 {
			t.Errorf("%d events are shown again", got)
		}
		d.breakOff(-1)
	})
}

// The clocks of nodes differ: the one that noted when the user came first may be ahead of the one that made the token, and that one of
// the one that reads it.
func TestATokenIsGoodWhereClocksDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		d.since = s.clock.Add(5 * time.Minute)
		s.clock = s.clock.Add(-5 * time.Minute)
		wantRecovered(t, "with clocks that differ", d.connect(), true)
		d.breakOff(-1)
	})
}

// The tokens need room in the queue of a connection, too.
func TestRoomIsAwaitedForFramesWithTheirTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		missed := s.Chat(202, 201)
		s.Tail()
		var rooms []int
		d.room = func(_ context.Context, bytes int) error { rooms = append(rooms, bytes); return nil }
		d.login(nil)
		held := s.Chat(202, 201)
		s.Tail()
		d.replay.Start()
		synctest.Wait()
		token := len(d.conn.TokenAfter(len(d.conn.All()))) + len(`,"resume":""`)
		if want := []int{len(porttest.FrameOf(missed)) + token, len(porttest.FrameOf(held)) + token}; !slices.Equal(rooms, want) {
			t.Errorf("room is awaited for %v, want %v", rooms, want)
		}
		d.breakOff(-1)
	})
}

// What waits for the database is not confirmed with what comes ahead of it: if the connection broke, nobody would get it again.
func TestWhatWaitsForTheDatabaseIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil)
		s.stores(make(map[int]int64))
		gate := &porttest.StageVersions{Gate: make(chan struct{})}
		s.Checks(gate)
		d := s.device(201)
		d.login(nil)
		s.Chat(202, 201)
		s.Block(201, 203)
		s.Unblock(201, 203)
		waiting := s.Chat(203, 201)
		seen := s.Chat(202, 201)
		s.Tail()
		confirmed := func() (places []int64) {
			for _, given := range porttest.Of[porttest.DeliveredAt](d.conn) {
				places = append(places, given.At.Offset)
			}
			return places
		}
		d.replay.Start()
		synctest.Wait()
		first := waiting.Offset - 3
		if got, want := confirmed(), []int64{first, first}; !slices.Equal(got, want) {
			t.Errorf("while the database is asked: %v are confirmed, want %v", got, want)
		}
		close(gate.Gate)
		synctest.Wait()
		if got, want := confirmed(), []int64{first, first, seen.Offset}; !slices.Equal(got, want) {
			t.Errorf("in the end %v are confirmed, want %v", got, want)
		}
		d.breakOff(-1)
	})
}

// A client may name the same token again and again. Once too much of the log was read for its user, the history answers.
func TestTheLogIsNotReadForOneUserAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := int64(9)
		s := newResumeStage(t, 1, func(o *replay.ResumeOptions) {
			o.MayRead = func(user domain.UserID, records int64) bool {
				may := user == 201 && records <= left
				if may {
					left -= records
				}
				return may
			}
		}, 201)
		d := s.device(201)
		d.connect()
		d.breakOff(-1)
		token := *d.token
		for range 4 {
			s.Chat(202, 201)
		}
		s.Tail()
		for login, fromHistory := range []int{0, 0, 1, 2} {
			d.token = &token
			wantRecovered(t, fmt.Sprint("login ", login), d.connect(), true)
			synctest.Wait()
			if got := len(framesOf(d.conn)); got != 4 || s.told.asked != fromHistory {
				t.Errorf("login %d: it gets %d events, and the history was asked %d times, want %d", login, got, s.told.asked, fromHistory)
			}
			d.breakOff(-1)
		}
	})
}
