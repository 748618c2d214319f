// Package sqlstore keeps users, blocks with their outbox, friends, the history with its read marks and erasures, delivery
// cursors, idempotency keys and the partition counts of topics in SQLite or PostgreSQL.
//
// One set of statements serves both: they use numbered parameters ($1), RETURNING and ON CONFLICT, which both understand
// alike. What differs (opening, locking a migration, reading errors) is the dialect: sqlite.go and postgres.go.
//
// Isolation: every transaction takes the lock that it needs with its first statement. On PostgreSQL (READ COMMITTED) that
// is the lock on a row, or on several in the order of their keys, taken by an UPDATE or by an INSERT … ON CONFLICT DO
// UPDATE, which also serialises those who come first; on SQLite transactions are immediate and there is one writing
// connection. No transaction asks the pool for a second connection.
//
// Errors: domain.CodeUnavailable where the database is away, does not answer in time or is too busy, and where the
// caller's context ends first; a write that failed so may still have been committed. Conflicts with other transactions
// are retried a few times before that. Anything else is a plain error, which domain.CodeOf calls CodeInternal.
//
// Times are stored as integers, milliseconds since 1970 UTC.
package sqlstore
