//go:build unix

package httpconn

import (
	"net"
	"syscall"
)

// hasUnread tells whether something has come on a connection that nobody has read yet. It never waits.
func hasUnread(conn net.Conn) (has bool) {
	source, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := source.SyscallConn()
	if err != nil {
		return false
	}
	// Control does not wait for who reads. Go has made the socket one that does not block.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		has = err == nil && n > 0
	})
	return has && err == nil
}
