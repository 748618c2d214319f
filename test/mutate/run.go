package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"chatting/test/mutate/switches"
)

const switchesPath = "chatting/test/mutate/switches"

// A verdict is what became of a mutant.
type verdict string

const (
	killed     verdict = "killed"
	timedOut   verdict = "timed out" // Some test took far too long, which counts as a failure.
	lived      verdict = "lived"
	notCovered verdict = "not covered" // No test comes by.
)

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	mutants, files, err := instrument(o.pkg, o.files)
	if err != nil {
		return err
	}
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !o.at.MatchString(m.position) })
	if len(chosen) == 0 {
		return fmt.Errorf("%s: nothing to change", o.pkg)
	}
	if o.list {
		for _, m := range chosen {
			fmt.Fprintln(out, m)
		}
		return nil
	}
	dir, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := binary{folder: o.pkg, path: filepath.Join(dir, "test"), scratch: dir, ids: len(mutants) + 1}
	if err := b.compile(ctx, files); err != nil {
		return err
	}
	tests, err := b.reach(ctx, o, out)
	if err != nil {
		return err
	}
	return b.judge(ctx, o, chosen, tests, out)
}

// binary is a package's test binary with its mutants.
type binary struct {
	folder  string // where its tests run
	path    string
	scratch string
	ids     int
}

func (b binary) compile(ctx context.Context, files map[string][]byte) error {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, content := range files {
		changed := filepath.Join(b.scratch, filepath.Base(name))
		if err := os.WriteFile(changed, content, 0o600); err != nil {
			return err
		}
		overlay.Replace[name] = changed
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	listed := filepath.Join(b.scratch, "overlay.json")
	if err := os.WriteFile(listed, list, 0o600); err != nil {
		return err
	}
	output, err := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", listed, "-o", b.path, b.folder).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the mutants do not compile: %w\n%s", err, output)
	}
	return nil
}

// A test is a test function, and the mutants that it comes by.
type test struct {
	name    string
	took    time.Duration
	reached []byte // by the id: 1 if it does
}

// reach runs each test once without a mutant. Those that fail are left out, because nothing can be learned from them.
func (b binary) reach(ctx context.Context, o options, out io.Writer) ([]test, error) {
	list := exec.CommandContext(ctx, b.path, "-test.list", ".")
	list.Dir = b.folder
	names, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("list the tests: %w", err)
	}
	var tests []test
	for _, name := range strings.Fields(string(names)) {
		if !strings.HasPrefix(name, "Benchmark") && o.tests.MatchString(name) && !o.skip.MatchString(name) {
			tests = append(tests, test{name: name})
		}
	}
	var group errgroup.Group
	group.SetLimit(o.workers)
	for i := range tests {
		group.Go(func() error {
			t := &tests[i]
			file := filepath.Join(b.scratch, t.name)
			if err := os.WriteFile(file, make([]byte, b.ids), 0o600); err != nil {
				return err
			}
			began := time.Now()
			output, err := b.try(ctx, *t, 0, switches.Reached+"="+file)
			if err != nil {
				fmt.Fprintf(out, "%s fails without a mutant and is left out: %v\n%s\n", t.name, err, output)
				return ctx.Err()
			}
			t.took = time.Since(began)
			t.reached, err = os.ReadFile(file)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	tests = slices.DeleteFunc(tests, func(t test) bool { return t.reached == nil })
	slices.SortFunc(tests, func(a, b test) int { return cmp.Compare(a.took, b.took) })
	return tests, nil
}

// try runs one test. The error is that of its process.
func (b binary) try(ctx context.Context, t test, id int, environment ...string) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, b.path, "-test.run", "^"+t.name+"$", "-test.failfast")
	cmd.Dir = b.folder
	cmd.Env = append(append(os.Environ(), environment...), fmt.Sprintf("%s=%d", switches.Active, id))
	cmd.WaitDelay = time.Second // A test may leave processes behind that hold its output.
	return cmd.CombinedOutput()
}

// judge runs the tests of each mutant, and prints those that live and the sum.
func (b binary) judge(ctx context.Context, o options, mutants []mutant, tests []test, out io.Writer) error {
	var (
		mu      sync.Mutex
		results = map[verdict]int{}
		group   errgroup.Group
	)
	group.SetLimit(o.workers)
	for _, m := range mutants {
		group.Go(func() error {
			result, by := b.fate(ctx, m, tests)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			results[result]++
			if o.killed || result == lived || result == notCovered {
				fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("%-11s %v %s", result, m, by), " "))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	dead := results[killed] + results[timedOut]
	fmt.Fprintf(out, "%s: %d of %d mutants died (%.1f %%): %d killed, %d timed out; %d lived, %d not covered\n", o.pkg, dead, len(mutants),
		100*float64(dead)/float64(len(mutants)), results[killed], results[timedOut], results[lived], results[notCovered])
	return nil
}

// fate also returns the test that noticed.
func (b binary) fate(ctx context.Context, m mutant, tests []test) (result verdict, by string) {
	result = notCovered
	for _, t := range tests {
		if t.reached[m.id] == 0 {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, 5*t.took+10*time.Second)
		_, err := b.try(limited, t, m.id)
		late := limited.Err() != nil
		cancel()
		switch {
		case late:
			return timedOut, t.name
		case err != nil:
			return killed, t.name
		}
		result = lived
	}
	return result, ""
}
