package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// judge waits until everything is right again, or can never be, and returns what is wrong.
func (s *storm) judge(ctx context.Context, leave func(*person)) ([]check.Violation, error) {
	if err := s.at.AwaitReady(ctx, healLimit); err != nil {
		return s.report([]check.Violation{{Rule: "healing", What: err.Error()}}), ctx.Err()
	}
	s.say("all nodes are ready")
	if err := s.awaitDevices(ctx); err != nil {
		return s.report([]check.Violation{{Rule: "healing", What: err.Error()}}), ctx.Err()
	}
	s.say("all devices are connected")
	found, err := s.settle(ctx, nil, s.gather)
	if err != nil || len(found) > 0 {
		return s.report(found), err
	}
	s.say("everything was delivered")
	// Some leave for good, so that somebody is offline.
	online := make(map[int64]bool)
	for _, p := range s.people {
		if online[p.id] = p.id%3 != 0; !online[p.id] {
			leave(p)
		}
	}
	// One of those who stay is banned for good.
	if err := s.platform.ban(ctx, s.people[0].id); err != nil {
		return s.report([]check.Violation{{Rule: "healing", What: err.Error()}}), ctx.Err()
	}
	online[s.people[0].id] = false
	found, err = s.settle(ctx, online, s.gatherAll)
	for _, n := range s.at.Nodes() {
		ends, crashes := n.Losses()
		if ends > 0 {
			s.say("node %d ended %d times because it could not go on: its log says why", n.Number, ends)
		}
		for _, crash := range crashes {
			found = append(found, check.Violation{Rule: "crash", What: crash})
		}
	}
	return s.report(found), err
}

// settle asks for the violations until there are none, or some that time does not heal, or healLimit is over.
func (s *storm) settle(
	ctx context.Context, online map[int64]bool, gather func(context.Context, map[int64]bool) (*check.Run, error),
) ([]check.Violation, error) {
	for end := time.Now().Add(healLimit); ; {
		run, err := gather(ctx, online)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var found []check.Violation
		if err != nil {
			found = []check.Violation{{Rule: "healing", What: err.Error()}}
		} else {
			found = run.Violations()
			s.last = run
			forever := slices.DeleteFunc(slices.Clone(found), check.Violation.Heals)
			if len(found) == 0 || len(forever) > 0 {
				s.say("%s", run.Summary())
				return forever, nil // the others may yet heal
			}
		}
		if time.Now().After(end) {
			return found, nil
		}
		s.say("not yet: %d, such as %s", len(found), found[0])
		site.Pause(ctx, 3*time.Second)
	}
}

// report writes the violations to a file, and prints the first ones of each rule.
func (s *storm) report(found []check.Violation) []check.Violation {
	if len(found) == 0 {
		return nil
	}
	s.keepRun()
	const most = 5
	printed := make(map[check.Rule]int)
	file, err := os.Create(filepath.Join(s.dir, "violations.txt"))
	if err == nil {
		defer file.Close()
	}
	for _, v := range found {
		if printed[v.Rule]++; printed[v.Rule] <= most {
			s.say("VIOLATION %s", v)
		}
		if file != nil {
			fmt.Fprintln(file, v)
		}
	}
	for rule, count := range printed {
		s.say("%d violations of %s", count, rule)
	}
	return found
}

// keepRun writes down what the violations can be explained by, beside the histories of the devices.
func (s *storm) keepRun() {
	if s.last == nil {
		return
	}
	file, err := os.Create(filepath.Join(s.dir, "log.jsonl"))
	if err != nil {
		s.say("the log is not kept: %v", err)
		return
	}
	defer file.Close()
	lines := json.NewEncoder(file)
	for _, record := range s.last.Log {
		_ = lines.Encode(record)
	}
	for _, change := range s.last.Blocks {
		_ = lines.Encode(change)
	}
	for _, act := range s.last.Acts {
		_ = lines.Encode(act)
	}
	for _, request := range s.last.ActRequests {
		_ = lines.Encode(request)
	}
}

// gather collects the log, and what the devices saw.
func (s *storm) gather(ctx context.Context, _ map[int64]bool) (*check.Run, error) {
	run := &check.Run{Marks: make(map[check.Side][]string), ActRequests: s.platform.requests()}
	for _, p := range s.people {
		for _, d := range p.devices {
			run.Devices = append(run.Devices, d.record())
		}
		p.mu.Lock()
		run.Blocks = append(run.Blocks, p.changes...)
		for partner, marked := range p.marks {
			run.Marks[check.Side{User: p.id, Partner: partner}] = slices.Clone(marked)
		}
		p.mu.Unlock()
	}
	// After the devices: what they saw is in it. After the log: the audit has its acts.
	var err error
	if run.Log, run.Acts, run.Partitions, err = s.log.upToNow(ctx); err != nil {
		return run, err
	}
	_, run.Audit, _, err = s.audit.upToNow(ctx)
	return run, err
}

// gatherAll collects everything. Those who are not online are asked for nothing but their devices' histories.
func (s *storm) gatherAll(ctx context.Context, online map[int64]bool) (*check.Run, error) {
	run, err := s.gather(ctx, online)
	if err != nil {
		return nil, err
	}
	run.Online = online
	run.History = make(map[check.Side][]check.Event)
	run.BlockLists, run.Pending = make(map[int64][]int64), make(map[int64][]string)
	for _, p := range s.people {
		if s.platform.isBanned(p.id) {
			continue // it is answered nothing
		}
		if run.BlockLists[p.id], err = p.rest.blockList(ctx, p.id); err != nil {
			return nil, err
		}
		if run.Pending[p.id], err = p.rest.pending(ctx, p.id); err != nil {
			return nil, err
		}
		for _, partner := range p.partners {
			side := check.Side{User: p.id, Partner: partner}
			if run.History[side], err = p.rest.messages(ctx, p.id, partner); err != nil {
				return nil, err
			}
			if err := s.gatherPresence(ctx, run, p, partner); err != nil {
				return nil, err
			}
		}
	}
	return run, nil
}

// gatherPresence collects what a user's devices and all nodes say of a partner.
func (s *storm) gatherPresence(ctx context.Context, run *check.Run, p *person, partner int64) error {
	for i, address := range s.at.Reached() {
		online, err := p.rest.isOnline(ctx, address, p.id, partner)
		if err != nil {
			return err
		}
		run.Seen = append(run.Seen, check.Seen{By: p.id, Where: fmt.Sprint("node ", i+1), Of: partner, Online: online})
	}
	if !run.Online[p.id] {
		return nil // its devices have heard nothing since
	}
	for _, d := range p.devices {
		run.Seen = append(run.Seen, check.Seen{By: p.id, Where: fmt.Sprint("its device ", d.number), Of: partner, Online: d.seen(partner)})
	}
	return nil
}

// logReader reads a topic for as long as the run lasts, with a client that shares nothing with the server's.
type logReader struct {
	client *kgo.Client
	topic  string
	joined sync.WaitGroup
	cancel context.CancelFunc

	mu      sync.Mutex
	records []check.Event
	acts    []check.Act
	next    map[int32]int64 // the offset behind what was read
	err     error
}

func readTopic(brokers []string, topic string) (*logReader, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &logReader{client: client, topic: topic, cancel: cancel, next: make(map[int32]int64)}
	l.joined.Go(func() {
		for ctx.Err() == nil {
			// Errors of brokers that are away pass.
			client.PollFetches(ctx).EachRecord(l.add)
		}
	})
	return l, nil
}

func (l *logReader) stop() {
	l.cancel()
	l.joined.Wait()
	l.client.Close()
}

func (l *logReader) add(r *kgo.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next[r.Partition] = r.Offset + 1
	if r.Attrs.IsControl() {
		return
	}
	var record struct {
		ID      string `json:"id"`
		Name    string `json:"clientmsgid"`
		Receipt bool   `json:"receipt"`
		Login   int64  `json:"acts,string"`
		Data    struct {
			frame

			Version int64     `json:"version"`
			Act     string    `json:"act"`
			User    int64     `json:"user_id"`
			Time    time.Time `json:"time"`
		} `json:"data"`
	}
	if err := json.Unmarshal(r.Value, &record); err != nil {
		l.err = fmt.Errorf("%s %d:%d: %w", r.Topic, r.Partition, r.Offset, err)
		return
	}
	if record.Data.Act != "" {
		l.acts = append(l.acts, check.Act{
			ID: record.ID, Kind: record.Data.Act, User: record.Data.User, Version: record.Data.Version, Time: record.Data.Time,
			Partition: r.Partition, Offset: r.Offset,
		})
		return
	}
	e := record.Data.event(0)
	e.ID, e.Name, e.Receipt, e.Version = record.ID, record.Name, record.Receipt, record.Data.Version
	e.Partition, e.Offset, e.Written, e.Login = r.Partition, r.Offset, r.Timestamp, record.Login
	l.records = append(l.records, e)
}

// upToNow returns all events and acts up to where the topic ends now, and how many partitions it has.
func (l *logReader) upToNow(ctx context.Context) ([]check.Event, []check.Act, int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ends, err := l.ends(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	for {
		l.mu.Lock()
		behind := l.err == nil && slices.ContainsFunc(ends, func(end partitionEnd) bool { return l.next[end.partition] < end.offset })
		records, acts, err := slices.Clone(l.records), slices.Clone(l.acts), l.err
		l.mu.Unlock()
		if !behind {
			return records, acts, len(ends), err
		}
		if !site.Pause(ctx, 50*time.Millisecond) {
			return nil, nil, 0, fmt.Errorf("reading %s to its end: %w", l.topic, ctx.Err())
		}
	}
}

type partitionEnd struct {
	partition int32
	offset    int64
}

func (l *logReader) ends(ctx context.Context) ([]partitionEnd, error) {
	described := kmsg.NewPtrMetadataRequest()
	wanted := kmsg.NewMetadataRequestTopic()
	wanted.Topic = &l.topic
	described.Topics = []kmsg.MetadataRequestTopic{wanted}
	layout, err := described.RequestWith(ctx, l.client)
	if err != nil {
		return nil, err
	}
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = l.topic
	for _, p := range layout.Topics[0].Partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = p.Partition, -1
		asked.Partitions = append(asked.Partitions, partition)
	}
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID, request.IsolationLevel = -1, 1
	request.Topics = []kmsg.ListOffsetsRequestTopic{asked}
	response, err := request.RequestWith(ctx, l.client)
	if err != nil {
		return nil, err
	}
	var ends []partitionEnd
	for _, topic := range response.Topics {
		for _, answered := range topic.Partitions {
			if err := kerr.ErrorForCode(answered.ErrorCode); err != nil {
				return nil, err
			}
			ends = append(ends, partitionEnd{answered.Partition, answered.Offset})
		}
	}
	return ends, nil
}
