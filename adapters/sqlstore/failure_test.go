package sqlstore

import (
	"context"
	"testing"
	"time"

	"chatting/domain"
	"chatting/test/sqltest"
)

var failureContract = map[string]func(*testing.T, testDB){
	"ACallWhoseContextEndedIsUnavailable": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Blocks.SetBlocked(ended, sqltest.Change(1, 2, true))
		sqltest.WantCode(t, err, domain.CodeUnavailable)
		_, err = s.Blocks.Blocks(ended, 1)
		sqltest.WantCode(t, err, domain.CodeUnavailable)
		sqltest.WantCode(t, s.Ping(ended), domain.CodeUnavailable)
		sqltest.NoError(t, s.Ping(t.Context()))
		wantBlocks(t, s, 1)
	},
	"ACallThatDoesNotGetItsLockInTimeIsUnavailable": func(t *testing.T, d testDB) {
		holder := d.migrated(t)
		s := d.open(t, func(o *Options) { o.Timeout = 2 * time.Second })
		tx, err := holder.db.Writer.BeginTxx(t.Context(), nil)
		sqltest.NoError(t, err)
		tx.MustExecContext(t.Context(), setBlocked, 1, 2, 0)
		_, err = s.Blocks.SetBlocked(t.Context(), sqltest.Change(1, 2, true))
		sqltest.WantCode(t, err, domain.CodeUnavailable)
		wantBlocks(t, s, 1) // a reader waits for no writer
		sqltest.NoError(t, tx.Rollback())
		if !sqltest.Set(t, s.Blocks, sqltest.Change(1, 2, true)) {
			t.Error("the call that timed out had an effect")
		}
	},
	"CallersBeyondTheConnectionsWaitTheirTurn": func(t *testing.T, d testDB) {
		s := d.migrated(t, func(o *Options) { o.MaxOpen = 1 })
		sqltest.AtOnce(50, func(i int) {
			user := domain.UserID(i + 1)
			if _, err := s.Blocks.SetBlocked(t.Context(), sqltest.Change(user, 1000, true)); err != nil {
				t.Error(err)
			}
			if blocked, err := s.Blocks.IsBlocked(t.Context(), user, 1000); err != nil || !blocked {
				t.Errorf("blocked %t, %v", blocked, err)
			}
		})
	},
	"AStatementThatIsWrongIsInternal": func(t *testing.T, d testDB) {
		s := d.open(t) // not migrated: no tables
		_, err := s.Blocks.Blocks(t.Context(), 1)
		sqltest.WantCode(t, err, domain.CodeInternal)
	},
}
