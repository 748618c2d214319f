package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/soak/growth"
)

// sampleLimit is how long measuring an installation once may take.
const sampleLimit = 2 * time.Minute

// before and after are the times of the samples that are taken while no users are here.
const (
	before = -1
	after  = math.MaxInt32
)

// workDone is the quantity that says how much users and the platform have done.
const workDone = "acts done"

// restLimit is how long it may take until nothing of the users is left.
const restLimit = 2 * time.Minute

// samples are what was measured of an installation, by name.
type samples struct {
	series        map[string][]growth.Point
	before, after map[string]float64 // while no users are here
	file          *os.File           // a line for each number: minute, name, value
	missed        int                // how often an installation did not answer in time
	err           error              // why the measurements cannot be relied on
}

func newSamples() samples {
	return samples{series: make(map[string][]growth.Point), before: make(map[string]float64), after: make(map[string]float64)}
}

// open makes the file of the installation's samples.
func (i *installation) open(dir string) (err error) {
	i.samples = newSamples()
	i.samples.file, err = os.Create(filepath.Join(dir, i.name+".tsv"))
	return err
}

func (s *samples) add(at float64, name string, value float64) {
	s.keep(at, name, value)
	if _, err := fmt.Fprintf(s.file, "%.3f\t%s\t%g\n", at, name, value); err != nil {
		s.err = err
	}
}

func (s *samples) keep(at float64, name string, value float64) {
	switch at {
	case before:
		s.before[name] = value
	case after:
		s.after[name] = value
	default:
		s.series[name] = append(s.series[name], growth.Point{At: at, Value: value})
	}
}

// readSamples reads what an earlier run has left.
func readSamples(path string) (samples, error) {
	s := newSamples()
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			return s, fmt.Errorf("%s has a line %q", path, line)
		}
		at, atErr := strconv.ParseFloat(fields[0], 64)
		value, valueErr := strconv.ParseFloat(fields[2], 64)
		if err := errors.Join(atErr, valueErr); err != nil {
			return s, err
		}
		s.keep(at, fields[1], value)
	}
	return s, nil
}

// rest measures the installation while no users are here. It waits until nothing of them is left, for restLimit at most: what is left
// then is seen.
func (i *installation) rest(ctx context.Context, at float64) error {
	limit, cancel := context.WithTimeout(ctx, restLimit)
	defer cancel()
	for {
		found := make(map[string]float64)
		err := i.look(ctx, found)
		left := slices.ContainsFunc(i.nodes, func(n *node) bool { return found[fmt.Sprintf("node %d gauge users", n.number)] > 0 })
		// A node makes one profile at a time: it may still be about one that was asked for before.
		if (err != nil || left) && pause(limit, 2*time.Second) {
			continue
		}
		for name, value := range found {
			i.samples.add(at, name, value)
		}
		return err
	}
}

// measure measures the installation until ctx ends. It keeps a profile of each node's heap from a third on, from two thirds on, and
// at the end, and at the end one of its goroutines.
func (i *installation) measure(ctx context.Context, o *options) {
	began := time.Now()
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	profiles := []time.Duration{o.length / 3, o.length * 2 / 3}
	for {
		select {
		case <-ctx.Done():
			i.profile("3")
			return
		case <-ticker.C:
		}
		for _, n := range i.nodes {
			select {
			case <-n.ended:
				i.samples.err = fmt.Errorf("node %d has ended: see %s", n.number, n.process.Dir)
				return
			default:
			}
		}
		found := make(map[string]float64)
		at := time.Since(began).Minutes()
		// What has begun is finished: a node whose profile nobody waits for makes it all the same, and none for others meanwhile.
		if err := i.look(context.WithoutCancel(ctx), found); err != nil {
			say("%s: measuring: %v", i.name, err)
			i.samples.missed++
			continue
		}
		for name, value := range found {
			i.samples.add(at, name, value)
		}
		if len(profiles) > 0 && time.Since(began) > profiles[0] {
			i.profile(strconv.Itoa(3 - len(profiles)))
			profiles = profiles[1:]
		}
	}
}

// look measures everything once.
func (i *installation) look(ctx context.Context, found map[string]float64) error {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	for _, n := range i.nodes {
		if err := n.sample(ctx, found); err != nil {
			return fmt.Errorf("node %d: %w", n.number, err)
		}
	}
	if i.crowd != nil {
		found[workDone] = float64(i.crowd.done.Load())
	}
	if err := i.sampleTables(ctx, found); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if i.dataDir == "" {
		if err := i.sampleTopics(ctx, found); err != nil {
			return fmt.Errorf("the topics: %w", err)
		}
		return nil
	}
	return sampleFiles(i.dataDir, found)
}

// sample reads a node's metrics, after a collection of garbage, and what the system knows of its process.
func (n *node) sample(ctx context.Context, found map[string]float64) error {
	of := fmt.Sprintf("node %d ", n.number)
	if err := n.get(ctx, "/debug/pprof/heap?gc=1", io.Discard); err != nil {
		return err
	}
	var text strings.Builder
	if err := n.get(ctx, "/metrics", &text); err != nil {
		return err
	}
	lines := bufio.NewScanner(strings.NewReader(text.String()))
	lines.Buffer(nil, 1<<20)
	gauges := make(map[string]bool)
	for lines.Scan() {
		line := lines.Text()
		if gauge, ok := strings.CutSuffix(line, " gauge"); ok && strings.HasPrefix(line, "# TYPE chatting_") {
			gauges[strings.TrimPrefix(gauge, "# TYPE ")] = true
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		found[of+"metric series"]++
		name, number, ok := cutLast(line, " ")
		value, err := strconv.ParseFloat(number, 64)
		if !ok || err != nil {
			return fmt.Errorf("/metrics has a line %q", line)
		}
		family, _, _ := strings.Cut(name, "{")
		switch {
		case name == "go_memstats_heap_alloc_bytes":
			found[of+"heap after GC, bytes"] = value
		case name == "go_goroutines":
			found[of+"goroutines"] = value
		case name == "process_open_fds":
			found[of+"open files"] = value
		case gauges[family] && !strings.Contains(family, "limit") && family != "chatting_build_info":
			found[of+"gauge "+strings.TrimPrefix(name, "chatting_")] = value
		}
	}
	return n.sampleProcess(of, found)
}

func cutLast(s, separator string) (before, after string, found bool) {
	i := strings.LastIndex(s, separator)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(separator):], true
}

func (n *node) get(ctx context.Context, path string, into io.Writer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.metrics+path, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	_, err = io.Copy(into, response.Body)
	return err
}

func (n *node) sampleProcess(of string, found map[string]float64) error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.process.Process.Pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		value, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			found[of+"RSS, bytes"] = value * 1024
		case "Threads:":
			found[of+"threads"] = value
		}
	}
	return nil
}

// sampleTables counts the rows of every table.
func (i *installation) sampleTables(ctx context.Context, found map[string]float64) error {
	list := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if i.driver == "postgres" {
		list = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
	}
	rows, err := i.db.QueryContext(ctx, list)
	if err != nil {
		return err
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			return err
		}
		tables = append(tables, table)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, table := range tables {
		var count float64
		if err := i.db.QueryRowContext(ctx, `SELECT count(*) FROM "`+table+`"`).Scan(&count); err != nil {
			return fmt.Errorf("%s: %w", table, err)
		}
		found["rows of "+table] = count
	}
	if i.driver != "postgres" {
		return nil
	}
	var bytes float64
	err = i.db.QueryRowContext(ctx, "SELECT pg_database_size(current_database())").Scan(&bytes)
	found["database, bytes"] = bytes
	return err
}

// sampleTopics asks the brokers for the bytes of each topic.
func (i *installation) sampleTopics(ctx context.Context, found map[string]float64) error {
	request := kmsg.NewPtrDescribeLogDirsRequest()
	for _, name := range i.topicNames() {
		topic := kmsg.NewDescribeLogDirsRequestTopic()
		topic.Topic, topic.Partitions = name, []int32{0, 1, 2, 3}
		request.Topics = append(request.Topics, topic)
	}
	for _, shard := range i.log.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return shard.Err
		}
		for _, dir := range shard.Resp.(*kmsg.DescribeLogDirsResponse).Dirs {
			for _, topic := range dir.Topics {
				for _, partition := range topic.Partitions {
					found["topic "+strings.TrimPrefix(topic.Topic, i.prefix+".")+", bytes"] += float64(partition.Size)
				}
			}
		}
	}
	return nil
}

// sampleFiles adds up the files of a data directory.
func sampleFiles(dir string, found map[string]float64) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) { // it was deleted meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if below, _, deep := strings.Cut(name, string(filepath.Separator)); deep {
			name = below
			found["files below "+name]++
		}
		found["data dir "+name+", bytes"] += float64(info.Size())
		return nil
	})
}

func (i *installation) profile(which string) {
	ctx, cancel := context.WithTimeout(context.Background(), sampleLimit)
	defer cancel()
	for _, n := range i.nodes {
		for kind, path := range map[string]string{"heap": "/debug/pprof/heap?gc=1", "goroutines": "/debug/pprof/goroutine?debug=1"} {
			file, err := os.Create(filepath.Join(n.process.Dir, kind+"-"+which))
			if err == nil {
				err = errors.Join(n.get(ctx, path, file), file.Close())
			}
			if err != nil {
				say("%s, node %d: the profile: %v", i.name, n.number, err)
			}
		}
	}
}
