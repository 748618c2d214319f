//go:build !unix

package ownerfiles

// Umask does nothing: files have no modes here.
func Umask() {}
