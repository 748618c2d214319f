// Package history is about the projection of the conversations in the database: what of the log it gets and who sees it, how
// users read it, how far it is behind the log, and when its entries are deleted. It does not deliver: the messages that wait
// for users who are offline are read from the history by delivery.
package history
