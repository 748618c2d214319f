package delivery

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatting/application/blocks"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// What waited for the database is held behind what came after it. A client that stops before it must get it again.
func TestAFrameThatIsHeldOutOfItsPlaceHoldsTheTokenBack(t *testing.T) {
	at := func(partition int, offset int64) heldFrame {
		return heldFrame{at: domain.Place{Partition: partition, Offset: offset}}
	}
	held := []heldFrame{at(0, 10), at(1, 5), at(0, 7), at(0, 12)}
	earliest := earliestBehind(held, len(held))
	if want := []int64{7, -1, 12, -1}; !slices.Equal(earliest, want) {
		t.Fatalf("behind each frame there is %v, want %v", earliest, want)
	}
	if some := earliestBehind(held, 1); !slices.Equal(some, earliest[:1]) {
		t.Errorf("behind the first there is %v", some)
	}
	r := &resuming{point: []int64{3, 4}, passed: []int64{3, 4}}
	for i, want := range [][]int64{{7, 4}, {7, 6}, {11, 6}, {13, 6}} {
		r.pass(held[i].at, earliest[i])
		if !slices.Equal(r.point, want) {
			t.Errorf("behind frame %d the point is %v, want %v", i, r.point, want)
		}
	}
}

// A frame that waited for the database is held behind a later one that was handed over already.
func TestATokenIsNotPastAFrameThatIsStillHeld(t *testing.T) {
	d := &Delivery{users: map[domain.UserID]*recipient{}, doubts: make(chan *doubt, 8), notices: notice.NewLog(slog.New(slog.DiscardHandler), time.Now)}
	d.Versions = noVersions{}
	r := &recipient{delivery: d, user: 1}
	conn := &tokenConn{}
	pos := &logPosition{next: make([]atomic.Int64, 1), now: time.Now}
	seal := domain.NewResumeSeal(domain.ResumeKey{1}, 1)
	a := &Attachment{recipient: r, conn: conn, resume: &resuming{position: pos, seal: seal}}
	r.attachments = []*Attachment{a}
	a.resume.replays = true
	a.Handover().Resumes([]int64{5}, []int64{5}, nil)
	a.Handover().Activate(nil, []int64{5}, []int64{5})

	id := func(b byte) domain.EventID { return domain.EventID{b} }
	// tail: a (forged) block of 2 by 1 at 5, then 2 -> 1 at 6 waits behind it, then 3 -> 1 at 7 is held for the replay.
	r.apply(domain.Place{Offset: 5}, 2, domain.Event{ID: id(5), Body: domain.BlockChanged{Blocker: 1, Target: 2, Blocked: true, Version: 1}}, nil)
	r.apply(domain.Place{Offset: 6}, 2, domain.Event{ID: id(6), Body: domain.ChatMessage{From: 2, To: 1}}, []byte("{six}"))
	r.apply(domain.Place{Offset: 7}, 3, domain.Event{ID: id(7), Body: domain.ChatMessage{From: 3, To: 1}}, []byte("{seven}"))
	// replay goroutine: releaseInParts hands 7 over.
	a.do(func() { a.handHeld(1); a.held = a.held[1:] })
	// doubt worker: the database never gave that version: 6 is shown, which is held.
	r.do(func() {
		r.question(r.doubts[2])
		r.resolve(r.doubts[2], answer{})
	})
	if len(a.held) != 1 {
		t.Fatalf("held %d", len(a.held))
	}
	// reader: the client pings. releaseInParts still awaits room.
	a.Pong()
	token := conn.tokens[len(conn.tokens)-1][len("pong "):]
	p, ok := seal.Open(token, 1)
	if !ok || p.Next[0] > 6 {
		t.Errorf("the pong's token is at %v, and the frame at 6 was not handed over", p.Next)
	}
}

// tokenConn is a Connection that remembers the tokens that it was given.
type tokenConn struct{ tokens []string }

func (c *tokenConn) Has(port.Feature) bool                  { return true }
func (c *tokenConn) Deliver([]byte, domain.ClientMessageID) {}
func (c *tokenConn) DeliverAt([]byte, domain.Place)         {}
func (c *tokenConn) DeliverOwnMark([]byte, int)             {}
func (c *tokenConn) Gather()                                {}
func (c *tokenConn) Flush()                                 {}
func (c *tokenConn) Replay([]Replayed)                      {}
func (c *tokenConn) AwaitRoom(context.Context, int) error   { return nil }
func (c *tokenConn) Refuse(error)                           {}
func (c *tokenConn) Close(port.CloseReason)                 {}
func (c *tokenConn) Resumes() (string, bool)                { return "", false }
func (c *tokenConn) Resumed(ResumeAnswer)                   {}
func (c *tokenConn) Stamp(token string)                     { c.tokens = append(c.tokens, token) }
func (c *tokenConn) Pong(token string)                      { c.tokens = append(c.tokens, "pong "+token) }

// noVersions gave out no change of a block.
type noVersions struct{}

func (noVersions) Versions(context.Context, blocks.Pair) (blocks.GivenVersions, error) {
	return blocks.GivenVersions{}, nil
}

// A log that is put back as it once was grows again: what stood behind its end then is something else now.
func TestATokenOfAnEarlierLifeOfTheLogIsGoodUpToTheEndOfThatLife(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	tokens := NewResumeTokens(2, func() time.Time { return now })
	latest, older, unknown := domain.ResumeKey{3}, domain.ResumeKey{2}, domain.ResumeKey{1}
	tokens.SealWith(domain.ResumeKey{4}, EarlierTokens{Key: latest, Ends: []int64{20, 10}}, EarlierTokens{Key: older, Ends: []int64{5, 5}})
	for name, row := range map[string]struct {
		key  domain.ResumeKey
		next []int64
		good bool
	}{
		"of this life":                {domain.ResumeKey{4}, []int64{99, 99}, true},
		"of the one before":           {latest, []int64{20, 10}, true},
		"of the one before, but lost": {latest, []int64{3, 11}, false},
		"of an older one":             {older, []int64{5, 0}, true},
		"of an older one, but lost":   {older, []int64{6, 0}, false},
		"of one that is not known":    {unknown, []int64{0, 0}, false},
	} {
		token := domain.NewResumeSeal(row.key, 7).Token(domain.ResumePoint{Time: now, Next: row.next}.Append(nil))
		if point, good := tokens.Open(token, 7, now); good != row.good || good && !slices.Equal(point.Next, row.next) {
			t.Errorf("%s: %v, %+v", name, good, point)
		}
		if _, good := tokens.Open(token, 8, now); good {
			t.Errorf("%s: it is good for another user, too", name)
		}
	}
}
