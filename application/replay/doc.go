// Package replay delivers to a connection, after its login, what is from before it: what its client missed since it stopped
// (Resumption), or what was stored for its user while it was offline (StoredMessages). It notes what clients confirm. It hands
// everything over through delivery.Handover, and what is live is not its subject.
package replay
