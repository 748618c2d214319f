// Package messaging sends: the messages of users and of the platform, the bounds of what may wait for a user who is offline,
// and the echo by which a sender learns that its message is durable and was read. Receiving is delivery's subject.
package messaging
