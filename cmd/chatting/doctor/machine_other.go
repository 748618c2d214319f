//go:build !unix

package doctor

import "errors"

const onUnix = false

func openFiles() uint64 { return 0 }

func freeDisk(string) (uint64, error) { return 0, errors.New("this system does not tell") }

func writable(string) error { return nil }
