package conversations

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
)

// Projections keeps how far the history follows the log, and writes the history.
type Projections struct {
	db      *database.DB
	dialect dialect
	of      Options
}

// startProjection and moveProjection come first in their transactions. They lock the partition's row: another projector waits,
// and finds it moved; an erasure waits, too. Several rows are locked in the order of the partitions.
const (
	selectProjections = `SELECT log_partition, generation, next_offset, last_offset, last_record FROM projections`
	startProjection   = `
		INSERT INTO projections (log_partition, generation, next_offset, last_offset, last_record) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (log_partition) DO NOTHING`
	moveProjection = `
		UPDATE projections SET generation = $2, next_offset = $3, last_offset = $4, last_record = $5
		WHERE log_partition = $1 AND generation = $6 AND next_offset = $7`
	selectStoredBlocks = `
		SELECT blocker, target, blocked, version, COALESCE((
			SELECT MIN(version) FROM outbox WHERE outbox.blocker = blocks.blocker AND outbox.target = blocks.target), 0) AS pending
		FROM blocks`
	stretchWithRows = `
		SELECT CAST($%d AS BIGINT) AS log_partition WHERE EXISTS (
			SELECT 1 FROM messages WHERE log_partition = $%d AND generation = $%d AND log_offset >= $%d AND log_offset < $%d)`
	deleteStretch = `
		DELETE FROM messages WHERE log_partition = $1 AND generation = $2 AND log_offset >= $3 AND log_offset < $4`
	erasuresBehind = `
		SELECT user_id, log_partition, generation, until_offset AS log_offset FROM erasures
		WHERE log_partition = $%d AND (generation, until_offset) > ($%d, $%d)`
	changesFrom = `
		SELECT blocker, target, version, generation, log_offset FROM block_changes
		WHERE blocker = $%d AND target = $%d AND (generation, log_offset) >= ($1, $2)`
	insertBlockChange = `
		INSERT INTO block_changes (blocker, target, generation, log_offset, version, blocked) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (blocker, target, generation, log_offset) DO NOTHING`
	deleteBlockChange = `
		DELETE FROM block_changes WHERE blocker = $1 AND target = $2 AND generation = $3 AND log_offset = $4`
)

// projectionRow is a projection as it is kept.
type projectionRow struct {
	Partition  int    `db:"log_partition"`
	Generation int64  `db:"generation"`
	Next       int64  `db:"next_offset"`
	Last       int64  `db:"last_offset"`
	LastRecord []byte `db:"last_record"`
}

func (r projectionRow) projection() (history.Projection, error) {
	if len(r.LastRecord) != len(history.RecordFingerprint{}) {
		return history.Projection{}, fmt.Errorf("history: fingerprint %x of partition %d is none", r.LastRecord, r.Partition)
	}
	return history.Projection{
		Next: domain.Place{Generation: r.Generation, Partition: r.Partition, Offset: r.Next},
		Last: r.Last, Fingerprint: history.RecordFingerprint(r.LastRecord),
	}, nil
}

// Projections implements history.ProjectionStore.
func (p *Projections) Projections(ctx context.Context) ([]history.Projection, error) {
	rows, err := database.Select[projectionRow](ctx, p.db, "load projections", selectProjections)
	if err != nil {
		return nil, err
	}
	return database.Convert(rows, projectionRow.projection)
}

// Projected implements history.ProjectedOffsets.
func (p *Projections) Projected(ctx context.Context, partitions int) ([]domain.Place, error) {
	projections, err := p.Projections(ctx)
	if err != nil {
		return nil, err
	}
	places := make([]domain.Place, partitions)
	for partition := range places {
		places[partition] = domain.Place{Generation: 1, Partition: partition}
	}
	for _, projection := range projections {
		if projection.Next.Partition < partitions {
			places[projection.Next.Partition] = projection.Next
		}
	}
	return places, nil
}

// MoveProjection implements history.ProjectionStore. What is known of the blocks stands right before the place.
func (p *Projections) MoveProjection(
	ctx context.Context, from, to history.Projection, blocks []blocks.State,
) error {
	pairs := make([]pairAt, 0, len(blocks))
	for _, block := range blocks {
		pairs = append(pairs, pairAt{block.Pair, to.Next})
	}
	return p.db.Write(ctx, "move projection", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := movePlace(ctx, tx, from, to); err != nil {
			return err
		}
		known, err := p.dialect.blocksBefore(ctx, tx, pairs)
		if err != nil {
			return err
		}
		at := to.Next
		at.Offset--
		for _, block := range blocks {
			if block.Version <= known[block.Pair].Version {
				continue
			}
			if err := keepChange(ctx, tx, history.JudgedChange{State: block, At: at}); err != nil {
				return err
			}
		}
		return nil
	})
}

// StoredBlocks implements history.ProjectionStore.
func (p *Projections) StoredBlocks(ctx context.Context) ([]blocks.Stored, error) {
	return database.Select[blocks.Stored](ctx, p.db, "load all blocks", selectStoredBlocks)
}

// movePlace moves a partition's projection, or starts it.
func movePlace(ctx context.Context, tx *sqlx.Tx, from, to history.Projection) error {
	next := to.Next
	var rows int64
	var err error
	if from.Next.Generation == 0 {
		rows, err = database.Affected(tx.ExecContext(ctx, startProjection,
			next.Partition, next.Generation, next.Offset, to.Last, to.Fingerprint[:]))
	} else {
		rows, err = database.Affected(tx.ExecContext(ctx, moveProjection,
			next.Partition, next.Generation, next.Offset, to.Last, to.Fingerprint[:], from.Next.Generation, from.Next.Offset))
	}
	if err == nil && rows == 0 {
		return history.ErrProjectionMoved
	}
	return err
}

// Project implements history.ProjectionStore. A question that all batches have is one statement, however many they are.
func (p *Projections) Project(ctx context.Context, batches ...history.ProjectionBatch) error {
	var given GivenIn
	if slices.ContainsFunc(batches, func(b history.ProjectionBatch) bool { return len(b.Changes()) > 0 }) {
		var err error
		if given, err = p.of.Blocks.GivenIn(ctx); err != nil {
			return err
		}
	}
	batches = slices.SortedFunc(slices.Values(batches), func(a, b history.ProjectionBatch) int {
		return cmp.Compare(a.From.Next.Partition, b.From.Next.Partition)
	})
	return p.db.Write(ctx, "project history", func(ctx context.Context, tx *sqlx.Tx) error {
		if err := p.dialect.movePlaces(ctx, tx, batches); err != nil {
			return err
		}
		if err := keepActs(ctx, tx, batches); err != nil {
			return err
		}
		if err := deleteStretches(ctx, tx, batches); err != nil {
			return err
		}
		judged, err := p.judge(ctx, tx, given, batches)
		if err != nil {
			return err
		}
		entries, marks := history.Marks(judged)
		if len(marks) > 0 {
			if err := p.dialect.keepMarks(ctx, tx, marks); err != nil {
				return err
			}
		}
		if len(entries) == 0 {
			return nil
		}
		return p.dialect.insertMessages(ctx, tx, entries)
	})
}

// deleteStretches deletes what the history has of the stretches: nothing, unless they are projected again.
func deleteStretches(ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch) error {
	filled, err := database.SelectEach[int](ctx, tx, stretchWithRows, nil, batches, func(b history.ProjectionBatch) []any {
		from := b.From.Next
		return []any{from.Partition, from.Partition, from.Generation, from.Offset, b.To.Next.Offset}
	})
	if err != nil {
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
func (p *Projections) judge(
	ctx context.Context, tx *sqlx.Tx, given GivenIn, batches []history.ProjectionBatch,
) (entries []history.JudgedEntry, err error) {
	batches = slices.DeleteFunc(slices.Clone(batches), func(b history.ProjectionBatch) bool { return len(b.Events) == 0 })
	if len(batches) == 0 {
		return nil, nil
	}
	erased, err := erasedBehind(ctx, tx, batches)
	if err != nil {
		return nil, err
	}
	if err := p.setOldest(ctx, tx, batches); err != nil {
		return nil, err
	}
	var pairs []pairAt
	for i := range batches {
		b := &batches[i]
		if *b, err = p.withoutForged(ctx, tx, given, *b); err != nil {
			return nil, err
		}
		for _, pair := range b.Pairs() {
			pairs = append(pairs, pairAt{pair, b.From.Next})
		}
	}
	blocks, err := p.dialect.blocksBefore(ctx, tx, pairs)
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
func keepChanges(ctx context.Context, tx *sqlx.Tx, batch history.ProjectionBatch, changes []history.JudgedChange) error {
	for _, change := range changes {
		if err := keepChange(ctx, tx, change); err != nil {
			return err
		}
		at, ok := batch.Replaced(change)
		if !ok {
			continue
		}
		if _, err := tx.ExecContext(ctx, deleteBlockChange, change.Blocker, change.Target, at.Generation, at.Offset); err != nil {
			return err
		}
	}
	return nil
}

func keepChange(ctx context.Context, tx *sqlx.Tx, change history.JudgedChange) error {
	_, err := tx.ExecContext(ctx, insertBlockChange, change.Blocker, change.Target,
		change.At.Generation, change.At.Offset, change.Version, change.Blocked)
	return err
}

// setOldest sets how far the history reaches back, for batches that have a retention.
func (p *Projections) setOldest(ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch) error {
	if !slices.ContainsFunc(batches, func(b history.ProjectionBatch) bool { return b.Retention != 0 }) {
		return nil
	}
	clock, err := p.of.Clock(ctx, tx)
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
func (p *Projections) withoutForged(
	ctx context.Context, tx *sqlx.Tx, givenIn GivenIn, batch history.ProjectionBatch,
) (history.ProjectionBatch, error) {
	pairs := batch.Changes()
	if len(pairs) == 0 {
		return batch, nil
	}
	given, err := givenIn(ctx, tx, pairs)
	if err != nil {
		return batch, err
	}
	from := batch.From.Next
	known, err := database.SelectEach[struct {
		blocks.State
		place
	}](ctx, tx, changesFrom, []any{from.Generation, from.Offset}, pairs, func(pair blocks.Pair) []any {
		return []any{pair.Blocker, pair.Target}
	})
	if err != nil {
		return batch, err
	}
	for _, row := range known {
		if versions, ok := given[row.Pair]; ok {
			row.Partition = from.Partition
			versions.Places[row.Version] = row.position()
		}
	}
	believed, forged := batch.WithoutForged(given)
	if forged > 0 {
		p.of.Notices.Warn("history: left out changes of blocks that this database never gave out",
			slog.Int("partition", from.Partition), slog.Int("changes", forged), slog.Int64("before", batch.To.Next.Offset))
	}
	return believed, nil
}

// erasedBehind returns, for each partition, the users of whom nothing is kept up to some place behind the beginning of its
// batch.
func erasedBehind(
	ctx context.Context, tx *sqlx.Tx, batches []history.ProjectionBatch,
) (map[int]map[domain.UserID]domain.Place, error) {
	rows, err := database.SelectEach[struct {
		User domain.UserID `db:"user_id"`
		place
	}](ctx, tx, erasuresBehind, nil, batches, func(b history.ProjectionBatch) []any {
		return []any{b.From.Next.Partition, b.From.Next.Generation, b.From.Next.Offset}
	})
	if err != nil {
		return nil, err
	}
	erased := make(map[int]map[domain.UserID]domain.Place)
	for _, row := range rows {
		if erased[row.Partition] == nil {
			erased[row.Partition] = make(map[domain.UserID]domain.Place)
		}
		erased[row.Partition][row.User] = row.position()
	}
	return erased, nil
}
