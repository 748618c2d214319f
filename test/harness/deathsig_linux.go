package harness

import (
	"os/exec"
	"syscall"
)

// DiesWithTests has a process that is about to be started killed once this one ends: a test binary that is killed, as by go test's own
// limit, ends nothing of what it started. (Linux sends the signal when the thread ends that started the process. Go keeps its
// threads, except those that a goroutine has locked and not given back.)
func DiesWithTests(command *exec.Cmd) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
