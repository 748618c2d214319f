// Package delivery hands the records of the log to the connections of this node: the live ones as the tail reads them
// (Delivery), and at login those that were sent while the user was offline (StoredMessages, Replay). It decides who sees what,
// and keeps events from being seen twice. It does not send, and it does not know how a connection writes.
package delivery
