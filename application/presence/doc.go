// Package presence is about who is online and who is told so: the use cases SetPresence, IsOnline and AuditPresence, and the
// lists of friends. domain.Sessions and domain.Lease have the rules. SetPresence has one lock over three parts: sessions (who
// is online), watchers (who is told) and nodes (which nodes live). The lists that are to be loaded again have a lock of their
// own. What is said in conversations is no subject here.
package presence
