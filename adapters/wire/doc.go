// Package wire is the JSON that goes over the sockets, over HTTP and into the log: the frames of events, the frames that the
// server makes itself, and the strict reading of what others send. Every adapter reads and writes JSON through it, so an
// integer, a text or half a surrogate pair means the same everywhere. It does no I/O and makes no decisions about chat.
//
// Frames go out byte for byte as they are encoded here. What comes in from the log is checked before it goes to a client.
package wire
