package ledger

import (
	"testing"
	"time"
)

func TestEachLimitCountsWhatItRefuses(t *testing.T) {
	l := NewByteLedger(1000, 300, time.Now)
	want := func(refusals Refusals) {
		t.Helper()
		if got := l.Refusals(); got != refusals {
			t.Errorf("the refusals are %+v, want %+v", got, refusals)
		}
	}
	l.OpenFor(1, func() {}).Hold(300)
	want(Refusals{})
	l.OpenFor(1, func() {}).Hold(200) // cuts off the first
	want(Refusals{User: 1})
	l.OpenFor(1, func() {}).Hold(400) // cuts off the second, in vain
	want(Refusals{User: 3})
	for user := int64(2); user < 5; user++ {
		l.Open(func() {}).Hold(291)
	}
	want(Refusals{User: 3})
	l.Open(func() {}).Hold(291)
	want(Refusals{User: 3, Sum: 1})
}
