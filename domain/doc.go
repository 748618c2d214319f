// Package domain holds the values and the rules of the chat server: who may be named, what a conversation is, what can
// happen in one, when a user counts as online and when a node counts as dead.
//
// It does no I/O, has no clock and no randomness of its own, and imports only the standard library: whatever changes is
// handed in. A value that exists is valid, because constructors refuse what is not.
package domain
