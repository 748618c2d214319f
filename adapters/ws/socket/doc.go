// Package socket is one connection of a WebSocket server: the TCP connection that becomes one (Conn), the bounded queue of what
// is sent, with its writer, its control frames and the close handshake (Outbound), the messages that are received, as they have
// room (MessageReader), and whether more may be received now (Reading).
//
// What is said is not here, nor who says it, nor which limits and close codes there are: those who use the package hand them in.
// It knows nothing of chat. The bytes of frames are in package rfc6455, and a library reads those of clients.
//
// A connection has one goroutine that reads, which belongs to the user of this package. Another one, the writer, exists only
// while there is something to write.
package socket
