package sqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"modernc.org/sqlite"

	"chatting/adapters/sqlstore/database"
)

// ConflictOn returns an error by which the driver tells that another transaction got in the way.
func ConflictOn(t testing.TB, url string) error {
	t.Helper()
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return &pq.Error{Code: pqerror.TRSerializationFailure}
	}
	pool, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	NoError(t, err)
	defer pool.Close()
	first, err := pool.BeginTx(t.Context(), nil)
	NoError(t, err)
	defer first.Rollback()
	if _, err = pool.BeginTx(t.Context(), nil); err == nil {
		t.Fatal("two transactions write at once")
	}
	return err
}

// faults are the connections of a store whose steps can fail: to begin, prepare, ask, read a row, change and commit.
type faults struct {
	driver.Connector

	// before is called before each step and says whether it fails instead; and after a commit that failed was rolled back.
	before func(step string) error
}

// Break closes the connections of a database and opens one instead, whose steps call before.
func Break(t testing.TB, db *database.DB, url string, before func(step string) error) {
	t.Helper()
	var connector driver.Connector
	var err error
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		connector, err = sqlite.NewConnector("file:" + path + "?_txlock=immediate&_busy_timeout=30000")
	} else {
		connector, err = pq.NewConnector(url)
	}
	NoError(t, err)
	NoError(t, db.Close())
	db.Writer = sqlx.NewDb(sql.OpenDB(&faults{connector, before}), db.Writer.DriverName())
	db.Writer.SetMaxOpenConns(1)
	db.Reader = db.Writer
}

func (f *faults) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := f.Connector.Connect(ctx)
	return faultyConn{conn, f}, err
}

type faultyConn struct {
	driver.Conn
	*faults
}

func (c faultyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := c.before("begin"); err != nil {
		return nil, err
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return faultyTx{tx, c.faults}, err
}

func (c faultyConn) QueryContext(ctx context.Context, query string, arguments []driver.NamedValue) (driver.Rows, error) {
	if err := c.before(query); err != nil {
		return nil, err
	}
	rows, err := c.Conn.(driver.QueryerContext).QueryContext(ctx, query, arguments)
	return &faultyRows{rows, c.faults, query}, err
}

func (c faultyConn) ExecContext(ctx context.Context, query string, arguments []driver.NamedValue) (driver.Result, error) {
	if err := c.before(query); err != nil {
		return nil, err
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, arguments)
}

func (c faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.before("prepare"); err != nil {
		return nil, err
	}
	statement, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	return faultyStatement{statement, c.faults, query}, err
}

func (c faultyConn) CheckNamedValue(value *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(value)
	}
	return driver.ErrSkip
}

type faultyTx struct {
	driver.Tx
	*faults
}

func (tx faultyTx) Commit() error {
	if err := tx.before("commit"); err != nil {
		err = errors.Join(err, tx.Rollback())
		return errors.Join(err, tx.before("rolled back"))
	}
	return tx.Tx.Commit()
}

type faultyRows struct {
	driver.Rows
	*faults

	query string
}

func (r *faultyRows) Next(row []driver.Value) error {
	if err := r.before("row of " + r.query); err != nil {
		return err
	}
	return r.Rows.Next(row)
}

type faultyStatement struct {
	driver.Stmt
	*faults

	query string
}

func (s faultyStatement) ExecContext(ctx context.Context, arguments []driver.NamedValue) (driver.Result, error) {
	if err := s.before(s.query); err != nil {
		return nil, err
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, arguments)
}

func (s faultyStatement) QueryContext(ctx context.Context, arguments []driver.NamedValue) (driver.Rows, error) {
	if err := s.before(s.query); err != nil {
		return nil, err
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, arguments)
	return &faultyRows{rows, s.faults, s.query}, err
}
