//go:build unix

package ownerfiles

import "syscall"

// Umask has all files that this process makes from now on be for its owner only: libraries ask for more. It is for the
// beginning of a program, because it holds for the whole process.
func Umask() { syscall.Umask(0o777 &^ dirMode) }
