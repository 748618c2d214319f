// Package migrations carries the database schema inside the binary, as goose migrations. One set serves SQLite and
// PostgreSQL: the files use only what both understand alike. A file that was ever released is never changed; what comes
// later is a new file with the next number.
package migrations

import "embed"

// Files holds the migrations at its root, NNNNN_name.sql, in the order of their numbers.
//
//go:embed *.sql
var Files embed.FS
