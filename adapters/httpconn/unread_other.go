//go:build !unix

package httpconn

import "net"

// hasUnread tells whether something has come on a connection that nobody has read yet, where the system can tell.
func hasUnread(net.Conn) bool { return false }
