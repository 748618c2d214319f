package ledger

import (
	"testing"
	"time"
)

func TestTheLedgerForgetsUsersWhoHoldNothing(t *testing.T) {
	l := NewByteLedger(0, 100, time.Now)
	a, b := l.OpenFor(1, func() {}), l.OpenFor(1, func() {})
	a.Hold(10)
	b.Hold(10)
	a.Release(10)
	if len(l.users) != 1 {
		t.Errorf("%d users", len(l.users))
	}
	b.Close()
	if len(l.users) != 0 || l.waiting.Len() != 0 {
		t.Errorf("%d users and %d holders are left", len(l.users), l.waiting.Len())
	}
}
