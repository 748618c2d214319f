// Package blocks is about who blocks whom: the use case Block with its store and its outbox, the relay that publishes what a
// crash left there, and how presence is hidden from a user who is blocked. What a block keeps from connections is decided in
// delivery, what it keeps from the history in history.
package blocks
