package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/blocks"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// givenConn is a Connection that notes what it was given, in short: "deliver 7", "at 7", "close 1012".
type givenConn struct {
	Connection
	given []string
	rooms []int // what was waited for
	room  func(ctx context.Context) error
}

func (c *givenConn) Has(port.Feature) bool { return false }

func (c *givenConn) Gather() {}

func (c *givenConn) Flush() {}

func (c *givenConn) note(what string, args ...any) {
	c.given = append(c.given, fmt.Sprintf(what, args...))
}

func (c *givenConn) Deliver(frame []byte, _ domain.ClientMessageID) { c.note("deliver %d", len(frame)) }

func (c *givenConn) DeliverAt(frame []byte, _ domain.Place) { c.note("at %d", len(frame)) }

func (c *givenConn) Refuse(why error)              { c.note("refuse %v", why) }
func (c *givenConn) Close(reason port.CloseReason) { c.note("close %v", reason) }

func (c *givenConn) Replay(batch []Replayed) {
	text := "replay"
	for _, r := range batch {
		text += fmt.Sprintf(" %d", len(r.Frame))
		if r.At != nil {
			text += fmt.Sprintf("@%d:%d", r.At.Partition, r.At.Offset)
		}
	}
	c.note("%s", text)
}

func (c *givenConn) AwaitRoom(ctx context.Context, bytes int) error {
	c.rooms = append(c.rooms, bytes)
	if c.room != nil {
		return c.room(ctx)
	}
	return nil
}

func (c *givenConn) want(t *testing.T, what string, want ...string) {
	t.Helper()
	if !slices.Equal(c.given, want) {
		t.Errorf("%s: given %q, want %q", what, c.given, want)
	}
	c.given = nil
}

// judgedInvites is an InviteJudge with a verdict, which notes what it was asked.
type judgedInvites struct {
	verdict domain.InviteVerdict
	asked   []string
}

func (j *judgedInvites) Judge(partition int, event domain.Event, at time.Time) domain.InviteVerdict {
	j.asked = append(j.asked, fmt.Sprintf("judge %d %d %d", partition, event.ID[0], at.Unix()))
	return j.verdict
}

func (j *judgedInvites) Restart(partition int) {
	j.asked = append(j.asked, fmt.Sprintf("restart %d", partition))
}

// readOutcomes is a RecordReader.
type readOutcomes []string

func (r *readOutcomes) Read(id domain.EventID, outcome error) {
	*r = append(*r, fmt.Sprintf("%d %s", id[0], domain.CodeOf(outcome)))
}

// madeRecord is a Record, with a frame of so many bytes.
type madeRecord struct {
	at     domain.Place
	event  domain.Event
	bytes  int
	err    error
	opened *int
}

func (r madeRecord) Place() domain.Place { return r.at }

func (r madeRecord) Conversation() domain.Conversation { return r.event.Body.Conversation() }

func (r madeRecord) Time() time.Time { return time.Unix(1000, 0) }

func (r madeRecord) ConcernsInvites() bool {
	_, invite := r.event.Body.(domain.GameInvite)
	return invite
}

func (r madeRecord) Open() (domain.Event, []byte, error) {
	if r.opened != nil {
		*r.opened++
	}
	return r.event, make([]byte, r.bytes), r.err
}

func chatRecord(partition int, offset int64, from, to domain.UserID, bytes int) madeRecord {
	return madeRecord{at: domain.Place{Partition: partition, Offset: offset}, bytes: bytes, event: domain.Event{
		ID: domain.DerivedID("test", fmt.Sprint(partition, offset)), Body: domain.ChatMessage{From: from, To: to},
	}}
}

func inviteRecord(id byte, from, to domain.UserID) madeRecord {
	return madeRecord{at: domain.Place{Partition: 3, Offset: int64(id)}, bytes: 5, event: domain.Event{
		ID: domain.EventID{id}, Body: domain.GameInvite{From: from, To: to, Status: domain.InviteOpened},
	}}
}

func newDelivery(judge InviteJudge) (*Delivery, *readOutcomes, *bytes.Buffer) {
	var log bytes.Buffer
	read := &readOutcomes{}
	return NewDelivery(read, judge, notice.NewLog(slog.New(slog.NewTextHandler(&log, nil)), time.Now)), read, &log
}

// attach makes a connection that is served from the beginning of four partitions.
func attach(d *Delivery, user domain.UserID) (*givenConn, *Attachment) {
	c := &givenConn{}
	a := d.Attach(user, c)
	a.Activate(nil, make([]int64, 4))
	a.Release()
	return c, a
}

func TestOfStrangersOnlyWhatConcernsInvitesIsOpened(t *testing.T) {
	judge := &judgedInvites{}
	d, read, log := newDelivery(judge)
	opened := 0
	apply := func(r madeRecord) {
		r.opened = &opened
		d.Apply(r)
	}
	apply(chatRecord(0, 0, 1, 2, 5))
	if opened != 0 {
		t.Error("a message between strangers was opened")
	}
	apply(inviteRecord(7, 1, 2))
	broken := inviteRecord(8, 1, 2)
	broken.err = errors.New("not ours")
	apply(broken)
	if want := []string{"judge 3 7 1000"}; opened != 2 || !slices.Equal(judge.asked, want) || log.Len() != 0 {
		t.Errorf("%d were opened, the judge was asked %q, the log says %q", opened, judge.asked, log)
	}
	if want := []string{"7 "}; !slices.Equal(*read, want) {
		t.Errorf("read were %q, want %q", *read, want)
	}
	c, _ := attach(d, 2)
	apply(broken)
	if !strings.Contains(log.String(), "partition=3 offset=8") {
		t.Errorf("of a record for somebody here the log says %q", log)
	}
	c.want(t, "a record that is broken")
}

func TestWhatWasBeforeTheStartOnlyTellsOfInvites(t *testing.T) {
	judge := &judgedInvites{}
	d, read, _ := newDelivery(judge)
	c, _ := attach(d, 2)
	opened := 0
	for _, r := range []madeRecord{chatRecord(3, 6, 1, 2, 5), inviteRecord(7, 1, 2), inviteRecord(8, 1, 2)} {
		if r.opened = &opened; r.at.Offset == 8 {
			r.err = errors.New("not ours")
		}
		d.Recall(r)
	}
	d.Restart(2, 0)
	if want := []string{"judge 3 7 1000", "restart 2"}; opened != 2 || !slices.Equal(judge.asked, want) {
		t.Errorf("%d were opened, the judge was asked %q", opened, judge.asked)
	}
	if len(*read) != 0 {
		t.Errorf("read were %q", *read)
	}
	c.want(t, "before the start")
}

func TestTheVerdictSaysWhoSeesAnEvent(t *testing.T) {
	for verdict, want := range map[domain.InviteVerdict]struct{ from, to []string }{
		domain.InviteStands: {[]string{"deliver 5"}, []string{"deliver 5"}},
		domain.InviteUnseen: {[]string{"deliver 5"}, nil},
		domain.InviteVoid:   {nil, nil},
	} {
		for _, way := range [][2]domain.UserID{{1, 2}, {2, 1}} {
			d, read, _ := newDelivery(&judgedInvites{verdict: verdict})
			from, _ := attach(d, way[0])
			to, _ := attach(d, way[1])
			d.Apply(inviteRecord(7, way[0], way[1]))
			from.want(t, fmt.Sprint(way, " by verdict ", verdict, ", the sender"), want.from...)
			to.want(t, fmt.Sprint(way, " by verdict ", verdict, ", the recipient"), want.to...)
			outcome := "7 "
			if verdict == domain.InviteVoid {
				outcome = "7 invite_ended"
			}
			if !slices.Equal(*read, []string{outcome}) {
				t.Errorf("by verdict %d: read %q, want %q", verdict, *read, outcome)
			}
		}
	}
}

func TestNothingIsKeptOfWhoDetached(t *testing.T) {
	d, _, _ := newDelivery(&judgedInvites{})
	_, a := attach(d, 2)
	_, b := attach(d, 2)
	if a.Detach(); len(d.users) != 1 {
		t.Errorf("%d users", len(d.users))
	}
	if b.Detach(); len(d.users) != 0 {
		t.Errorf("%d users", len(d.users))
	}
	for what, call := range map[string]func(){
		"activate": func() { a.Handover().Activate(nil, nil, nil) }, "release": func() { a.Release() },
		"stores": a.Handover().Stores, "saidBefore": func() { a.Handover().SaidBefore(nil) }, "replayed": func() { a.Handover().Replayed(domain.EventID{}) },
	} {
		if call(); len(d.users) != 0 {
			t.Errorf("%s: %d users", what, len(d.users))
		}
	}
	if a.Handover().Hides(1) || !a.Handover().HoldsLittle() || a.Handover().ReleaseInParts(t.Context()) != nil {
		t.Error("who has gone hides, holds or waits for something")
	}
}

func TestAPartitionThatTheLoginDidNotKnowIsNotServed(t *testing.T) {
	d, _, _ := newDelivery(&judgedInvites{})
	c, _ := attach(d, 2)
	d.Apply(chatRecord(4, 0, 1, 2, 5))
	c.want(t, "a fifth partition")
	d.Apply(chatRecord(3, 0, 1, 2, 5))
	c.want(t, "the fourth", "deliver 5")
}

// A connection whose replay goes up to one place and that is served from a later one cannot be shown what stands between.
func TestWhatIsNeitherReplayedNorServedClosesItsConnection(t *testing.T) {
	const replayed, served = 10, 20
	for offset, want := range map[int64][]string{
		replayed - 1: nil, // the replay has it
		replayed:     {"close " + fmt.Sprint(port.CloseHole)},
		served - 1:   {"close " + fmt.Sprint(port.CloseHole)},
		served:       {"at 5"},
	} {
		for when, apply := range map[string][4]bool{
			"before the login knew": {true}, "before it was active": {1: true}, "before its answer": {2: true}, "after it": {3: true},
		} {
			d, _, _ := newDelivery(&judgedInvites{})
			c := &givenConn{}
			a := d.Attach(2, c)
			a.Handover().Stores()
			step := func(n int) {
				if apply[n] {
					d.Apply(chatRecord(1, offset, 1, 2, 5))
					if n < 2 && len(c.given) != 0 {
						t.Errorf("offset %d, %s: given %q at once", offset, when, c.given)
					}
				}
			}
			step(0)
			a.do(func() { a.served.replayEnd = []int64{0, replayed, 0, 0} })
			step(1)
			a.Activate(nil, []int64{0, served, 0, 0})
			step(2)
			a.Release()
			step(3)
			c.want(t, fmt.Sprintf("offset %d, %s", offset, when), want...)
		}
	}
}

func TestNobodysListHidesItsOwnMessages(t *testing.T) {
	d, _, _ := newDelivery(&judgedInvites{})
	c := &givenConn{}
	a := d.Attach(2, c)
	d.Apply(chatRecord(1, 5, 2, 3, 5))
	d.Apply(chatRecord(1, 6, 3, 2, 6))
	d.Apply(chatRecord(1, 7, 4, 2, 7))
	a.Activate([]blocks.Entry{{Target: 2, Blocked: true, Version: 1}, {Target: 3, Blocked: true, Version: 1}}, make([]int64, 4))
	a.Release()
	c.want(t, "of what was held", "deliver 5", "deliver 7")
}

func TestOnlyWhatIsStoredForOthersIsConfirmed(t *testing.T) {
	d, _, _ := newDelivery(&judgedInvites{})
	c := &givenConn{}
	a := d.Attach(2, c)
	a.Handover().Stores()
	a.Activate(nil, make([]int64, 4))
	a.Release()
	d.Apply(chatRecord(1, 1, 1, 2, 11))
	d.Apply(chatRecord(1, 2, 2, 1, 12)) // its own
	d.Apply(inviteRecord(13, 1, 2))     // not stored
	d.Apply(madeRecord{bytes: 14, event: domain.Event{ID: domain.EventID{14}, Body: domain.SystemMessage{To: 2}}})
	d.Apply(chatRecord(1, 5, 2, 2, 15)) // to itself
	c.want(t, "what is live", "at 11", "deliver 12", "deliver 5", "at 14", "deliver 15")
}

func TestWhatTheUserHasGotIsNotShownAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := newDelivery(&judgedInvites{})
		c := &givenConn{}
		a := d.Attach(2, c)
		a.Handover().Stores()
		a.Activate(nil, make([]int64, 4))
		a.Release()
		var ids []domain.EventID
		for n := range int64(9) { // in no order
			ids = append(ids, chatRecord(1, n, 1, 2, 0).event.ID)
		}
		a.Handover().SaidBefore(ids[:8])
		a.Handover().Replayed(ids[8])
		for n := range int64(9) {
			d.Apply(chatRecord(1, n, 1, 2, int(n)))
		}
		c.want(t, "soon after the login")
		time.Sleep(10 * time.Minute)
		d.Apply(chatRecord(1, 1, 1, 2, 1))
		c.want(t, "ten minutes after it")
		time.Sleep(time.Millisecond)
		d.Apply(chatRecord(1, 1, 1, 2, 1))
		c.want(t, "later", "at 1")
		d.Apply(chatRecord(1, 8, 1, 2, 8))
		c.want(t, "what was replayed")
		if a.stored.recent.ids != nil {
			t.Error("what was said before the login is kept for ever")
		}
	})
}

func TestWhatALoginHeldIsReleasedInPartsByItsBytes(t *testing.T) {
	for _, test := range []struct {
		frames, rooms []int
		little        bool
	}{
		{nil, nil, true},
		{[]int{100, 200}, []int{300}, true},
		{[]int{100_000}, []int{100_000}, false},
		{[]int{100_000, 10, 100_000, 10}, []int{100_000, 10, 100_000, 10}, false},
		{[]int{40_000, 40_000, 20_000, 5_000}, []int{40_000, 65_000}, false},
		{[]int{32 << 10, 32 << 10, 32 << 10, 32 << 10, 1}, []int{64 << 10, 64 << 10, 1}, false},
		{[]int{64<<10 - HeldBytes}, []int{64<<10 - HeldBytes}, true},
		{[]int{64<<10 - HeldBytes + 1}, []int{64<<10 - HeldBytes + 1}, false},
	} {
		d, _, _ := newDelivery(&judgedInvites{})
		c := &givenConn{}
		a := d.Attach(2, c)
		a.Handover().Stores()
		a.Activate(nil, make([]int64, 4))
		var want []string
		for n, frame := range test.frames {
			d.Apply(chatRecord(1, int64(n), 1, 2, frame))
			want = append(want, fmt.Sprint("at ", frame))
		}
		if a.Handover().HoldsLittle() != test.little {
			t.Errorf("%v: it holds little: %v", test.frames, !test.little)
		}
		if err := a.Handover().ReleaseInParts(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.want(t, fmt.Sprint(test.frames), want...)
		if !slices.Equal(c.rooms, test.rooms) {
			t.Errorf("%v: room was awaited for %v, want %v", test.frames, c.rooms, test.rooms)
		}
		if a.waiting != 0 || len(a.held) != 0 {
			t.Errorf("%v: %d bytes of %d frames are held still", test.frames, a.waiting, len(a.held))
		}
		d.Apply(chatRecord(1, 99, 1, 2, 7))
		c.want(t, "afterwards", "at 7")
	}
}

func TestWhatALoginHoldsIsBoundedToTheByte(t *testing.T) {
	const limit = maxHeldBytes - HeldBytes
	for _, storing := range []bool{true, false} {
		for more, want := range map[int][]string{0: nil, 1: {"close " + fmt.Sprint(port.CloseSlow)}} {
			d, _, _ := newDelivery(&judgedInvites{})
			c := &givenConn{}
			a := d.Attach(2, c)
			if storing {
				a.Handover().Stores()
			}
			a.Activate(nil, make([]int64, 4))
			d.Apply(chatRecord(1, 0, 1, 2, limit+more))
			c.want(t, fmt.Sprintf("storing %v, %d more", storing, more), want...)
		}
	}
}

// What a login held before it knew from where on it is served is counted no more once it is dropped.
func TestWhatALoginDropsIsNotHeld(t *testing.T) {
	for _, storing := range []bool{true, false} {
		d, _, _ := newDelivery(&judgedInvites{})
		a := d.Attach(2, &givenConn{})
		if storing {
			a.Handover().Stores()
		}
		for n := range int64(3) {
			d.Apply(chatRecord(1, n, 1, 2, 100))
		}
		if got := a.waiting; got != 3*(100+HeldBytes) {
			t.Errorf("storing %v: %d bytes are counted", storing, got)
		}
		a.Activate(nil, []int64{2, 2, 2, 2})
		if got := a.waiting; got != 100+HeldBytes {
			t.Errorf("storing %v: %d bytes are counted once two of three frames are dropped", storing, got)
		}
	}
}

// heldVersions is a BlockVersions that answers when the test says so, whatever becomes of the context.
type heldVersions struct{ answers chan blocks.GivenVersions }

func (v heldVersions) Versions(context.Context, blocks.Pair) (blocks.GivenVersions, error) {
	return <-v.answers, nil
}

func TestDeliveryRunEndsOnlyOnceItsQuestionsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := newDelivery(&judgedInvites{})
		versions := heldVersions{make(chan blocks.GivenVersions)}
		d.Versions = versions
		attach(d, 2)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Run(ctx)
		}()
		d.Apply(madeRecord{event: domain.Event{Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: true, Version: 1}}})
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-done:
			t.Error("it has ended while a question is under way")
		default:
		}
		versions.answers <- blocks.GivenVersions{}
		<-done
	})
}

// doubting is a delivery in which a change of a block by 2 of 1 waits.
func doubting() (*Delivery, *givenConn, *doubt) {
	d, _, _ := newDelivery(&judgedInvites{})
	d.Versions = heldVersions{}
	c, _ := attach(d, 2)
	d.Apply(changeRecord(0, true, 1))
	return d, c, <-d.doubts
}

func changeRecord(offset int64, blocked bool, version int64) madeRecord {
	return madeRecord{at: domain.Place{Partition: 1, Offset: offset}, event: domain.Event{
		ID: domain.EventID{byte(version)}, Body: domain.BlockChanged{Blocker: 2, Target: 1, Blocked: blocked, Version: version},
	}}
}

func TestWhatWaitsBehindAChangeIsBounded(t *testing.T) {
	tryLater := "close " + fmt.Sprint(port.CloseTryLater)
	for what, test := range map[string]struct {
		frames, bytes int
		want          []string
	}{
		"as many as may":      {maxHeld - 1, 1, nil},
		"one more":            {maxHeld, 1, []string{tryLater}},
		"as many bytes":       {1, maxHeldBytes - 2*HeldBytes, nil},
		"one byte more":       {1, maxHeldBytes - 2*HeldBytes + 1, []string{tryLater}},
		"many of few bytes":   {maxHeld / 2, maxHeldBytes/(maxHeld/2) - 2*HeldBytes, nil},
		"many of more bytes":  {maxHeld / 2, maxHeldBytes / (maxHeld / 2), []string{tryLater}},
		"none but the change": {0, 0, nil},
	} {
		d, c, doubt := doubting()
		for n := range test.frames {
			d.Apply(chatRecord(1, int64(1+n), 1, 2, test.bytes))
			if len(c.given) > 0 {
				break
			}
		}
		c.want(t, what, test.want...)
		if test.want == nil {
			continue
		}
		// What comes after that is for those who come after that.
		later, _ := attach(d, 2)
		d.Apply(chatRecord(1, 5000, 1, 2, 9))
		later.want(t, what+": a later connection", "deliver 9")
		if again := doubt.recipient.resolve(doubt, answer{versions: blocks.GivenVersions{Newest: 1}}); again {
			t.Errorf("%s: it waits still", what)
		}
		later.want(t, what+": a later connection, once the database answers")
		c.want(t, what+": the one that was closed")
	}
}

func TestWhatIsLeftBehindALaterChangeIsCounted(t *testing.T) {
	d, c, doubt := doubting()
	d.Apply(chatRecord(1, 1, 1, 2, 100))
	d.Apply(chatRecord(1, 2, 2, 1, 10))
	doubt.recipient.question(doubt)
	d.Apply(changeRecord(3, false, 2))
	d.Apply(chatRecord(1, 4, 1, 2, 1000))
	first := blocks.GivenVersions{Newest: 1}
	if again := doubt.recipient.resolve(doubt, answer{versions: first}); !again {
		t.Fatal("the second change waits no longer")
	}
	c.want(t, "after the block", "deliver 10")
	if want := 1000 + 2*HeldBytes; doubt.bytes != want || len(doubt.waiting) != 2 {
		t.Errorf("%d bytes of %d are counted, want %d of 2", doubt.bytes, len(doubt.waiting), want)
	}
	doubt.recipient.question(doubt)
	if again := doubt.recipient.resolve(doubt, answer{versions: blocks.GivenVersions{Newest: 2}}); again {
		t.Error("something waits")
	}
	c.want(t, "after the unblock", "deliver 1000")
	d.Apply(chatRecord(1, 5, 1, 2, 6))
	c.want(t, "afterwards", "deliver 6")
}

func TestChatIsLiveForAWhileAfterADelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDelivery(nil, nil, nil)
		live := func(want bool, when string) {
			t.Helper()
			if d.Live() != want {
				t.Errorf("%s: live is %t", when, !want)
			}
		}
		d.Flush()
		live(false, "nothing was delivered")
		d.gathering = append(d.gathering, &Attachment{conn: &givenConn{}})
		d.Flush()
		live(true, "after a delivery")
		time.Sleep(liveFor / 2)
		d.Flush()
		live(true, "a little later")
		time.Sleep(liveFor / 2)
		live(false, "later")
	})
}
