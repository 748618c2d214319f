package kafka

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/application"
)

// AuditOptions say what the presence audit reads and writes.
type AuditOptions struct {
	Sessions string // topic
	Group    string
	// Database is the id of the database, which all members of the group share.
	Database string
	// Presence appends to the public topic.
	Presence *Appender
	// Lookback is how far before the committed offset the state is rebuilt from.
	Lookback time.Duration
	Logger   *slog.Logger
}

// PresenceAudit writes the public topic of who came online and went offline: a consumer group over the sessions topic, so
// that one node at a time does it for each partition, at least once for each transition, under an id that is always the
// same.
type PresenceAudit struct {
	cluster *Cluster
	options AuditOptions
}

// NewPresenceAudit prepares an audit.
func NewPresenceAudit(cluster *Cluster, options AuditOptions) *PresenceAudit {
	return &PresenceAudit{cluster: cluster, options: options}
}

const (
	// auditSession is after how long a dead node's share of the audit goes to others.
	auditSession = 10 * time.Second
	// commitInterval is how often progress is committed where nothing was published.
	commitInterval = time.Minute
	// maxUnsettled bounds the events of a partition that are appended and not yet acknowledged: the death of one node may
	// end more sessions than the queue of the public topic takes at once.
	maxUnsettled = 1000
)

// Run audits until ctx ends.
func (a *PresenceAudit) Run(ctx context.Context) error {
	return runGroup(ctx, a.cluster, groupOptions{
		ID: a.options.Group, Topic: a.options.Sessions, Database: a.options.Database, Session: auditSession,
		What: "presence audit", Logger: a.options.Logger,
	}, a.audit)
}

// audit serves the partitions of one generation until it ends.
func (a *PresenceAudit) audit(ctx context.Context, generation *generation, assignments []assignment) error {
	auditor := &auditor{options: a.options, ctx: ctx, generation: generation, partitions: make(map[int]*auditedPartition)}
	from := make(map[int]int64, len(assignments))
	for _, assignment := range assignments {
		start, committed, err := a.locate(ctx, assignment)
		if err != nil {
			return err
		}
		from[assignment.ID] = start
		auditor.partitions[assignment.ID] = &auditedPartition{
			audit: application.NewAuditPresence(assignment.ID), publishFrom: committed, committed: committed,
			committedAt: now(),
		}
	}
	ctx, auditor.stop = context.WithCancel(ctx)
	defer auditor.stop()
	err := NewTail(a.cluster, TailOptions{
		Topic: a.options.Sessions, From: from, Handler: auditor, Logger: a.options.Logger,
	}).Run(ctx)
	return errors.Join(err, auditor.err)
}

// locate returns where to begin reading a partition, and from which offset on to publish.
func (a *PresenceAudit) locate(ctx context.Context, assignment assignment) (start, committed int64, err error) {
	one := []int{assignment.ID}
	starts, err := a.cluster.listOffsets(ctx, a.options.Sessions, one, timestampEarliest)
	if err != nil {
		return 0, 0, err
	}
	ends, err := a.cluster.logEnds(ctx, a.options.Sessions, one)
	if err != nil {
		return 0, 0, err
	}
	committed = max(assignment.Offset, starts[0]) // that of a group without a commit is negative
	if committed > ends[0] {
		committed = starts[0] // a topic made anew: nothing of it is published
	}
	at, err := a.cluster.timeOf(ctx, a.options.Sessions, assignment.ID, committed)
	if err != nil {
		return 0, 0, err
	}
	lookback, err := a.cluster.listOffsets(ctx, a.options.Sessions, one, max(at.Add(-a.options.Lookback).UnixMilli(), 0))
	if err != nil {
		return 0, 0, err
	}
	return min(lookback[0], committed), committed, nil
}

// auditor is the handler of the audit's tail.
type auditor struct {
	options    AuditOptions
	ctx        context.Context //nolint:containedctx // the generation's: it ends with it, as the auditor does
	generation *generation
	partitions map[int]*auditedPartition
	stop       context.CancelFunc
	err        error
}

// auditedPartition is one partition's audit. publishFrom is the first offset whose transitions are to be published.
type auditedPartition struct {
	audit       *application.AuditPresence
	publishFrom int64
	committed   int64
	committedAt time.Time
	outcomes    []chan error // of what was appended and is not settled
	published   bool         // something was, since the last commit
}

// Record implements TailHandler.
func (a *auditor) Record(r *TailRecord) {
	if a.err != nil {
		return
	}
	p := a.partitions[r.Partition]
	record, err := readSession(r)
	if err != nil {
		return // the node's own tail has said so
	}
	if r.Offset < p.publishFrom {
		p.audit.Rebuild(record, r.Time)
		return
	}
	for _, event := range p.audit.Apply(r.Offset, record, r.Time) {
		if len(p.outcomes) == maxUnsettled && !a.settle(p) {
			return
		}
		key := []byte(event.Transition.User.String())
		outcome := make(chan error, 1)
		p.outcomes = append(p.outcomes, outcome)
		p.published = true
		a.options.Presence.appendTo(a.options.Presence.PartitionOf(key),
			eventRecord(key, encodePresence(event.ID, event.Transition)), func(err error) { outcome <- err })
	}
}

// BatchEnd implements TailHandler: what was published is committed once it is durable.
func (a *auditor) BatchEnd(partition int, next int64) {
	p := a.partitions[partition]
	if a.err != nil || next <= p.committed {
		return
	}
	if !a.settle(p) {
		return
	}
	published := p.published
	p.published = false
	if !published && time.Since(p.committedAt) < commitInterval {
		return
	}
	if err := a.generation.commit(a.ctx, map[int]int64{partition: next}); err != nil {
		a.fail(err)
		return
	}
	p.committed, p.committedAt = next, time.Now()
}

// settle waits until everything that was appended for p is durable. It is false where that failed, or the generation ended.
func (a *auditor) settle(p *auditedPartition) bool {
	for _, outcome := range p.outcomes {
		select {
		case err := <-outcome:
			if err != nil {
				a.fail(err)
				return false
			}
		case <-a.ctx.Done():
			return false
		}
	}
	p.outcomes = p.outcomes[:0]
	return true
}

// LeftOut implements TailHandler. No node wrote that.
func (a *auditor) LeftOut(LeftOut) {}

// Hole implements TailHandler: whatever was in it is not in the audit either.
func (a *auditor) Hole(partition int, from, to int64) {
	if p := a.partitions[partition]; to < from { // a topic made anew
		p.publishFrom, p.committed = to, to
	}
	a.options.Logger.Error("presence audit: records were lost", "partition", partition, "from", from, "to", to)
}

// fail ends the generation's audit: it starts over from what is committed.
func (a *auditor) fail(err error) {
	a.err = err
	a.stop()
}
