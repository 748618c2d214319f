package conversations

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/migrations"
)

// dialect is what statements say differently to the two databases.
type dialect struct {
	// lockProjections reads all projections, which then stay as they are until the transaction ends.
	lockProjections string
	// sendsAll tells that the rows of an answer are sent whether they are read or not: see pageStatement.
	sendsAll bool

	// movePlaces moves the projections of the partitions of batches, which are in their order.
	movePlaces func(context.Context, *sqlx.Tx, []history.ProjectionBatch) error
	// blocksBefore returns the states of the pairs, each as of its place in the log; pairs that never changed are missing.
	blocksBefore func(context.Context, *sqlx.Tx, []pairAt) (map[blocks.Pair]blocks.State, error)
	// insertMessages adds entries to the history, each of which is not twice among them. If an entry is there already,
	// the one with the earlier place stays. The caller has locked the projections of their partitions.
	insertMessages func(context.Context, *sqlx.Tx, []history.JudgedEntry) error
	// keepMarks keeps read marks, each of another reader or conversation, where no later event of theirs is kept.
	keepMarks func(context.Context, *sqlx.Tx, []history.JudgedEntry) error
}

var dialects = map[migrations.Database]dialect{
	migrations.SQLite: {
		lockProjections: selectGenerations, // one transaction writes at a time
		movePlaces:      movePlacesInTurn, blocksBefore: sqliteBlocksBefore, insertMessages: sqliteInsertMessages,
		keepMarks: sqliteKeepMarks,
	},
	migrations.PostgreSQL: {
		lockProjections: selectGenerations + " ORDER BY log_partition FOR UPDATE",
		sendsAll:        true,
		movePlaces:      postgresMovePlaces, blocksBefore: postgresBlocksBefore, insertMessages: postgresInsertMessages,
		keepMarks: postgresKeepMarks,
	},
}
