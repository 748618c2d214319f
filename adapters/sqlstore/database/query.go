package database

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
)

// Reader reads: a DB, or a Share of its connections.
type Reader interface {
	Read(ctx context.Context, op string, f func(context.Context, *sqlx.DB) error) error
}

// Ask returns what f reads, and the zero value beside an error.
func Ask[T any](
	ctx context.Context, db Reader, op string, f func(context.Context, sqlx.QueryerContext) (T, error),
) (answer T, err error) {
	err = db.Read(ctx, op, func(ctx context.Context, db *sqlx.DB) error {
		answer, err = f(ctx, db)
		return err
	})
	if err != nil {
		return *new(T), err
	}
	return answer, nil
}

// Get returns the first row of a query, and the zero value if there is none.
func Get[T any](ctx context.Context, db Reader, op, query string, arguments ...any) (T, error) {
	return Ask(ctx, db, op, func(ctx context.Context, db sqlx.QueryerContext) (T, error) {
		value, _, err := Find[T](ctx, db, query, arguments...)
		return value, err
	})
}

// Select returns the rows of a query.
func Select[T any](ctx context.Context, db Reader, op, query string, arguments ...any) ([]T, error) {
	return Ask(ctx, db, op, func(ctx context.Context, db sqlx.QueryerContext) (rows []T, err error) {
		err = sqlx.SelectContext(ctx, db, &rows, query, arguments...)
		return rows, err
	})
}

// Find returns the first row of a query, and false if there is none.
func Find[T any](ctx context.Context, db sqlx.QueryerContext, query string, arguments ...any) (value T, found bool, err error) {
	err = sqlx.GetContext(ctx, db, &value, query, arguments...)
	if errors.Is(err, sql.ErrNoRows) {
		return value, false, nil
	}
	return value, err == nil, err
}

// Convert returns what f makes of each row.
func Convert[R, T any](rows []R, f func(R) (T, error)) ([]T, error) {
	list := make([]T, 0, len(rows))
	for _, row := range rows {
		value, err := f(row)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

// PerStatement bounds the things that SelectEach asks one statement about. SQLite takes 500 SELECTs in a UNION, and a thing may
// have two.
const PerStatement = 200

// SelectEach runs a statement for many things, some at a time: each statement takes a trip to the database. common are the
// arguments that are the same for all, arguments returns those of one: the statement has a %d for the number of each.
func SelectEach[R, T any](
	ctx context.Context, db sqlx.QueryerContext, statement string, common []any, things []T, arguments func(T) []any,
) (rows []R, err error) {
	for some := range slices.Chunk(things, PerStatement) {
		var parts []string
		all := slices.Clone(common)
		for _, thing := range some {
			own := arguments(thing)
			numbers := make([]any, len(own))
			for i := range own {
				numbers[i] = len(all) + i + 1
			}
			parts = append(parts, fmt.Sprintf(statement, numbers...))
			all = append(all, own...)
		}
		var found []R // sqlx empties the slice that it is given
		if err := sqlx.SelectContext(ctx, db, &found, strings.Join(parts, " UNION ALL "), all...); err != nil {
			return nil, err
		}
		rows = append(rows, found...)
	}
	return rows, nil
}

// InList bounds the values that InChunks puts into one statement, far below what either database takes.
const InList = 500

// InChunks calls f with a query and its arguments for some values at a time, of which the query has a list in place of its last (?).
func InChunks[T any](values []T, query string, arguments []any, f func(query string, arguments []any) error) error {
	for chunk := range slices.Chunk(values, InList) {
		list, all, err := sqlx.In(query, append(slices.Clone(arguments), chunk)...)
		if err != nil {
			return err
		}
		if err := f(sqlx.Rebind(sqlx.DOLLAR, list), all); err != nil {
			return err
		}
	}
	return nil
}

// Affected returns how many rows a statement changed.
func Affected(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// JSONList writes a list of numbers for a statement, as one argument.
func JSONList[T any](list []T) string {
	text, _ := json.Marshal(list) // numbers do not fail
	return string(text)
}
