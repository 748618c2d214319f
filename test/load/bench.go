package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// report is what is read of the JSON of chatting bench and of its subcommands.
type report struct {
	PerSec    float64        `json:"messages_per_second"`
	Messages  int64          `json:"messages"`
	Echo      times          `json:"echo_ms"`
	Resumes   float64        `json:"resumes_per_second"`
	CaughtUp  times          `json:"caught_up_ms"`
	ClientCPU float64        `json:"client_cpu_us_per_message"`
	Processes []processUsage `json:"processes"`
	Rounds    []struct {
		PerSec    float64        `json:"logins_per_second"`
		Processes []processUsage `json:"processes"`
	} `json:"rounds"`
}

type times struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

type processUsage struct {
	PID           int     `json:"pid"`
	CPU           float64 `json:"cpu_us_each"`
	CPUSeconds    float64 `json:"cpu_seconds"`
	KiBConnection float64 `json:"kib_per_connection"`
}

// cpu returns the CPU time of a process, in µs a message.
func cpu(processes []processUsage, pid int) float64 {
	for _, p := range processes {
		if p.PID == pid {
			return p.CPU
		}
	}
	return 0
}

// bench runs chatting bench against a process. A fault that it reports is kept for the end.
func (l *load) bench(ctx context.Context, p *process, args ...string) (report, error) {
	return l.benchTelling(ctx, p, io.Discard, 0, args...)
}

// asideNiceness is that of a load client beside the one that is measured: its users would have machines of their own.
const asideNiceness = 10

// benchTelling is bench, at a niceness, that has what the command says beside its report written to told as well.
func (l *load) benchTelling(ctx context.Context, p *process, told io.Writer, niceness int, args ...string) (report, error) {
	args = append([]string{"bench"}, args...)
	args = append(args, "--json", "--url", p.socket, "--pid", fmt.Sprint(p.pid()))
	args = append(args, p.login...)
	command := exec.CommandContext(ctx, "nice", append([]string{"-n", fmt.Sprint(niceness), l.program}, args...)...)
	command.Dir, command.Env = l.dir, environ(nil)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = time.Minute
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, io.MultiWriter(&complaint, told)
	failed := command.Run()
	if err := ctx.Err(); err != nil {
		return report{}, err
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return r, errors.Join(fmt.Errorf("%s: chatting bench: %s", p.name, strings.TrimSpace(complaint.String())), failed)
	}
	if failed != nil {
		fault := fmt.Sprintf("%s, bench %s: %s", p.name, strings.Join(args[1:], " "), strings.TrimSpace(complaint.String()))
		l.mu.Lock()
		l.faults = append(l.faults, strings.ReplaceAll(fault, l.dir, "…"))
		l.mu.Unlock()
		note("%s", fault)
	}
	return r, nil
}

// newUsers returns a flag that names users whom nobody has seen yet.
func (l *load) newUsers(n int) []string {
	first := l.nextUser
	l.nextUser += int64(n)
	return []string{"--first-user", fmt.Sprint(first)}
}
