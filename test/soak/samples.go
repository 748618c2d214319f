package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/soak/growth"
)

// sampleLimit is how long measuring an installation once may take.
const sampleLimit = 2 * time.Minute

// samples are what was measured of an installation, by name.
type samples struct {
	series map[string][]growth.Point
	file   *os.File // a line for each number: minute, name, value
	missed int      // how often an installation did not answer in time
	err    error    // why the measurements cannot be relied on
}

func (s *samples) add(at float64, name string, value float64) {
	s.series[name] = append(s.series[name], growth.Point{At: at, Value: value})
	if _, err := fmt.Fprintf(s.file, "%.3f\t%s\t%g\n", at, name, value); err != nil {
		s.err = err
	}
}

// measure measures the installation until ctx ends. It keeps a profile of each node's heap from a third on, from two thirds on, and
// at the end, and at the end one of its goroutines.
func (i *installation) measure(ctx context.Context, o *options) {
	i.samples.series = make(map[string][]growth.Point)
	file, err := os.Create(filepath.Join(o.dir, i.name+".tsv"))
	if err != nil {
		i.samples.err = err
		return
	}
	defer file.Close()
	i.samples.file = file
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
		if err := i.sample(ctx, time.Since(began).Minutes()); err != nil && ctx.Err() == nil {
			say("%s: measuring: %v", i.name, err)
			i.samples.missed++
		}
		if len(profiles) > 0 && time.Since(began) > profiles[0] {
			i.profile(strconv.Itoa(3 - len(profiles)))
			profiles = profiles[1:]
		}
	}
}

func (i *installation) sample(ctx context.Context, at float64) error {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	found := make(map[string]float64)
	for _, n := range i.nodes {
		if err := n.sample(ctx, found); err != nil {
			return fmt.Errorf("node %d: %w", n.number, err)
		}
	}
	if err := i.sampleTables(ctx, found); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if i.dataDir == "" {
		if err := i.sampleTopics(ctx, found); err != nil {
			return fmt.Errorf("the topics: %w", err)
		}
	} else if err := sampleFiles(i.dataDir, found); err != nil {
		return err
	}
	for name, value := range found {
		i.samples.add(at, name, value)
	}
	return nil
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

// kept are the tables that docs/operations.md says grow with the users who come, for longer than a run lasts.
var kept = []string{
	"users", "friends", "friend_lists", "blocks", "block_changes", "delivered_cursors", "erasures", "moderated_users",
}

// ruleOf says how a quantity may behave.
func ruleOf(name string) growth.Rule {
	switch {
	case strings.HasPrefix(name, "rows of "):
		if slices.Contains(kept, strings.TrimPrefix(name, "rows of ")) {
			return growth.Rule{Kind: growth.Kept, Floor: 100, Share: 0.05}
		}
		return growth.Rule{Floor: 100}
	case strings.HasPrefix(name, "data dir chatting.db,"), name == "database, bytes":
		return growth.Rule{Kind: growth.Kept, Floor: 4 << 20, Share: 0.05}
	case strings.HasPrefix(name, "data dir "), strings.HasPrefix(name, "topic "):
		return growth.Rule{Floor: 4 << 20, Share: 0.1}
	case strings.HasSuffix(name, " heap after GC, bytes"):
		return growth.Rule{Floor: 1 << 20, Share: 0.05}
	case strings.HasSuffix(name, " RSS, bytes"):
		return growth.Rule{Floor: 16 << 20, Share: 0.1}
	case strings.HasSuffix(name, " goroutines"), strings.HasSuffix(name, " open files"):
		return growth.Rule{Floor: 15, Share: 0.1}
	case strings.HasSuffix(name, " threads"):
		return growth.Rule{Floor: 5, Share: 0.1}
	case strings.HasSuffix(name, " metric series"):
		return growth.Rule{Floor: 30}
	case strings.HasSuffix(name, "bytes"):
		return growth.Rule{Floor: 1 << 20, Share: 0.25}
	}
	return growth.Rule{Floor: 20, Share: 0.25}
}

// report prints a table of all that was measured, and returns how much of it grows.
func (s *samples) report(name string, out io.Writer) (faults int) {
	fmt.Fprintf(out, "\n%s: measured %d times, missed %d times\n", name, len(s.series["rows of users"]), s.missed)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "quantity\tfirst half\tsecond half\tlevel\tmay\t\t")
	names := make([]string, 0, len(s.series))
	for quantity := range s.series {
		names = append(names, quantity)
	}
	slices.Sort(names)
	for _, quantity := range names {
		points, rule := s.series[quantity], ruleOf(quantity)
		if len(points) < len(s.series["rows of users"])/2 { // it came late, such as a label
			continue
		}
		v := growth.Judge(points, rule)
		if v.Level == 0 && v.First == 0 && v.Second == 0 {
			continue
		}
		may := "be steady"
		if rule.Kind == growth.Kept {
			may = "grow as users come"
		}
		fmt.Fprintf(table, "%s\t%+.0f\t%+.0f\t%.0f\t%s\t%s\t\n", quantity, v.First, v.Second, v.Level, may, strings.ToUpper(v.Fault))
		if v.Fault != "" {
			faults++
		}
	}
	_ = table.Flush()
	return faults
}
