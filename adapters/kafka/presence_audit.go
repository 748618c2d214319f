package kafka

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/groups"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/presence"
)

// AuditOptions say what the presence audit reads and writes.
type AuditOptions struct {
	Sessions string // topic
	Group    string
	// Database is the id of the database, which all members of the group share.
	Database string
	// Presence appends to the public topic.
	Presence *appending.Appender
	// Lookback is how far before the committed offset the state is rebuilt from.
	Lookback time.Duration
	Logger   *slog.Logger
}

// PresenceAudit publishes who came online and went offline: a consumer group over the sessions topic. Each transition is
// published at least once, always under the same id.
type PresenceAudit struct {
	cluster *logclient.Cluster
	options AuditOptions
}

// NewPresenceAudit prepares an audit.
func NewPresenceAudit(cluster *logclient.Cluster, options AuditOptions) *PresenceAudit {
	return &PresenceAudit{cluster: cluster, options: options}
}

const (
	// auditSession is after how long a dead node's share of the audit goes to others.
	auditSession = groups.MaxSession
	// auditRest is for how long a transition may wait to be published with those that follow it.
	auditRest = 200 * time.Millisecond
	// commitInterval is how often progress is committed where nothing was published.
	commitInterval = time.Minute
	// maxUnsettled bounds the events of a partition that are appended and not yet acknowledged. The death of one node may end
	// more sessions than the queue of the public topic takes.
	maxUnsettled = 1000
)

// Run audits until ctx ends.
func (a *PresenceAudit) Run(ctx context.Context) error {
	options := GroupOptions(a.options.Group, a.options.Sessions, a.options.Database)
	options.Session, options.What, options.Logger = auditSession, "presence audit", a.options.Logger
	return groups.Run(ctx, a.cluster, options, a.audit)
}

// audit serves the partitions of one generation until it ends.
func (a *PresenceAudit) audit(ctx context.Context, generation *groups.Generation, assignments []groups.Assignment) error {
	auditor := &auditor{options: a.options, ctx: ctx, commit: generation.Commit, partitions: make(map[int]*auditedPartition)}
	// Of a topic made anew, nothing is published.
	committed, err := groups.Begin(ctx, a.cluster, a.options.Sessions, assignments)
	if err != nil {
		return err
	}
	from := make(map[int]int64, len(assignments))
	for partition, at := range committed {
		if from[partition], err = a.lookback(ctx, partition, at); err != nil {
			return err
		}
		auditor.partitions[partition] = &auditedPartition{
			audit: presence.NewAuditPresence(partition), publishFrom: at, committed: at, committedAt: time.Now(),
		}
	}
	ctx, auditor.stop = context.WithCancel(ctx)
	defer auditor.stop()
	err = logclient.NewTail(a.cluster, logclient.TailOptions{
		Topic: a.options.Sessions, From: from, Handler: auditor, Through: auditor.settleAll, Rest: auditRest, Logger: a.options.Logger,
	}).Run(ctx)
	return errors.Join(err, auditor.err)
}

// lookback returns where to begin reading a partition that is published from an offset on.
func (a *PresenceAudit) lookback(ctx context.Context, partition int, offset int64) (int64, error) {
	at, err := logclient.TimeOf(ctx, a.cluster, a.options.Sessions, partition, offset)
	if err != nil {
		return 0, err
	}
	start, err := a.cluster.Offsets(ctx, a.options.Sessions, []int{partition}, logclient.Since(at.Add(-a.options.Lookback)))
	if err != nil {
		return 0, err
	}
	return min(start[0], offset), nil
}

// auditor is the handler of the audit's tail.
type auditor struct {
	options    AuditOptions
	ctx        context.Context //nolint:containedctx // the generation's: it ends with it, as the auditor does
	commit     func(ctx context.Context, offsets map[int]int64) error
	partitions map[int]*auditedPartition
	stop       context.CancelFunc
	err        error
}

// auditedPartition is one partition's audit. publishFrom is the first offset whose transitions are to be published.
type auditedPartition struct {
	audit       *presence.AuditPresence
	publishFrom int64
	next        int64 // what was read stands before it
	committed   int64
	committedAt time.Time
	outcomes    []chan error // of what was appended and is not settled
	published   bool         // something was, since the last commit
}

// Record implements logclient.TailHandler.
func (a *auditor) Record(r *recordbatch.StoredRecord) {
	if a.err != nil {
		return
	}
	p := a.partitions[r.Partition]
	record, err := decodeSession(r.Value)
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
		a.options.Presence.Append(a.options.Presence.PartitionOf(key),
			eventRecord(key, encodePresence(event.ID, event.Transition)), func(err error) { outcome <- err })
	}
}

// BatchEnd implements logclient.TailHandler.
func (a *auditor) BatchEnd(partition int, next int64) { a.partitions[partition].next = next }

// settleAll commits what was published, once it is durable.
func (a *auditor) settleAll() {
	if a.err != nil {
		return
	}
	offsets := make(map[int]int64)
	for partition, p := range a.partitions {
		if !a.settle(p) {
			return
		}
		if p.next > p.committed && (p.published || time.Since(p.committedAt) >= commitInterval) {
			offsets[partition] = p.next
		}
	}
	if len(offsets) == 0 {
		return
	}
	if err := a.commit(a.ctx, offsets); err != nil {
		a.fail(err)
		return
	}
	for partition, next := range offsets {
		p := a.partitions[partition]
		p.committed, p.committedAt, p.published = next, time.Now(), false
	}
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

// LeftOut implements logclient.TailHandler. No node wrote that.
func (a *auditor) LeftOut(recordbatch.LeftOut) {}

// Hole implements logclient.TailHandler: whatever was in it is not in the audit either.
func (a *auditor) Hole(partition int, from, to int64) {
	if p := a.partitions[partition]; to < from { // a topic made anew
		p.publishFrom, p.next, p.committed = to, to, to
	}
	a.options.Logger.Error("presence audit: records were lost", "partition", partition, "from", from, "to", to)
}

// fail ends the generation's audit: it starts over from what is committed.
func (a *auditor) fail(err error) {
	a.err = err
	a.stop()
}
