package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	cpu      time.Duration // user and system time
	resident int64         // bytes of memory
}

// tick is the unit of CPU times in /proc. It is the same on all machines that Go runs on.
const tick = 10 * time.Millisecond

// usageOf reads what a process of this machine has used, from /proc (Linux).
func usageOf(pid int) (usage, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return usage{}, fmt.Errorf("process %d cannot be measured: %w", pid, err)
	}
	// The name stands before the last parenthesis, and may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	number := func(field int) int64 { // by its number in proc(5); the state is 3
		if len(fields) < field-2 {
			return 0
		}
		n, _ := strconv.ParseInt(string(fields[field-3]), 10, 64)
		return n
	}
	return usage{
		cpu:      time.Duration(number(14)+number(15)) * tick,
		resident: number(24) * int64(os.Getpagesize()),
	}, nil
}

// usagesOf reads the usage of several processes.
func usagesOf(pids []int) ([]usage, error) {
	var all []usage
	for _, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}
