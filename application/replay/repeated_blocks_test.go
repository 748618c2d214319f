package replay_test

import (
	"testing"
	"testing/synctest"
)

// Whether the target of such a block was hidden before it, nobody knows.
func TestWhatStandsBeforeABlockThatMayBeRepeatedIsNotReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newResumeStage(t, 1, nil)
		projected := map[int]int64{0: 0}
		s.stores(projected)
		change := s.Changes(201, 202, true)
		s.Append(change)
		projected[0] = 1
		s.Chat(202, 201)
		s.Append(change)
		behind := s.Chat(203, 201)
		s.Append(s.Changes(201, 202, false)) // what the user has blocked by now does not come anyway
		s.Tail()
		s.Delivery.Begin(0, behind.Offset, s.Ends()[0])
		d := s.device(201)
		d.connect()
		synctest.Wait()
		d.want("what was stored", behind)
		d.breakOff(-1)
	})
}
