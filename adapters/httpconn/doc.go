// Package httpconn owns the TCP connections that HTTP comes over: REST requests, and WebSocket connections until they are
// upgraded. It tells whose they are.
package httpconn
