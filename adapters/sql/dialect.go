package sqlstore

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"chatting/application"
	"chatting/migrations"
)

// dialect is what differs between the databases.
type dialect struct {
	// goose names the dialect to the migrations.
	goose goose.Dialect
	// migrations are those of this database.
	migrations migrations.Database
	// open returns the pools for transactions and for single queries, which may be the same.
	open func(Options) (writer, reader *sqlx.DB, err error)
	// openToMigrate returns a pool for migrations, which may take longer than other calls, once no other process
	// migrates this database. release lets the next one in and closes the pool.
	openToMigrate func(context.Context) (db *sql.DB, release func() error, err error)
	// conflict tells that another transaction got in the way: nothing was done, and trying again may help at once.
	conflict func(error) bool
	// movePlaces moves the projections of the partitions of batches, which are in their order.
	movePlaces func(context.Context, *sqlx.Tx, []application.ProjectionBatch) error
	// lockProjections reads all projections, which then stay as they are until the transaction ends.
	lockProjections string
	// blocksBefore returns the states of the pairs, each as of its place in the log; pairs that never changed are missing.
	blocksBefore func(context.Context, *sqlx.Tx, []pairAt) (map[application.BlockPair]application.BlockState, error)
	// insertMessages adds entries to the history, each of which is not twice among them. Where an entry is there already,
	// the one with the earlier place stays. The caller has locked the projections of their partitions.
	insertMessages func(context.Context, *sqlx.Tx, []application.JudgedEntry) error
	// pages returns the statements that read pages of the history.
	pages func() pageStatements
	// lockInstallation reads the recorded log, which then stays recorded until the transaction ends.
	lockInstallation string
	// prepare looks at the files of the database before any connection is made; nil where there are none.
	prepare func(context.Context, Options) error
	// scrub takes what may be a secret out of the texts of errors.
	scrub scrubber
	// now asks the database's server what time it is, in milliseconds; "" where there is no server.
	now string
	// outage tells that the database cannot do anything now, through no fault of the statement.
	outage func(error) bool
}
