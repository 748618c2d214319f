package sqlstore

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatting/domain"
	"chatting/test/sqltest"
)

var printA, printB = [32]byte{1}, [32]byte{2}

// wantOwned demands that the caller of Begin owns the key.
func wantOwned(t *testing.T, s *Store, key string, fingerprint [32]byte, now time.Time) {
	t.Helper()
	stored, err := s.Idempotency.Begin(t.Context(), key, fingerprint, now)
	if err != nil || stored != nil {
		t.Fatalf("key %q: stored %v, error %v, want to own it", key, stored, err)
	}
}

func wantStored(t *testing.T, s *Store, key string, now time.Time, status int, body []byte) {
	t.Helper()
	stored, err := s.Idempotency.Begin(t.Context(), key, printA, now)
	sqltest.NoError(t, err)
	if stored == nil || stored.Status != status || !bytes.Equal(stored.Body, body) {
		t.Fatalf("key %q: stored %v, want %d %q", key, stored, status, body)
	}
}

func wantRefused(t *testing.T, s *Store, key string, fingerprint [32]byte, now time.Time, code domain.Code) {
	t.Helper()
	stored, err := s.Idempotency.Begin(t.Context(), key, fingerprint, now)
	sqltest.WantCode(t, err, code)
	if stored != nil {
		t.Fatalf("key %q: stored %v beside the error", key, stored)
	}
}

func keyRows(t *testing.T, s *Store) (n int) {
	t.Helper()
	sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &n, "SELECT COUNT(*) FROM idempotency_keys"))
	return n
}

var idempotencyContract = map[string]func(*testing.T, testDB){
	"ARepeatedRequestGetsTheStoredResponse": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		body := []byte("{\"message\":\"\x00\xff\"}")
		wantOwned(t, nodes[0], "k", printA, sqltest.Time)
		sqltest.NoError(t, nodes[0].Idempotency.Complete(t.Context(), "k", 200, body))
		wantStored(t, nodes[0], "k", sqltest.Time, 200, body)
		wantStored(t, nodes[1], "k", sqltest.Time.Add(KeyLifetime-time.Millisecond), 200, body)
	},
	"AResponseWithoutBodyIsAResponse": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 404, nil))
		wantStored(t, s, "k", sqltest.Time, 404, nil)
	},
	"AKeyIsBusyWhileItsRequestIsUnderWay": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		wantRefused(t, s, "k", printA, sqltest.Time, domain.CodeKeyInProgress)
		wantRefused(t, s, "k", printA, sqltest.Time.Add(KeyProgress-time.Millisecond), domain.CodeKeyInProgress)
		wantOwned(t, s, "other", printA, sqltest.Time)
	},
	"ARequestThatNeverEndedGivesItsKeyToTheNext": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		later := sqltest.Time.Add(KeyProgress)
		wantRefused(t, s, "k", printB, later, domain.CodeKeyReused)
		wantOwned(t, s, "k", printA, later)
		wantRefused(t, s, "k", printA, later.Add(KeyProgress-time.Millisecond), domain.CodeKeyInProgress)
	},
	"AKeyOfAnotherRequestIsRefused": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		wantRefused(t, s, "k", printB, sqltest.Time, domain.CodeKeyReused)
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 200, []byte("first")))
		wantRefused(t, s, "k", printB, sqltest.Time, domain.CodeKeyReused)
		wantStored(t, s, "k", sqltest.Time, 200, []byte("first"))
	},
	"TheFirstResponseStays": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 200, []byte("first")))
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 500, []byte("second")))
		sqltest.NoError(t, s.Idempotency.Abandon(t.Context(), "k"))
		wantStored(t, s, "k", sqltest.Time, 200, []byte("first"))
	},
	"AnAbandonedKeyIsNewAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "k", printA, sqltest.Time)
		sqltest.NoError(t, s.Idempotency.Abandon(t.Context(), "k"))
		sqltest.NoError(t, s.Idempotency.Abandon(t.Context(), "never begun"))
		wantOwned(t, s, "k", printB, sqltest.Time)
	},
	"TheEndOfARequestIsThatOfItsOwnKey": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		for _, key := range []string{"a", "b", "c"} {
			wantOwned(t, s, key, printA, sqltest.Time)
		}
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "a", 200, []byte("of a")))
		sqltest.NoError(t, s.Idempotency.Abandon(t.Context(), "b"))
		wantStored(t, s, "a", sqltest.Time, 200, []byte("of a"))
		wantRefused(t, s, "c", printA, sqltest.Time, domain.CodeKeyInProgress)
		wantOwned(t, s, "b", printA, sqltest.Time)
	},
	"AnExpiredKeyIsNewAgain": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		// As if nothing were purged: expiry must not depend on that.
		s.Idempotency.purgeAt.Store(sqltest.Time.Add(10 * KeyLifetime).UnixMilli())
		wantOwned(t, s, "k", printA, sqltest.Time)
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "k", 200, []byte("old")))
		wantOwned(t, s, "k", printB, sqltest.Time.Add(KeyLifetime))
		wantRefused(t, s, "k", printB, sqltest.Time.Add(KeyLifetime), domain.CodeKeyInProgress)
	},
	"ExpiredKeysArePurgedAndOthersStay": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		wantOwned(t, s, "first", printA, sqltest.Time)
		wantOwned(t, s, "second", printA, sqltest.Time.Add(time.Second))
		wantOwned(t, s, "third", printA, sqltest.Time.Add(KeyLifetime))
		if n := keyRows(t, s); n != 2 {
			t.Fatalf("%d keys kept, want the second and the third", n)
		}
		sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "second", 200, nil))
		wantStored(t, s, "second", sqltest.Time.Add(KeyLifetime), 200, nil)
	},
	"APurgeThatDidNotGetThroughGoesOnAtTheNextRequest": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		tx := s.db.Writer.MustBegin()
		for i := range purgeAtOnce + 1 {
			tx.MustExecContext(t.Context(), beginKey, hashKey(fmt.Sprint(i)), printA[:], int64(i), int64(-1), int64(-1))
		}
		sqltest.NoError(t, tx.Commit())
		wantOwned(t, s, "new", printA, sqltest.Time)
		if n := keyRows(t, s); n != 2 {
			t.Fatalf("%d keys after one purge, want 2", n)
		}
		wantOwned(t, s, "newer", printA, sqltest.Time)
		if n := keyRows(t, s); n != 2 {
			t.Fatalf("%d keys after two purges, want the two new ones", n)
		}
	},
	"ARequestIsKnownAgainAsLongAsItsKeyIsKept": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 2)
		since := func(s *Store, fingerprint [32]byte) time.Duration {
			t.Helper()
			first, err := s.Idempotency.Since(t.Context(), "k", fingerprint)
			sqltest.NoError(t, err)
			return first.Sub(sqltest.Time)
		}
		_, err := nodes[0].Idempotency.Since(t.Context(), "k", printA)
		sqltest.WantCode(t, err, domain.CodeKeyInProgress)
		// It goes on after Abandon, and after a request that died. A request with other contents is none of them.
		for i, row := range []struct {
			at, since   time.Duration
			fingerprint [32]byte
			abandoned   bool
		}{
			{0, 0, printA, true}, {20 * time.Hour, 0, printA, true}, {21 * time.Hour, 21 * time.Hour, printB, true},
			{40 * time.Hour, 0, printA, false}, {40*time.Hour + KeyProgress, 0, printA, true},
			{64*time.Hour + KeyProgress - time.Millisecond, 0, printA, false},
			{88*time.Hour + KeyProgress - time.Millisecond, 88*time.Hour + KeyProgress - time.Millisecond, printA, false},
		} {
			s := nodes[i%2]
			s.Idempotency.purgeAt.Store(sqltest.Time.Add(row.at + time.Second).UnixMilli()) // what is old is still there
			wantOwned(t, s, "k", row.fingerprint, sqltest.Time.Add(row.at))
			if got := since(s, row.fingerprint); got != row.since {
				t.Errorf("the request at %s belongs to that at %s, want %s", row.at, got, row.since)
			}
			if row.abandoned {
				sqltest.NoError(t, s.Idempotency.Abandon(t.Context(), "k"))
			}
		}
	},
	"OfRequestsAtOnceExactlyOneOwnsTheKey": func(t *testing.T, d testDB) {
		nodes := d.nodes(t, 3)
		for round, now := range []time.Time{sqltest.Time, sqltest.Time.Add(KeyProgress), sqltest.Time.Add(KeyLifetime + KeyProgress)} {
			var owners, busy atomic.Int64
			sqltest.AtOnce(60, func(i int) {
				stored, err := nodes[i%len(nodes)].Idempotency.Begin(t.Context(), "k", printA, now)
				switch {
				case domain.CodeOf(err) == domain.CodeKeyInProgress:
					busy.Add(1)
				case err != nil || stored != nil:
					t.Errorf("stored %v, error %v", stored, err)
				default:
					owners.Add(1)
				}
			})
			if owners.Load() != 1 || busy.Load() != 59 {
				t.Errorf("round %d: %d own the key, %d find it busy, of 60", round, owners.Load(), busy.Load())
			}
		}
	},
	"NoKeyIsStoredAsItIsAndAnyTextIsAKey": func(t *testing.T, d testDB) {
		s := d.migrated(t)
		keys := []string{"", "a-secret-key", "\x00", "\xff\xfe", "'; DROP TABLE users; --", strings.Repeat("k", 1<<20)}
		for _, key := range keys {
			wantOwned(t, s, key, printA, sqltest.Time)
			sqltest.NoError(t, s.Idempotency.Complete(t.Context(), key, 200, []byte{byte(len(key))}))
		}
		for _, key := range keys {
			wantStored(t, s, key, sqltest.Time, 200, []byte{byte(len(key))})
		}
		var hashes [][]byte
		sqltest.NoError(t, s.db.Reader.SelectContext(t.Context(), &hashes, "SELECT key_hash FROM idempotency_keys"))
		for _, hash := range hashes {
			if len(hash) != 32 || bytes.Contains(hash, []byte("secret")) {
				t.Errorf("%q is no SHA-256", hash)
			}
		}
	},
}
