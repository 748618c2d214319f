package past

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"chatting/domain"
)

func inPartition(partition int, offset int64) domain.Place {
	return domain.Place{Generation: 1, Partition: partition, Offset: offset}
}

// inviteEvent and changeEvent are events whose ids are made of a number.
func inviteEvent(n int) domain.Event {
	return domain.Event{ID: domain.DerivedID("invite", fmt.Sprint(n)), Body: domain.GameInvite{From: 1, To: 2, Status: domain.InviteAccepted}}
}

func changeEvent(n int) domain.Event {
	return domain.Event{ID: domain.DerivedID("change", fmt.Sprint(n)), Body: domain.BlockChanged{Blocker: 1, Target: 2, Blocked: true, Version: 1}}
}

func TestWhatBecameOfRecordsIsKnownFromAFloorOn(t *testing.T) {
	var v Verdicts
	want := func(what string, offset int64, want fate) {
		t.Helper()
		if got := v.of(inPartition(0, offset)); got != want {
			t.Errorf("%s: the verdict on offset %d is %d, want %d", what, offset, got, want)
		}
	}
	want("nothing was read", 5, fateUnknown)
	v.Note(inPartition(0, 5), inviteEvent(1), time.Time{}, domain.InviteVoid)
	want("of a partition that did not begin", 5, fateUnknown)
	v.Begin(0, 10, 0)
	v.Note(inPartition(0, 9), inviteEvent(2), time.Time{}, domain.InviteVoid)
	v.Note(inPartition(0, 9), changeEvent(1), time.Time{}, domain.InviteStands)
	v.Note(inPartition(0, 10), inviteEvent(3), time.Time{}, domain.InviteVoid)
	v.Note(inPartition(0, 11), inviteEvent(4), time.Time{}, domain.InviteStands)
	v.Note(inPartition(0, 12), inviteEvent(5), time.Time{}, domain.InviteUnseen)
	v.Note(inPartition(0, 13), changeEvent(1), time.Time{}, domain.InviteStands)
	v.Note(inPartition(0, 14), changeEvent(2), time.Time{}, domain.InviteStands)
	v.Note(inPartition(0, 15), changeEvent(3), time.Time{}.Add(changeDelay+1), domain.InviteStands)
	v.Note(inPartition(0, 16), changeEvent(3), time.Time{}.Add(changeDelay+1), domain.InviteStands)
	v.Note(inPartition(1, 11), inviteEvent(4), time.Time{}, domain.InviteVoid) // of another partition
	for offset, verdict := range []fate{fateUnknown, fateVoid, fateStands, fateUnseen, fateRepeated, fateStands, fateUnknown, fateRepeated, fateStands} {
		want("noted", int64(9+offset), verdict)
	}
	v.Restart(0, 3)
	want("made anew", 2, fateUnknown)
	want("made anew", 12, fateStands)
}

func TestTheFloorRisesIfTooMuchWouldBeRemembered(t *testing.T) {
	var v Verdicts
	v.Begin(0, 0, 0)
	for offset := range int64(maxOdd) + 1 {
		v.Note(inPartition(0, offset), inviteEvent(0), time.Time{}, domain.InviteVoid)
	}
	if n := len(v.partitions[0].odd); n > maxOdd {
		t.Errorf("%d are remembered", n)
	}
	for offset, want := range map[int64]fate{0: fateUnknown, maxOdd/2 - 1: fateUnknown, maxOdd / 2: fateVoid, maxOdd: fateVoid} {
		if got := v.of(inPartition(0, offset)); got != want {
			t.Errorf("the verdict on offset %d is %d, want %d", offset, got, want)
		}
	}
	for n := range maxKnownChanges + 1 {
		v.Note(inPartition(0, int64(maxOdd+1+n)), changeEvent(n), time.Time{}, domain.InviteStands)
	}
	if len(v.changes) != maxKnownChanges || len(v.order) != maxKnownChanges {
		t.Errorf("%d changes are known, in an order of %d", len(v.changes), len(v.order))
	}
	const next = 2 * maxOdd * maxKnownChanges
	v.Note(inPartition(0, next), changeEvent(maxKnownChanges), time.Time{}, domain.InviteStands)
	v.Note(inPartition(0, next+1), changeEvent(0), time.Time{}, domain.InviteStands)
	if v.of(inPartition(0, next)) != fateRepeated || v.of(inPartition(0, next+1)) != fateStands {
		t.Error("the latest change is not known again, or the oldest is")
	}
}

func TestVerdictsAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var v Verdicts
		v.Begin(0, 0, 3)
		v.Begin(1, 0, 3)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for what, offsets := range map[string]map[int]int64{"nothing": nil, "what was read": {0: 3, 1: 3}, "what nobody reads": {7: 9}} {
			if err := v.await(ctx, offsets); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := v.await(ctx, map[int]int64{0: 4}); domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("in vain: %v", err)
		}
		time.AfterFunc(time.Second, func() { v.Passed(0, 4) })
		time.AfterFunc(2*time.Second, func() { v.Passed(1, 9) })
		began := time.Now()
		if err := v.await(t.Context(), map[int]int64{0: 4, 1: 5}); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}
