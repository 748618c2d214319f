// Package embedded is the Kafka-protocol broker inside the process: the log of a server that was given no brokers, and
// the lock of its data directory. docs/embedded.md says what it can and cannot do.
//
// The broker is github.com/twmb/franz-go/pkg/kfake, which was written for tests of clients. One goroutine of kfake serves
// all requests. It reads its whole log into memory at start and keeps some 100 bytes a batch there for ever. It trusts its
// clients, never syncs a directory, and answers a batch that is sent again after a failed write as if it were there.
//
// This package makes it reliable within those bounds. It starts and ends the broker, syncs in rounds (syncer), deletes old
// records (retention), and stops at the first failed write (kfakeLog) or lost file. Its parts, from the ground up:
//
//   - protocol judges requests: a frame may make kfake panic or allocate 4 GiB;
//   - batch reads record batches, and judges which of them kfake may store;
//   - logdir recovers, syncs and watches the files;
//   - guard is between the clients and kfake, and shows nobody what is not synced.
package embedded
