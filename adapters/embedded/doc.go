// Package embedded is the Kafka-protocol broker inside the process: the log of a server that was given no brokers, and
// the lock of its data directory. What it can and cannot do stands in docs/operations.md, under "The embedded broker".
//
// The broker is github.com/twmb/franz-go/pkg/kfake, which was written for tests of clients. One goroutine of kfake serves
// all requests, fsync included. It reads its whole log into memory at start and keeps some 100 bytes a batch there for
// ever. It fsyncs each batch before it acknowledges it, but ignores what that fsync answers and never syncs a directory.
//
// What this package adds to kfake, so that it can be relied on within those bounds:
//
//   - a guard before it (guard, client). kfake listens inside the process only (engine). Clients get few turns, and places
//     and bytes within bounds; the server itself comes by Dial and is under none of these. kfake trusts its clients: a
//     frame may panic the process, allocate 4 GiB, or store a batch that later makes kfake panic or throw away what
//     follows it. So each request of a client is read and judged first (request, produce, fetch, groups, policy);
//   - sequence numbers that survive SIGKILL, because kfake keeps them in memory and would append a batch twice that was
//     sent again (recoverProducers);
//   - retention that removes what is too old and nothing else (retention);
//   - an end at the first failed write, because kfake answers a batch that is sent again after one as if it were there
//     (kfakeLog), and where files are gone, because kfake takes what is lost for what never was (recoverLog, checkFiles).
package embedded
