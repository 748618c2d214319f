// Package application holds the use cases, in rooms of one subject each. A room declares its ports beside the use case that
// needs them. This package is what joins the rooms: Login leads a connection through them, and Authenticate, RecheckTokens and
// EraseUser are about users as such.
//
//	blocks     which users block whom
//	moderation what the platform does to users
//	messaging  sends messages; echoes               imports blocks
//	past       what a user saw, from the log        imports blocks
//	delivery   shows records to connections         imports past, invites, blocks
//	replay     what is from before a login          imports past, delivery, history, blocks
//	presence   who is online; friends               imports blocks
//	invites    opens, answers and expires invites   imports blocks
//	history    the projection and its readers       imports blocks
//	port       what several rooms ask of the outside
//	async      waiting for each other
//	notice     log lines that others can cause
//	ledger     bytes that are held for clients
//
// Every room may import port, async, notice and domain, and no room imports this package. test/architecture checks the table.
//
// The rooms import only domain and the standard library. They know no JSON, no HTTP status and no SQL: adapters translate.
// docs/architecture.md has the order of the locks.
package application
