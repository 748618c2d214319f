// Package application holds the use cases, one file each, with the ports they need declared beside them, and the policies
// of delivery and presence that every node applies to the log.
//
// It imports only domain and the standard library. It knows no JSON, no HTTP status and no SQL: adapters translate.
//
// Order of locks: a Delivery's user lock, then nothing; Presence's lock, then a Connection's own. No use case calls a
// port while it holds a lock, save Connection methods, which only enqueue.
package application
