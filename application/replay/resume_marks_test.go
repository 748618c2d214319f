package replay_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// A client that takes up gets the read marks that moved meanwhile, as live: its own with what is unread, those of others without a
// word about it, and only what it asked for.
func TestAClientThatTakesUpGetsTheReadMarksThatMoved(t *testing.T) {
	for what, fromHistory := range map[string]bool{"from the log": false, "from the history": true} {
		synctest.Test(t, func(t *testing.T) {
			s := newResumeStage(t, 1, nil, 201)
			s.witness[201].Features = []port.Feature{port.FeatureReadMarks, port.FeatureReceipts}
			both := s.device(201, port.FeatureReadMarks, port.FeatureReceipts)
			own, receipts, neither := s.device(201, port.FeatureReadMarks), s.device(201, port.FeatureReceipts), s.device(201)
			all := []*device{both, own, receipts, neither}
			for _, d := range all {
				d.connect()
				d.breakOff(-1)
			}
			said := s.Chat(202, 201)
			mine := s.Mark(201, 202, "a", 3, true)
			theirs := s.Mark(202, 201, "b", 5, true)
			s.Mark(203, 201, "c", 1, false)
			last := s.Chat(202, 201)
			s.Tail()
			if fromHistory {
				s.Read.Records = 1
			}
			ofMine := porttest.Replayed{Frame: mine, OwnMark: true, Unread: 3}
			ofTheirs := porttest.Replayed{Frame: theirs}
			first, end := porttest.Replayed{Frame: string(porttest.FrameOf(said))}, porttest.Replayed{Frame: string(porttest.FrameOf(last))}
			for d, want := range map[*device][]porttest.Replayed{
				both: {first, ofMine, ofTheirs, end}, own: {first, ofMine, end}, receipts: {first, ofTheirs, end}, neither: {first, end},
			} {
				wantRecovered(t, what, d.connect(), true)
				synctest.Wait()
				if got := porttest.Of[porttest.Replayed](d.conn); !slices.Equal(got, want) {
					t.Errorf("%s, with %v: got %+v, want %+v", what, d.features, got, want)
				}
				d.breakOff(-1)
				wantRecovered(t, what+", once more", d.connect(), true)
				synctest.Wait()
				if got := framesOf(d.conn); len(got) > 0 {
					t.Errorf("%s, with %v: once more %v", what, d.features, got)
				}
				d.breakOff(-1)
			}
		})
	}
}

// A mark that comes live has a token, as any frame, and is not shown again behind it.
func TestAReadMarkThatComesLiveHasAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201, port.FeatureReadMarks, port.FeatureReceipts)
		d.connect()
		before := d.conn.TokenAfter(len(d.conn.All()))
		s.Mark(201, domain.System, "a", 0, false)
		s.Tail()
		if d.conn.TokenAfter(len(d.conn.All())) == before {
			t.Error("the mark has no token of its own")
		}
		d.breakOff(-1)
		wantRecovered(t, "behind it", d.connect(), true)
		synctest.Wait()
		if got := framesOf(d.conn); len(got) > 0 {
			t.Errorf("behind it: %v", got)
		}
		d.breakOff(-1)
	})
}

// A mark that was not confirmed is appended again: who got it by a replay does not get it once more.
func TestAReadMarkThatWasReplayedIsNotShownAgainLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil, 201)
		d := s.device(201, port.FeatureReadMarks, port.FeatureReceipts)
		d.connect()
		d.breakOff(-1)
		own, others := s.Mark(201, 202, "a", 0, true), s.Mark(202, 201, "b", 0, true)
		s.Tail()
		wantRecovered(t, "after a break", d.connect(), true)
		synctest.Wait()
		s.Mark(201, 202, "a", 0, true)
		s.Mark(202, 201, "b", 0, true)
		s.Tail()
		if got := framesOf(d.conn); !slices.Equal(got, []string{own, others}) {
			t.Errorf("got %v", got)
		}
		d.breakOff(-1)
	})
}
