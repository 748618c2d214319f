package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/application"
	"chatting/domain"
)

var (
	_ application.ProjectionStore  = (*Store)(nil)
	_ application.ProjectedOffsets = (*Store)(nil)
	_ application.BlockVersions    = (*Store)(nil)
)

// startProjection and moveProjection come first in their transactions: they lock the partition's row, behind which
// whoever else projects the partition waits, and finds it moved; and whoever erases a user. Whoever locks several rows does
// so in the order of the partitions.
const (
	selectProjections = `SELECT log_partition, generation, next_offset, last_offset, last_record FROM projections`
	startProjection   = `
		INSERT INTO projections (log_partition, generation, next_offset, last_offset, last_record) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (log_partition) DO NOTHING`
	moveProjection = `
		UPDATE projections SET generation = $2, next_offset = $3, last_offset = $4, last_record = $5
		WHERE log_partition = $1 AND generation = $6 AND next_offset = $7`
	stretchWithRows = `
		SELECT CAST($%d AS BIGINT) AS log_partition WHERE EXISTS (
			SELECT 1 FROM messages WHERE log_partition = $%d AND generation = $%d AND log_offset >= $%d AND log_offset < $%d)`
	deleteStretch = `
		DELETE FROM messages WHERE log_partition = $1 AND generation = $2 AND log_offset >= $3 AND log_offset < $4`
	erasuresBehind = `
		SELECT user_id, log_partition, generation, until_offset FROM erasures
		WHERE log_partition = $%d AND (generation, until_offset) > ($%d, $%d)`
	insertBlockChange = `
		INSERT INTO block_changes (blocker, target, generation, log_offset, version, blocked) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (blocker, target, generation, log_offset) DO NOTHING`
	versionsOfPair = `
		SELECT blocker, target, version, '' AS event_id, ` + lastRandom + ` AS random_version
		FROM blocks WHERE blocker = $%d AND target = $%d
		UNION ALL
		SELECT blocker, target, version, event_id, 0 AS random_version FROM outbox WHERE blocker = $%d AND target = $%d`
	changesFrom = `
		SELECT blocker, target, version, generation, log_offset FROM block_changes
		WHERE blocker = $%d AND target = $%d AND (generation, log_offset) >= ($1, $2)`
	deleteBlockChange = `
		DELETE FROM block_changes WHERE blocker = $1 AND target = $2 AND generation = $3 AND log_offset = $4`
	selectStoredBlocks = `
		SELECT blocker, target, blocked, version, COALESCE((
			SELECT MIN(version) FROM outbox WHERE outbox.blocker = blocks.blocker AND outbox.target = blocks.target), 0) AS pending
		FROM blocks`
)

// projectionRow is a projection as it is kept.
type projectionRow struct {
	Partition  int    `db:"log_partition"`
	Generation int64  `db:"generation"`
	Next       int64  `db:"next_offset"`
	Last       int64  `db:"last_offset"`
	LastRecord []byte `db:"last_record"`
}

func (r projectionRow) projection() (application.Projection, error) {
	if len(r.LastRecord) != len(application.RecordFingerprint{}) {
		return application.Projection{}, fmt.Errorf("history: fingerprint %x of partition %d is none", r.LastRecord, r.Partition)
	}
	return application.Projection{
		Next: application.LogPosition{Generation: r.Generation, Partition: r.Partition, Offset: r.Next},
		Last: r.Last, Fingerprint: application.RecordFingerprint(r.LastRecord),
	}, nil
}

// Projections implements application.ProjectionStore.
func (s *Store) Projections(ctx context.Context) (projections []application.Projection, err error) {
	err = s.read(ctx, "load projections", func(ctx context.Context, db *sqlx.DB) error {
		var rows []projectionRow
		if err := db.SelectContext(ctx, &rows, selectProjections); err != nil {
			return err
		}
		for _, row := range rows {
			projection, err := row.projection()
			if err != nil {
				return err
			}
			projections = append(projections, projection)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return projections, nil
}

// Projected implements application.ProjectedOffsets.
func (s *Store) Projected(ctx context.Context, partitions int) ([]application.LogPosition, error) {
	projections, err := s.Projections(ctx)
	if err != nil {
		return nil, err
	}
	places := make([]application.LogPosition, partitions)
	for partition := range places {
		places[partition] = application.LogPosition{Generation: 1, Partition: partition}
	}
	for _, projection := range projections {
		if projection.Next.Partition < partitions {
			places[projection.Next.Partition] = projection.Next
		}
	}
	return places, nil
}

// Project implements application.ProjectionStore. A question that all batches have is one statement, however many they are.
func (s *Store) Project(ctx context.Context, batches ...application.ProjectionBatch) error {
	var key []byte
	if slices.ContainsFunc(batches, func(b application.ProjectionBatch) bool { return len(b.Changes()) > 0 }) {
		var err error
		if key, err = s.blockKey(ctx); err != nil { // before the transaction, which may have the only connection
			return err
		}
	}
	batches = slices.SortedFunc(slices.Values(batches), func(a, b application.ProjectionBatch) int {
		return cmp.Compare(a.From.Next.Partition, b.From.Next.Partition)
	})
	return s.write(ctx, "project history", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := s.dialect.movePlaces(ctx, tx, batches); err != nil {
			return err
		}
		if err := deleteStretches(ctx, tx, batches); err != nil {
			return err
		}
		entries, err := s.judge(ctx, tx, key, batches)
		if err != nil || len(entries) == 0 {
			return err
		}
		return s.dialect.insertMessages(ctx, tx, entries)
	})
}

// deleteStretches deletes what the history has of the stretches. It has nothing unless they are projected again.
func deleteStretches(ctx context.Context, tx *sqlx.Tx, batches []application.ProjectionBatch) error {
	var filled []int
	if err := ofMany(ctx, tx, &filled, stretchWithRows, nil, batches, func(b application.ProjectionBatch) []any {
		from := b.From.Next
		return []any{from.Partition, from.Partition, from.Generation, from.Offset, b.To.Next.Offset}
	}); err != nil {
		return err
	}
	for _, b := range batches {
		from := b.From.Next
		if !slices.Contains(filled, from.Partition) {
			continue
		}
		if _, err := tx.ExecContext(ctx, deleteStretch, from.Partition, from.Generation, from.Offset, b.To.Next.Offset); err != nil {
			return err
		}
	}
	return nil
}

// judge returns the entries that the history gets of the batches, and keeps what became of blocks in them.
func (s *Store) judge(
	ctx context.Context, tx *sqlx.Tx, key []byte, batches []application.ProjectionBatch,
) (entries []application.JudgedEntry, err error) {
	batches = slices.DeleteFunc(slices.Clone(batches), func(b application.ProjectionBatch) bool { return len(b.Events) == 0 })
	if len(batches) == 0 {
		return nil, nil
	}
	erased, err := erasedBehind(ctx, tx, batches)
	if err != nil {
		return nil, err
	}
	if err := setOldest(ctx, tx, batches); err != nil {
		return nil, err
	}
	var pairs []pairAt
	for i := range batches {
		b := &batches[i]
		if *b, err = s.withoutForged(ctx, tx, key, *b); err != nil {
			return nil, err
		}
		for _, pair := range b.Pairs() {
			pairs = append(pairs, pairAt{pair, b.From.Next})
		}
	}
	blocks, err := s.dialect.blocksBefore(ctx, tx, pairs)
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		judged, changes := b.Judge(blocks, erased[b.From.Next.Partition])
		if err := keepChanges(ctx, tx, b, changes); err != nil {
			return nil, err
		}
		entries = append(entries, judged...)
	}
	return entries, nil
}

// keepChanges keeps what became of blocks in a batch, and drops what that replaces.
func keepChanges(ctx context.Context, tx *sqlx.Tx, batch application.ProjectionBatch, changes []application.JudgedChange) error {
	for _, change := range changes {
		if err := keepChange(ctx, tx, change); err != nil {
			return err
		}
		if at, ok := batch.Replaced(change); ok {
			if err := dropChange(ctx, tx, change.BlockPair, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// setOldest sets how far the history reaches back, for batches that have a retention.
func setOldest(ctx context.Context, tx *sqlx.Tx, batches []application.ProjectionBatch) error {
	if !slices.ContainsFunc(batches, func(b application.ProjectionBatch) bool { return b.Retention != 0 }) {
		return nil
	}
	clock, err := trustedClock(ctx, tx)
	if err != nil || clock.At.IsZero() {
		return err
	}
	for i := range batches {
		if b := &batches[i]; b.Retention != 0 {
			b.Oldest = clock.At.Add(-b.Retention)
		}
	}
	return nil
}

// withoutForged leaves out the changes of blocks that this database never gave out. A change is committed before it is
// appended: so the transaction sees its version.
func (s *Store) withoutForged(
	ctx context.Context, tx *sqlx.Tx, key []byte, batch application.ProjectionBatch,
) (application.ProjectionBatch, error) {
	pairs := batch.Changes()
	if len(pairs) == 0 {
		return batch, nil
	}
	given, err := givenVersions(ctx, tx, key, pairs)
	if err != nil {
		return batch, err
	}
	var known []struct {
		blockRow
		place
	}
	from := batch.From.Next
	if err := ofMany(ctx, tx, &known, changesFrom, []any{from.Generation, from.Offset}, pairs, func(pair application.BlockPair) []any {
		return []any{int64(pair.Blocker), int64(pair.Target)}
	}); err != nil {
		return batch, err
	}
	for _, row := range known {
		if versions, ok := given[row.state().BlockPair]; ok {
			versions.Places[row.Version] = application.LogPosition{
				Generation: row.Generation, Partition: from.Partition, Offset: row.Offset,
			}
		}
	}
	believed, forged := batch.WithoutForged(given)
	if forged > 0 {
		s.notices.Warn("history: left out changes of blocks that this database never gave out",
			slog.Int("partition", from.Partition), slog.Int("changes", forged), slog.Int64("before", batch.To.Next.Offset))
	}
	return believed, nil
}

// givenVersions returns what was given out for pairs, without places. A pair that never changed is missing.
func givenVersions(
	ctx context.Context, db sqlx.QueryerContext, key []byte, pairs []application.BlockPair,
) (map[application.BlockPair]application.GivenVersions, error) {
	var rows []struct {
		blockRow

		EventID string `db:"event_id"`
		Random  int64  `db:"random_version"`
	}
	if err := ofMany(ctx, db, &rows, versionsOfPair, nil, pairs, func(pair application.BlockPair) []any {
		return []any{int64(pair.Blocker), int64(pair.Target), int64(pair.Blocker), int64(pair.Target)}
	}); err != nil {
		return nil, err
	}
	given := make(map[application.BlockPair]application.GivenVersions, len(pairs))
	for _, row := range rows {
		pair := row.state().BlockPair
		of, ok := given[pair]
		if !ok {
			of.EventOf = func(version int64) domain.EventID {
				return domain.BlockEventID(key, pair.Blocker, pair.Target, version)
			}
			of.Events, of.Places = make(map[int64]domain.EventID), make(map[int64]application.LogPosition)
		}
		of.Newest, of.Random = max(of.Newest, row.Version), max(of.Random, row.Random)
		if id, ok := domain.ParseEventID(row.EventID); ok {
			of.Events[row.Version] = id
		}
		given[pair] = of
	}
	return given, nil
}

// Versions implements application.BlockVersions.
func (s *Store) Versions(ctx context.Context, pair application.BlockPair) (versions application.GivenVersions, err error) {
	key, err := s.blockKey(ctx)
	if err != nil {
		return application.GivenVersions{}, err
	}
	err = s.read(ctx, "look up versions of a block", func(ctx context.Context, db *sqlx.DB) error {
		given, err := givenVersions(ctx, db, key, []application.BlockPair{pair})
		versions = given[pair]
		return err
	})
	if err != nil {
		return application.GivenVersions{}, err
	}
	return versions, nil
}

// movePlace moves a partition's projection, or starts it.
func movePlace(ctx context.Context, tx *sqlx.Tx, from, to application.Projection) error {
	next := to.Next
	var rows int64
	var err error
	if from.Next.Generation == 0 {
		rows, err = rowsAffected(tx.ExecContext(ctx, startProjection,
			next.Partition, next.Generation, next.Offset, to.Last, to.Fingerprint[:]))
	} else {
		rows, err = rowsAffected(tx.ExecContext(ctx, moveProjection,
			next.Partition, next.Generation, next.Offset, to.Last, to.Fingerprint[:], from.Next.Generation, from.Next.Offset))
	}
	if err == nil && rows == 0 {
		return application.ErrProjectionMoved
	}
	return err
}

// erasedBehind returns, for each partition, the users of whom nothing is kept up to some place behind the beginning of its
// batch.
func erasedBehind(
	ctx context.Context, tx *sqlx.Tx, batches []application.ProjectionBatch,
) (map[int]map[domain.UserID]application.LogPosition, error) {
	var rows []struct {
		User       domain.UserID `db:"user_id"`
		Partition  int           `db:"log_partition"`
		Generation int64         `db:"generation"`
		Until      int64         `db:"until_offset"`
	}
	if err := ofMany(ctx, tx, &rows, erasuresBehind, nil, batches, func(b application.ProjectionBatch) []any {
		return []any{b.From.Next.Partition, b.From.Next.Generation, b.From.Next.Offset}
	}); err != nil {
		return nil, err
	}
	erased := make(map[int]map[domain.UserID]application.LogPosition)
	for _, row := range rows {
		if erased[row.Partition] == nil {
			erased[row.Partition] = make(map[domain.UserID]application.LogPosition)
		}
		erased[row.Partition][row.User] = application.LogPosition{
			Generation: row.Generation, Partition: row.Partition, Offset: row.Until,
		}
	}
	return erased, nil
}

func keepChange(ctx context.Context, tx *sqlx.Tx, change application.JudgedChange) error {
	_, err := tx.ExecContext(ctx, insertBlockChange, int64(change.Blocker), int64(change.Target),
		change.At.Generation, change.At.Offset, change.Version, change.Blocked)
	return err
}

func dropChange(ctx context.Context, tx *sqlx.Tx, pair application.BlockPair, at application.LogPosition) error {
	_, err := tx.ExecContext(ctx, deleteBlockChange, int64(pair.Blocker), int64(pair.Target), at.Generation, at.Offset)
	return err
}

// MoveProjection implements application.ProjectionStore. What is known of the blocks stands right before the place.
func (s *Store) MoveProjection(
	ctx context.Context, from, to application.Projection, blocks []application.BlockState,
) error {
	pairs := make([]pairAt, 0, len(blocks))
	for _, block := range blocks {
		pairs = append(pairs, pairAt{block.BlockPair, to.Next})
	}
	return s.write(ctx, "move projection", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := movePlace(ctx, tx, from, to); err != nil {
			return err
		}
		known, err := s.dialect.blocksBefore(ctx, tx, pairs)
		if err != nil {
			return err
		}
		at := to.Next
		at.Offset--
		for _, block := range blocks {
			if block.Version <= known[block.BlockPair].Version {
				continue
			}
			if err := keepChange(ctx, tx, application.JudgedChange{BlockState: block, At: at}); err != nil {
				return err
			}
		}
		return nil
	})
}

// StoredBlocks implements application.ProjectionStore.
func (s *Store) StoredBlocks(ctx context.Context) (blocks []application.StoredBlock, err error) {
	err = s.read(ctx, "load all blocks", func(ctx context.Context, db *sqlx.DB) error {
		var rows []struct {
			blockRow

			Pending int64 `db:"pending"`
		}
		if err := db.SelectContext(ctx, &rows, selectStoredBlocks); err != nil {
			return err
		}
		for _, row := range rows {
			blocks = append(blocks, application.StoredBlock{BlockState: row.state(), Pending: row.Pending})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return blocks, nil
}

// blockRow is the state of a pair.
type blockRow struct {
	Blocker domain.UserID `db:"blocker"`
	Target  domain.UserID `db:"target"`
	Blocked bool          `db:"blocked"`
	Version int64         `db:"version"`
}

func (r blockRow) state() application.BlockState {
	return application.BlockState{
		BlockPair: application.BlockPair{Blocker: r.Blocker, Target: r.Target}, Blocked: r.Blocked, Version: r.Version,
	}
}
