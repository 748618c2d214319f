package sqlstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application/moderation"
	"chatting/domain"
)

// Moderation keeps what the platform did to users, and where that stands in the log.
type Moderation struct {
	db     *database.DB
	blocks *Blocks // which have the secret of the database
	// max is moderation.MaxActs.
	max int
}

var _ moderation.Store = (*Moderation)(nil)

const (
	nextActVersion = `
		INSERT INTO moderated_users (user_id, version) VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE SET version =
			CASE WHEN moderated_users.version >= excluded.version THEN moderated_users.version + 1 ELSE excluded.version END
		RETURNING version`
	selectLatestAct = `
		SELECT ` + actColumns + ` FROM moderation_acts WHERE user_id = $1 AND sort = $2 ORDER BY version DESC LIMIT 1`
	// Mutes and bans are counted apart from the others.
	countActs = `
		SELECT COUNT(*) FROM (
			SELECT 1 FROM moderation_acts WHERE sort IN ($2, $3) AND ends_at >= $1 LIMIT $4) AS counted`
	replaceActs = `UPDATE moderation_acts SET ends_at = $3 WHERE user_id = $1 AND sort = $2 AND ends_at > $3`
	insertAct   = `
		INSERT INTO moderation_acts (
			user_id, version, event_id, kind, sort, until_at, reason, actor, asked_at, ends_at, published)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, FALSE)`
	actColumns       = `user_id, version, event_id, kind, until_at, reason, actor, asked_at`
	selectPendingAct = `SELECT ` + actColumns + ` FROM moderation_acts WHERE user_id = $1 AND NOT published ORDER BY version`
	// As in the outbox of blocks, a later time is of a clock that was ahead.
	selectPendingUsers = `
		SELECT DISTINCT user_id FROM moderation_acts
		WHERE NOT published AND asked_at NOT BETWEEN $1 AND $1 + 70000 ORDER BY user_id LIMIT $2`
	selectLatestActs = `SELECT ` + actColumns + ` FROM moderation_acts WHERE user_id = $1 ORDER BY version DESC LIMIT $2`
	markActPublished = `UPDATE moderation_acts SET published = TRUE WHERE user_id = $1 AND version = $2`
	forgetReasons    = `UPDATE moderation_acts SET reason = '', actor = '' WHERE user_id = $1 AND published`
	selectActs       = `SELECT ` + actColumns + ` FROM moderation_acts WHERE ends_at >= $1`
	// A place of an earlier topic of the same name is none: the act counts for all of this one.
	selectPlacesOfActs = `
		SELECT p.user_id, p.version, p.log_partition,
			CASE WHEN p.generation < COALESCE(projections.generation, 1) THEN -1 ELSE p.log_offset END AS log_offset
		FROM moderation_places AS p
		JOIN moderation_acts AS acts ON acts.user_id = p.user_id AND acts.version = p.version
		LEFT JOIN projections ON projections.log_partition = p.log_partition
		WHERE acts.ends_at >= $1`
	// Both tables are read by an index.
	deleteOldPlaces = `
		DELETE FROM moderation_places
		WHERE (user_id, version) IN (SELECT user_id, version FROM moderation_acts WHERE ends_at < $1)`
	deleteOldActs = `DELETE FROM moderation_acts WHERE ends_at < $1`
)

// actRow is an act as it is kept.
type actRow struct {
	User    domain.UserID  `db:"user_id"`
	Version int64          `db:"version"`
	EventID string         `db:"event_id"`
	Kind    domain.ActKind `db:"kind"`
	Until   *int64         `db:"until_at"`
	Reason  string         `db:"reason"`
	Actor   string         `db:"actor"`
	AskedAt int64          `db:"asked_at"`
}

func (r actRow) act() (domain.Act, error) {
	id, ok := domain.ParseEventID(r.EventID)
	if !ok {
		return domain.Act{}, fmt.Errorf("moderation: event id %q is no UUID", r.EventID)
	}
	act := domain.Act{
		ID: id, User: r.User, Kind: r.Kind, Reason: r.Reason, Actor: r.Actor, Version: r.Version, Time: time.UnixMilli(r.AskedAt).UTC(),
	}
	if r.Until != nil {
		act.Until = time.UnixMilli(*r.Until).UTC()
	}
	return act, nil
}

// Key implements moderation.Loaded.
func (m *Moderation) Key(ctx context.Context) ([]byte, error) {
	return m.blocks.Secret(ctx, "acts of the platform")
}

// Add implements moderation.Store. Acts that have counted no more for moderation.Lately are deleted on this occasion.
func (m *Moderation) Add(ctx context.Context, act domain.Act) (domain.Act, error) {
	key, err := m.Key(ctx)
	if err != nil {
		return domain.Act{}, err
	}
	at := act.Time.UnixMilli()
	err = m.db.Write(ctx, "add an act", func(ctx context.Context, tx *sqlx.Tx) error {
		if act.Version, _, err = database.Find[int64](ctx, tx, nextActVersion, act.User, at); err != nil {
			return err
		}
		old, err := oldActs(ctx, tx, act.Time)
		if err != nil {
			return err
		}
		if err := m.admit(ctx, tx, act, old); err != nil {
			return err
		}
		sort := act.Kind.Sort()
		if _, err := tx.ExecContext(ctx, replaceActs, act.User, sort, at); err != nil {
			return err
		}
		ends := int64(math.MaxInt64)
		if until, ok := act.Lasts(); ok {
			ends = until.UnixMilli()
		}
		var until *int64
		if !act.Until.IsZero() {
			until = &ends
		}
		act.ID = domain.ActID(key, act)
		if _, err := tx.ExecContext(ctx, insertAct, act.User, act.Version, act.ID.String(), act.Kind, sort, until, act.Reason, act.Actor,
			at, ends); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, deleteOldPlaces, old); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, deleteOldActs, old)
		return err
	})
	if err != nil {
		return domain.Act{}, err
	}
	return act, nil
}

// oldActs returns since when, in milliseconds, acts have counted no more that are deleted now. A clock that is ahead would delete
// what is in force, and one that is behind the act that it has just asked for.
func oldActs(ctx context.Context, tx *sqlx.Tx, now time.Time) (int64, error) {
	clock, err := trustedClock(ctx, tx)
	return min(now.UnixMilli(), clock.Limit(now).UnixMilli()) - moderation.Lately.Milliseconds(), err
}

var (
	errManyActs   = domain.NewError(domain.CodeLimit, "Too many acts of the platform are in force, or were lately.")
	errNotInForce = domain.NewError(domain.CodeNotInForce, "There is nothing in force to end.")
)

// admit tells whether there is room for an act beside those that are not old, or, for one that ends another, whether there is that one.
func (m *Moderation) admit(ctx context.Context, tx *sqlx.Tx, act domain.Act, old int64) error {
	sort := act.Kind.Sort()
	if sort != act.Kind {
		row, found, err := database.Find[actRow](ctx, tx, selectLatestAct, act.User, sort)
		if err != nil {
			return err
		}
		if !found || row.Kind != sort || row.Until != nil && *row.Until <= act.Time.UnixMilli() {
			return errNotInForce
		}
		return nil
	}
	together := []any{old, domain.ActMute, domain.ActBan, m.max}
	if sort != domain.ActMute && sort != domain.ActBan {
		together = []any{old, domain.ActEnd, domain.ActRevoke, m.max}
	}
	count, _, err := database.Find[int](ctx, tx, countActs, together...)
	if err != nil {
		return err
	}
	if count >= m.max {
		return errManyActs
	}
	return nil
}

// LatestOf implements moderation.Store.
func (m *Moderation) LatestOf(ctx context.Context, user domain.UserID, limit int) ([]domain.Act, error) {
	return m.acts(ctx, "load acts on a user", selectLatestActs, user, limit)
}

// LatestOfSort implements moderation.Store.
func (m *Moderation) LatestOfSort(ctx context.Context, user domain.UserID, sort domain.ActKind) (domain.Act, bool, error) {
	acts, err := m.acts(ctx, "load the latest act of a sort", selectLatestAct, user, sort)
	if err != nil || len(acts) == 0 {
		return domain.Act{}, false, err
	}
	return acts[0], true, nil
}

// PendingOf implements moderation.Outbox.
func (m *Moderation) PendingOf(ctx context.Context, user domain.UserID) ([]domain.Act, error) {
	return m.acts(ctx, "load unpublished acts", selectPendingAct, user)
}

func (m *Moderation) acts(ctx context.Context, op, query string, arguments ...any) ([]domain.Act, error) {
	rows, err := database.Select[actRow](ctx, m.db, op, query, arguments...)
	if err != nil {
		return nil, err
	}
	return database.Convert(rows, actRow.act)
}

// Pending implements moderation.Outbox.
func (m *Moderation) Pending(ctx context.Context, before time.Time, limit int) ([]domain.UserID, error) {
	return database.Select[domain.UserID](ctx, m.db, "look for unpublished acts", selectPendingUsers, before.UnixMilli(), limit)
}

// Published implements moderation.Outbox.
func (m *Moderation) Published(ctx context.Context, act domain.Act, places []int64) error {
	return m.db.Write(ctx, "mark an act published", func(ctx context.Context, tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, markActPublished, act.User, act.Version); err != nil {
			return err
		}
		return conversations.KeepActPlaces(ctx, tx, act, places)
	})
}

// ForgetReasons implements moderation.Store. An act that is not published keeps its own until it is: the log gets it as it was
// asked for.
func (m *Moderation) ForgetReasons(ctx context.Context, user domain.UserID) error {
	_, err := m.db.Exec(ctx, "forget the reasons of acts", forgetReasons, user)
	return err
}

// Acts implements moderation.Loaded.
func (m *Moderation) Acts(ctx context.Context, since time.Time) ([]domain.PlacedAct, error) {
	type of struct {
		user    domain.UserID
		version int64
	}
	return database.Ask(ctx, m.db, "load acts", func(ctx context.Context, db sqlx.QueryerContext) ([]domain.PlacedAct, error) {
		clock, err := trustedClock(ctx, db)
		if err != nil {
			return nil, err
		}
		if !clock.At.IsZero() && clock.At.Before(since) { // by a clock that is ahead, an act that counts would have ended
			since = clock.At
		}
		// The places first: an act whose places come meanwhile is read in the log.
		var places []struct {
			User      domain.UserID `db:"user_id"`
			Version   int64         `db:"version"`
			Partition int           `db:"log_partition"`
			Offset    int64         `db:"log_offset"`
		}
		if err := sqlx.SelectContext(ctx, db, &places, selectPlacesOfActs, since.UnixMilli()); err != nil {
			return nil, err
		}
		offsets := make(map[of][]int64)
		for _, p := range places {
			known := offsets[of{p.User, p.Version}]
			for len(known) <= p.Partition {
				known = append(known, domain.ActNowhere)
			}
			known[p.Partition] = p.Offset
			offsets[of{p.User, p.Version}] = known
		}
		var rows []actRow
		if err := sqlx.SelectContext(ctx, db, &rows, selectActs, since.UnixMilli()); err != nil {
			return nil, err
		}
		acts, err := database.Convert(rows, actRow.act)
		if err != nil {
			return nil, err
		}
		loaded := make([]domain.PlacedAct, 0, len(acts))
		for _, act := range acts {
			loaded = append(loaded, domain.PlacedAct{Act: act, Places: slices.Clip(offsets[of{act.User, act.Version}])})
		}
		return loaded, nil
	})
}
