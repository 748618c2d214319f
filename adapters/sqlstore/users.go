package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/application/blocks"
	"chatting/domain"
)

// Users keeps who was ever seen, and answers what a login needs to know.
type Users struct {
	db      *database.DB
	dialect dialect
	now     func() time.Time
	// known holds users that the database had, and when: a hit of late needs no query.
	known *lru.Cache[domain.UserID, time.Time]
	// forgotten counts how often a user was taken out of known.
	forgotten atomic.Int64
	// loginFacts is selectLoginFacts, if the dialect prepares it; nil before it was first used.
	loginFacts atomic.Pointer[sqlx.Stmt]
}

const (
	// knownUsers bounds the cache of known users: some 100 bytes each.
	knownUsers = 1 << 16
	// knownFor is how long a node takes a user for known without asking the database again, which may have forgotten it.
	knownFor = time.Minute

	selectKnown = `SELECT EXISTS (SELECT 1 FROM users WHERE id = $1)`
)

func newUsers(db *database.DB, dialect dialect, now func() time.Time) *Users {
	known, _ := lru.New[domain.UserID, time.Time](knownUsers) // it fails for sizes below 1 only
	return &Users{db: db, dialect: dialect, now: now, known: known}
}

// Remember implements port.KnownUsers. Calls for a user soon after another one on this node do not go to the
// database, as long as the user stays in the cache.
func (u *Users) Remember(ctx context.Context, user domain.UserID) error {
	known, err := u.Known(ctx, user)
	if known || err != nil {
		return err
	}
	return u.RememberAll(ctx, []domain.UserID{user})
}

// Known implements port.KnownUsers.
func (u *Users) Known(ctx context.Context, user domain.UserID) (bool, error) {
	now := u.now()
	if at, hit := u.known.Get(user); hit && now.Sub(at) < knownFor {
		return true, nil
	}
	forgotten := u.forgotten.Load()
	known, err := u.stored(ctx, user)
	if known {
		u.noteKnown(user, now, forgotten)
	}
	return known, err
}

// noteKnown notes that the database had a user at a time, when so many users had been forgotten.
func (u *Users) noteKnown(user domain.UserID, at time.Time, forgotten int64) {
	if u.forgotten.Load() == forgotten { // else what was read may be old
		u.known.Add(user, at)
	}
}

// LookUpAgain forgets that a user is known, whom another node may have erased: the database is asked again.
func (u *Users) LookUpAgain(user domain.UserID) {
	u.forgotten.Add(1)
	u.known.Remove(user)
}

// stored asks the database itself whether a user is known.
func (u *Users) stored(ctx context.Context, user domain.UserID) (bool, error) {
	return database.Get[bool](ctx, u.db, "look for user", selectKnown, user)
}

// The statements about many users take their ids as one JSON array, which the dialect makes the table listed (id).
const (
	// selectLoginFacts has a row for each user that is known (0), whose version is when it was first seen, each pair that the
	// user ever blocked (1), and each friend (2). Of a friend, blocked tells that it blocks the user, if $2 asks for that.
	selectLoginFacts = `
		SELECT 0 AS kind, users.id AS user_id, 0 AS target, FALSE AS blocked, users.first_seen AS version, FALSE AS pending
			FROM listed JOIN users ON users.id = listed.id
		UNION ALL
		SELECT 1, blocker, target, blocked, version,
			EXISTS (SELECT 1 FROM outbox WHERE outbox.blocker = blocks.blocker AND outbox.target = blocks.target)
			FROM listed JOIN blocks ON blocks.blocker = listed.id
		UNION ALL
		SELECT 2, user_id, friend_id,
			$2 AND EXISTS (SELECT 1 FROM blocks WHERE blocker = friend_id AND target = user_id AND blocked), 0, FALSE
			FROM listed JOIN friends ON friends.user_id = listed.id`
	rememberUsers = `
		INSERT INTO users (id, first_seen) SELECT id, CAST($2 AS BIGINT) FROM listed WHERE TRUE ORDER BY id
		ON CONFLICT (id) DO NOTHING`
)

// The kinds of rows of selectLoginFacts.
const (
	factKnown = iota
	factBlock
	factFriend
)

// factRow is a row of selectLoginFacts. Its target is the one whom the user blocked, or the friend.
type factRow struct {
	Kind int
	User domain.UserID `db:"user_id"`
	blocks.Entry
}

// LoginFacts implements application.LoginStore.
func (u *Users) LoginFacts(ctx context.Context, users []domain.UserID, hiding bool) ([]application.LoginFacts, error) {
	now, forgotten := u.now(), u.forgotten.Load()
	facts := make(map[domain.UserID]*application.LoginFacts, len(users))
	for _, user := range users {
		facts[user] = &application.LoginFacts{Friends: []domain.UserID{}}
	}
	err := u.db.Read(ctx, "look up logins", func(ctx context.Context, db *sqlx.DB) error {
		rows, err := u.queryLogins(ctx, db, listOf(users), hiding)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row factRow
			if err := rows.StructScan(&row); err != nil {
				return err
			}
			row.addTo(facts[row.User])
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	for _, of := range facts {
		slices.SortFunc(of.Blocks, func(a, b blocks.Entry) int { return cmp.Compare(a.Target, b.Target) })
		slices.Sort(of.Friends)
		slices.Sort(of.Hiding)
	}
	answer := make([]application.LoginFacts, len(users))
	for i, user := range users {
		answer[i] = *facts[user]
		if answer[i].Known {
			u.noteKnown(user, now, forgotten)
		}
	}
	return answer, nil
}

// queryLogins asks for facts.
func (u *Users) queryLogins(ctx context.Context, db *sqlx.DB, arguments ...any) (*sqlx.Rows, error) {
	statement := u.dialect.listed + selectLoginFacts
	if !u.dialect.prepares {
		return db.QueryxContext(ctx, statement, arguments...)
	}
	prepared := u.loginFacts.Load() //nolint:sqlclosecheck // it ends with the pool
	if prepared == nil {            // not when the database is opened: before the first migration the tables are missing
		var err error
		if prepared, err = db.PreparexContext(ctx, statement); err != nil {
			return nil, err
		}
		u.loginFacts.Store(prepared) // one that another caller stored meanwhile ends with the pool, as this one does
	}
	return prepared.QueryxContext(ctx, arguments...)
}

func (r factRow) addTo(facts *application.LoginFacts) {
	switch r.Kind {
	case factKnown:
		facts.Known, facts.Since = true, time.UnixMilli(r.Version).UTC()
	case factBlock:
		facts.Blocks = append(facts.Blocks, r.Entry)
	case factFriend:
		facts.Friends = append(facts.Friends, r.Target)
		if r.Blocked {
			facts.Hiding = append(facts.Hiding, r.Target)
		}
	}
}

// RememberAll implements application.LoginStore.
func (u *Users) RememberAll(ctx context.Context, users []domain.UserID) error {
	_, err := u.db.Exec(ctx, "remember users", u.dialect.listed+rememberUsers, listOf(users), u.now().UnixMilli())
	if err != nil {
		return err
	}
	for _, user := range users {
		u.known.Add(user, u.now())
	}
	return nil
}

// listOf returns the ids, each once, for a statement that begins with the dialect's listed.
func listOf(users []domain.UserID) string {
	list := append([]domain.UserID{}, users...) // an empty list, not null
	slices.Sort(list)
	return database.JSONList(slices.Compact(list))
}
