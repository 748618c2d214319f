// Package httpconn owns the TCP connections that HTTP comes over: REST requests, and WebSocket connections until they are
// upgraded. It sits between the network and the HTTP server, as a listener.
//
// It does three things, all before the HTTP server sees a byte:
//
//   - It decides which connections stay open (Listener). A connection that is silent, idle or slow makes room for a new
//     one. Health requests have places of their own.
//   - It reads each request strictly (parseHead, body). What proxies and servers are known to read differently is refused,
//     and the connection is closed. Nothing that follows a refused request is ever read as a request.
//   - It tells whose a request is (Proxies).
package httpconn
