package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// folderVariable names the folder of a run to the process that does the work.
const folderVariable = "STORM_FOLDER"

// Folder returns the folder of the run, in the process that is to do the work; "" in one that is to call Guard.
func Folder() string { return os.Getenv(folderVariable) }

// Guard runs this program again, with the same arguments and some more, in a process that does the work, and clears up behind it
// however it ended: by itself, by a panic or by a signal. dir is the folder of the run; if it is "", a new one below /tmp, called
// name. Guard returns the exit code.
func Guard(name, dir string, more ...string) int {
	if dir == "" {
		made, err := os.MkdirTemp("", name+"-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		dir = made
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer clearUp(dir)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	child := exec.Command(os.Args[0], append(os.Args[1:len(os.Args):len(os.Args)], more...)...)
	child.Env = append(os.Environ(), folderVariable+"="+dir)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	group := child.Process.Pid
	// The nodes are in the group of the process that started them.
	defer func() { _ = syscall.Kill(-group, syscall.SIGKILL) }()
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	for interrupted := false; ; {
		select {
		case err := <-ended:
			var exit *exec.ExitError
			switch {
			case err == nil:
				return 0
			case errors.As(err, &exit) && exit.ExitCode() >= 0:
				return exit.ExitCode()
			}
			fmt.Fprintln(os.Stderr, err)
			return 1
		case <-signals:
			if interrupted { // asked twice
				_ = child.Process.Kill()
				continue
			}
			interrupted = true
			_ = child.Process.Signal(syscall.SIGTERM)
		}
	}
}

// clearUp ends brokers and PostgreSQL of a run, and unmounts its small disks. Logs and histories stay.
func clearUp(dir string) {
	p := &parts{dir: infraFolder(dir)}
	if postgres, err := os.ReadFile(filepath.Join(p.dir, "postgres.dir")); err == nil {
		p.pgData = filepath.Join(strings.TrimSpace(string(postgres)), "data")
		_ = p.pausePostgres(syscall.SIGCONT) // or it could not be ended
	}
	unmount(dir)
	if err := infra(context.Background(), dir, "down"); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
