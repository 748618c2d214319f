// Package ledger bounds the memory that a node holds for its clients. It counts bytes and decides who has to go if there is no
// room. The adapters that hold the bytes say when they take and release them.
package ledger
