// Package moderation is about what the platform does to users: it mutes and bans them, ends their connections and revokes their
// tokens. Moderate carries an act out, Register knows the acts by their places in the log and decides what they keep back, and
// RelayActs publishes what a crash left in the store.
package moderation
