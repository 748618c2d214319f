// Package embedded is the Kafka-protocol broker inside the process: the log of a server that was given no brokers, and
// the lock of its data directory.
//
// It is for trial, development and one small node, because the broker is github.com/twmb/franz-go/pkg/kfake, written
// for tests of clients. One node holds everything: there is no replication, so the disk's loss is the log's loss. There
// is no authentication and no encryption, so it belongs on a loopback address. One goroutine serves all requests, fsync
// included. It reads its whole log into memory at start and keeps some 100 bytes a batch there for ever. It fsyncs each
// batch before it acknowledges it, but ignores what that fsync answers and never syncs a directory: a killed process
// loses nothing, a power cut may lose what the disk had not written.
//
// What this package adds to kfake, so that it can be relied on within those bounds:
//
//   - a guard before it, because kfake trusts its clients: a frame may panic the process, allocate 4 GiB, or store a
//     batch that later makes kfake panic or throw away what follows it (guardedListener, admit);
//   - sequence numbers that survive SIGKILL, because kfake keeps them in memory and would append a batch twice that was
//     sent again (recoverProducers);
//   - retention that removes what is too old and nothing else (retention);
//   - an end at the first failed write, because kfake answers a batch that is sent again after one as if it were there
//     (kfakeLog).
//
// Clients see a broker of the age of Kafka 2.3: the API versions without tagged fields, which is what kafka-go, librdkafka,
// franz-go and the Java clients up to 4.x fall back to. It has no transactions, no topic deletion, no consumer groups of
// the new protocol (KIP-848); retention.bytes and compaction do nothing and are refused where they are asked for.
package embedded
