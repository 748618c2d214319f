// Package past tells what a user saw in a stretch of the log before its login. It reads the log once more for those who log in,
// and judges each record by its place: by the user's blocks there, and by what the tail remembers of invites (Verdicts). It leaves
// out what is forgotten of erased users. It does not know who asks, and hands nothing to connections.
package past
