// Package async has the few mechanisms by which use cases wait for each other: an append's outcome (Await), many calls at once
// (AtOnce), and one question for many callers (Rounds). It knows nothing of chat.
package async
