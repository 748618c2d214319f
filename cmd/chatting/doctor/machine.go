package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"chatting/cmd/chatting/installation"
	"chatting/domain"
)

// ThisMachine returns what there is to know of the machine and the process.
func ThisMachine() Machine {
	return Machine{Now: time.Now, OpenFiles: openFiles(), Memory: memory("/"), FreeDisk: freeDisk}
}

// memory returns the least limit on the memory of this process: of its control groups (version 2 or 1), or of the machine. root is /
// but in tests.
func memory(root string) (least uint64) {
	take := func(text string) {
		if bytes, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64); err == nil && bytes > 0 && (least == 0 || bytes < least) {
			least = bytes
		}
	}
	file := func(name string) string {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return ""
		}
		return string(content)
	}
	for line := range strings.Lines(file("proc/meminfo")) {
		if rest, is := strings.CutPrefix(line, "MemTotal:"); is {
			if kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64); err == nil {
				least = kib << 10
			}
		}
	}
	for line := range strings.Lines(file("proc/self/cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		for group := parts[2]; ; group = filepath.Dir(group) { // a group above may allow less
			take(file("sys/fs/cgroup" + group + "/memory.max"))
			take(file("sys/fs/cgroup/memory" + group + "/memory.limit_in_bytes"))
			if group == "/" || group == "." {
				break
			}
		}
	}
	return least
}

const (
	// spareFiles is how many files a server has open beside its connections: the database, brokers, the log's files.
	spareFiles = 256
	// ownMemory is what a server needs beside the bytes that it holds for its clients.
	ownMemory = 256 << 20
	// connectionMemory is about what an idle connection costs: docs/performance.md.
	connectionMemory = 16 << 10

	leastDisk = 256 << 20 // below it, the server is about to stop
	fewDisk   = 2 << 30
)

// process looks at the limits of the process, as the server will have them if it is started in the same way.
func (p *patient) process(context.Context) {
	limits := p.Config.Limit
	if now := p.Machine.Now(); now.Before(domain.EarliestTime) {
		p.fail("set the clock of this machine, and let it follow a time server",
			"the clock of this machine is not set: it tells %s", now.UTC().Format(time.DateTime))
	}
	needed := uint64(limits.Connections + spareFiles)
	switch {
	case p.Machine.OpenFiles == 0:
		p.skip("how many files the process may open is not known")
	case limits.Connections > 0 && p.Machine.OpenFiles < needed:
		p.fail("raise it to "+strconv.FormatUint(needed, 10)+" (LimitNOFILE of systemd, ulimit -n of a shell), or lower limit.connections",
			"the process may open %d files, but limit.connections allows %d connections", p.Machine.OpenFiles, limits.Connections)
	case p.Machine.OpenFiles < 2*spareFiles:
		p.fail("raise it (LimitNOFILE of systemd, ulimit -n of a shell)", "the process may open only %d files", p.Machine.OpenFiles)
	default:
		p.ok("the process may open %d files", p.Machine.OpenFiles)
	}
	bound := uint64(limits.OutboundBytes+limits.InboundBytes) + ownMemory + uint64(limits.Connections)*connectionMemory
	switch {
	case p.Machine.Memory == 0:
		p.skip("how much memory the process may use is not known")
	case p.Machine.Memory < bound:
		p.warn("give it "+humanize.IBytes(bound)+", or lower limit.outbound_bytes, limit.inbound_bytes and limit.connections",
			"the process may use %s of memory, but at its limits the server needs about %s",
			humanize.IBytes(p.Machine.Memory), humanize.IBytes(bound))
	default:
		p.ok("the process may use %s of memory", humanize.IBytes(p.Machine.Memory))
	}
}

// dataDirectory looks at the directory of everything that is embedded.
func (p *patient) dataDirectory(context.Context) {
	cfg := p.Config
	if !cfg.Kafka.Embedded() && !cfg.Database.Embedded && !cfg.GeneratesSecret() && !cfg.GeneratesS2SToken() {
		p.ok("not used: everything is elsewhere")
		return
	}
	dir := installation.Absolute(cfg.DataDir)
	info, err := os.Stat(dir)
	switch {
	case os.IsNotExist(err):
		if above, err := os.Stat(nearest(dir)); err != nil || !above.IsDir() || writable(nearest(dir)) != nil {
			p.fail("make it for the user who runs the server, or set data_dir (CHATTING_DATA_DIR)",
				"there is no directory %s, and this user cannot make it", dir)
			return
		}
		p.ok("there is no directory %s yet: the first start makes it", dir)
		return
	case err != nil:
		p.fail("let the user who runs the server read and write it", "%s cannot be read: %v", dir, installation.PlainCause(err))
		return
	case !info.IsDir():
		p.fail("set data_dir (CHATTING_DATA_DIR) to a directory", "%s is not a directory", dir)
		return
	}
	if writable(dir) != nil {
		p.fail("let the user who runs the server write there: chown or chmod it", "this user cannot write to %s", dir)
	}
	if info.Mode().Perm()&0o007 != 0 && onUnix {
		p.warn("chmod 700 "+dir, "everybody on this machine may look into %s (mode %04o)", dir, info.Mode().Perm())
	}
	for _, name := range []string{"jwt-secret", "s2s-token"} {
		p.secretFile(filepath.Join(dir, name))
	}
	switch free, err := p.Machine.FreeDisk(dir); {
	case err != nil:
		p.skip("how much room is left in %s is not known: %v", dir, err)
	case free < leastDisk:
		p.fail("make room, or set data_dir to another disk", "only %s are left on the disk of %s", humanize.IBytes(free), dir)
	case free < fewDisk:
		p.warn("make room, or set data_dir to another disk", "only %s are left on the disk of %s", humanize.IBytes(free), dir)
	default:
		p.ok("%s are left on the disk of %s", humanize.IBytes(free), dir)
	}
}

// secretFile looks at a secret that a server has made, without reading it.
func (p *patient) secretFile(path string) {
	info, err := os.Stat(path)
	switch {
	case os.IsNotExist(err):
	case err != nil:
		p.fail("let the user who runs the server read it", "%s cannot be read", path)
	case info.Mode().Perm()&0o007 != 0 && onUnix:
		p.fail("delete it to get a new one, or chmod 600 it if nobody has read it",
			"everybody on this machine may use the secret in %s (mode %04o), and the server refuses it", path, info.Mode().Perm())
	case info.Size() < 16:
		p.fail("delete it to get a new one, or restore it from a backup", "%s has %d bytes, which is no secret of a server", path, info.Size())
	}
}

// nearest returns the lowest directory above dir that is there.
func nearest(dir string) string {
	for above := filepath.Dir(dir); ; above = filepath.Dir(above) {
		if _, err := os.Stat(above); err == nil || above == filepath.Dir(above) {
			return above
		}
	}
}
