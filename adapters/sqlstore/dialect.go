package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/migrations"
)

// dialect is what statements say differently to the two databases.
type dialect struct {
	// lockInstallation reads the recorded log, which then stays recorded until the transaction ends. lockProjections reads all
	// projections, which then stay as they are.
	lockInstallation, lockProjections string
	// listed begins a statement that takes a list of ids: see listOf.
	listed string
	// prepares tells that statements are worth preparing: reading one takes longer than carrying it out, and connections are
	// the process's own. (Behind a pooler of connections the next call may find another one.)
	prepares bool
	// sendsAll tells that the rows of an answer are sent whether they are read or not: see pageStatement.
	sendsAll bool
	// now asks the database's server what time it is, in milliseconds; "" if there is no server.
	now string

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
		lockInstallation: selectInstallation, lockProjections: selectGenerations, // one transaction writes at a time
		listed:     `WITH listed (id) AS (SELECT value FROM json_each($1))`,
		prepares:   true,
		movePlaces: movePlacesInTurn, blocksBefore: sqliteBlocksBefore, insertMessages: sqliteInsertMessages,
		keepMarks: sqliteKeepMarks,
	},
	migrations.PostgreSQL: {
		lockInstallation: selectInstallation + " FOR SHARE",
		lockProjections:  selectGenerations + " ORDER BY log_partition FOR UPDATE",
		listed:           `WITH listed (id) AS (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))`,
		sendsAll:         true,
		now:              `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`,
		movePlaces:       postgresMovePlaces, blocksBefore: postgresBlocksBefore, insertMessages: postgresInsertMessages,
		keepMarks: postgresKeepMarks,
	},
}
