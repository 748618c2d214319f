//go:build !unix

package main

// openFiles returns how many files the process may have open, 0 if nobody says.
func openFiles() uint64 { return 0 }
