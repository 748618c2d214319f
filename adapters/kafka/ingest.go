package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"chatting/application"
	"chatting/domain"
)

// SystemMessages is the use case that a system message goes through, by whichever way it came: application.SendSystemMessage.
type SystemMessages interface {
	// Execute returns the event once it is durable, or CodeNoUserOrOffline, CodeUnavailable or CodeUnconfirmed.
	Execute(ctx context.Context, command application.SystemMessageCommand) (domain.Event, error)
}

// IngestOptions say what the ingest reads and where it takes it.
type IngestOptions struct {
	Topic string
	Group string
	// Database is the id of the database, which all members of the group share.
	Database string
	// Messages delivers.
	Messages SystemMessages
	// DeadLetters appends to the topic of what cannot be delivered.
	DeadLetters *Appender
	// Presence waits until this node knows of everybody who was online when it was called: a user may have logged in on
	// another node a moment ago. Only then is a user taken to be offline.
	Presence func(ctx context.Context) error
	Logger   *slog.Logger
	// Notices take the log lines about single records; nil makes some that write to Logger.
	Notices *application.Notices
}

// Ingest delivers the system messages that other programs write to a topic: a consumer group over all nodes, at least once
// for each record, under an event id that is always the same for one record. What cannot be delivered becomes a dead
// letter, and its partition goes on; what cannot be delivered now (the log or the database is away) is tried until it can.
// Messages to one user keep the order that they have in their partition.
type Ingest struct {
	cluster *Cluster
	options IngestOptions
	waits   rate.Sometimes // for the log lines
}

// NewIngest prepares an ingest.
func NewIngest(cluster *Cluster, options IngestOptions) *Ingest {
	if options.Notices == nil {
		options.Notices = application.NewNotices(options.Logger, now)
	}
	return &Ingest{cluster: cluster, options: options, waits: rate.Sometimes{Interval: 10 * time.Second}}
}

const (
	// ingestSession is after how long a dead node's partitions are read by others: the shortest that brokers allow by
	// default (group.min.session.timeout.ms).
	ingestSession = 6 * time.Second
	// maxUncommitted bounds the records that a node has under way, of all its partitions together, and so how many are
	// delivered again when it dies before it has committed them. It is as many as there are ids that a node remembers for
	// each local user (application.Delivery): even if all of them were for one user, that user's connections on other nodes
	// would see none of them twice, unless so much else came to the user within the session timeout.
	maxUncommitted = 1024
	// maxRun is of how many records a run is at most: enough for a batch of the log, few enough to commit often.
	maxRun = 64
	// maxUnderWay bounds the bytes of the records that a node has under way, of all its partitions together. It is some times
	// what the largest record takes.
	maxUnderWay = 32 << 20
	// locateTimeout bounds asking where the partitions begin and end.
	locateTimeout = 10 * time.Second
)

// Run reads until ctx ends.
func (i *Ingest) Run(ctx context.Context) error {
	return runGroup(ctx, i.cluster, groupOptions{
		ID: i.options.Group, Topic: i.options.Topic, Database: i.options.Database, Session: ingestSession,
		What: "system messages", Logger: i.options.Logger,
	}, i.serve)
}

// serve reads the partitions of one generation until it ends.
func (i *Ingest) serve(ctx context.Context, generation *generation, assignments []assignment) error {
	from, err := i.locate(ctx, assignments)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	commits := &offsetCommits{ctx: ctx, generation: generation}
	handler := &ingestHandler{
		ctx: ctx, stop: stop, options: i.options, partitions: make(map[int]*ingestedPartition),
		run: runLength(len(assignments)), underWay: semaphore.NewWeighted(maxUnderWay),
	}
	var running sync.WaitGroup
	for partition := range from {
		p := &ingestedPartition{
			ingest: i, number: partition, commits: commits, runs: make(chan ingestRun), underWay: handler.underWay,
		}
		handler.partitions[partition] = p
		running.Go(func() { stop(p.serve(ctx)) })
	}
	stop(NewTail(i.cluster, TailOptions{
		Topic: i.options.Topic, From: from, Handler: handler, Logger: i.options.Logger, MaxBatch: MaxForeignBatch,
	}).Run(ctx))
	running.Wait()
	commits.wait()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled), isOfNextGeneration(cause):
		return nil
	default:
		return cause
	}
}

// runLength returns of how many records a run is at most on a node that reads so many partitions.
func runLength(partitions int) int { return max(1, min(maxRun, maxUncommitted/partitions)) }

// isOfNextGeneration tells whether a commit was refused because the group is being shared out anew.
func isOfNextGeneration(err error) bool {
	return errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.IllegalGeneration) ||
		errors.Is(err, kafka.UnknownMemberId)
}

// locate returns where to begin reading each partition: where the group is, the start of the log where it was nowhere, or
// past its end, which is a topic made anew.
func (i *Ingest) locate(ctx context.Context, assignments []assignment) (map[int]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	numbers := make([]int, len(assignments))
	for n, assignment := range assignments {
		numbers[n] = assignment.ID
	}
	starts, err := i.cluster.listOffsets(ctx, i.options.Topic, numbers, timestampEarliest)
	if err != nil {
		return nil, err
	}
	ends, err := i.cluster.logEnds(ctx, i.options.Topic, numbers)
	if err != nil {
		return nil, err
	}
	from := make(map[int]int64, len(assignments))
	for n, assignment := range assignments {
		from[assignment.ID] = max(assignment.Offset, starts[n]) // that of a group without a commit is negative
		if assignment.Offset > ends[n] {
			from[assignment.ID] = starts[n]
		}
	}
	return from, nil
}

// ingestHandler is the handler of the ingest's tail: it hands copies of the records to the goroutine of their partition,
// and waits while that has enough.
type ingestHandler struct {
	ctx        context.Context //nolint:containedctx // the generation's: it ends with it, as the handler does
	stop       context.CancelCauseFunc
	options    IngestOptions
	partitions map[int]*ingestedPartition
	run        int // how many records are handed over at once
	underWay   *semaphore.Weighted
}

// Record implements TailHandler.
func (h *ingestHandler) Record(r *TailRecord) {
	h.collect(copyRecord(h.options.Topic, r), r.Offset+1)
}

// LeftOut implements TailHandler: what cannot be read becomes dead letters, too.
func (h *ingestHandler) LeftOut(left LeftOut) {
	records := recordsOf(h.options.Topic, left)
	for i, r := range records {
		next := r.offset + 1
		if i == len(records)-1 {
			next = left.To
		}
		h.collect(r, next)
	}
}

// collect takes a record, the next one after which is next.
func (h *ingestHandler) collect(r foreignRecord, next int64) {
	p := h.partitions[r.partition]
	if !h.underWay.TryAcquire(r.bytes()) {
		if len(p.collected) > 0 {
			h.handOver(p, r.offset)
		}
		if h.underWay.Acquire(h.ctx, r.bytes()) != nil {
			return // nothing is committed any more
		}
	}
	p.collected = append(p.collected, r)
	if len(p.collected) == h.run {
		h.handOver(p, next)
	}
}

// BatchEnd implements TailHandler.
func (h *ingestHandler) BatchEnd(partition int, next int64) {
	h.handOver(h.partitions[partition], next)
}

func (h *ingestHandler) handOver(p *ingestedPartition, next int64) {
	run := ingestRun{records: p.collected, next: next}
	p.collected = nil
	select {
	case p.runs <- run:
	case <-h.ctx.Done():
	}
}

// Hole implements TailHandler.
func (h *ingestHandler) Hole(partition int, from, to int64) {
	if to < from {
		h.stop(errMadeAnew) // what is in it already is to be read, too
		return
	}
	h.options.Logger.Error("system messages were lost unread", "partition", partition, "from", from, "to", to)
}

var errMadeAnew = errors.New("the topic was made anew")

// ingestRun is a run of records of one partition that is committed as one.
type ingestRun struct {
	records []foreignRecord
	next    int64
}

// ingestedPartition is one partition's ingest.
type ingestedPartition struct {
	ingest  *Ingest
	number  int
	commits *offsetCommits
	runs    chan ingestRun

	collected []foreignRecord // the handler's own
	underWay  *semaphore.Weighted
}

// serve delivers run after run until ctx ends or a commit fails.
func (p *ingestedPartition) serve(ctx context.Context) error {
	for {
		select {
		case run := <-p.runs:
			if !p.deliverAll(ctx, run.records) {
				return ctx.Err()
			}
			// Also if ctx has ended meanwhile: this node is still a member, and nothing has to be delivered again.
			if err := p.commits.commit(p.number, run.next); err != nil {
				return fmt.Errorf("committing partition %d: %w", p.number, err)
			}
			for i := range run.records {
				p.underWay.Release(run.records[i].bytes())
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deliverAll delivers records side by side, those to one user one after the other. It tells whether all of them are
// delivered or dead letters; if not, ctx has ended.
func (p *ingestedPartition) deliverAll(ctx context.Context, records []foreignRecord) bool {
	var all sync.WaitGroup
	var left atomic.Int64 // records that are neither
	left.Store(int64(len(records)))
	settle := func(settled bool) {
		if settled {
			left.Add(-1)
		}
	}
	chains := make(map[domain.UserID][]func())
	for _, record := range records {
		command, refused := record.systemMessage()
		if refused != nil {
			all.Go(func() { settle(p.ingest.bury(ctx, record, refused)) })
			continue
		}
		target := command.Message.To
		chains[target] = append(chains[target], func() { settle(p.ingest.deliver(ctx, record, command)) })
	}
	for _, chain := range chains {
		all.Go(func() {
			for _, deliver := range chain {
				deliver()
			}
		})
	}
	all.Wait()
	return left.Load() == 0
}

// deliver delivers one record, or makes it a dead letter. It tries until it has done either, or ctx ends: then it is false.
func (i *Ingest) deliver(ctx context.Context, record foreignRecord, command application.SystemMessageCommand) bool {
	retry := backoff{}
	for ctx.Err() == nil {
		err := i.send(ctx, command)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if refused := permanent(err); refused != nil {
			return i.bury(ctx, record, refused)
		}
		i.waits.Do(func() { i.options.Logger.Warn("system messages cannot be delivered now, trying again", "error", err) })
		retry.wait(ctx)
	}
	return false
}

// send hands a message to the use case, a second time where its user seems to be offline.
func (i *Ingest) send(ctx context.Context, command application.SystemMessageCommand) error {
	_, err := i.options.Messages.Execute(ctx, command)
	if domain.CodeOf(err) != domain.CodeNoUserOrOffline {
		return err
	}
	if err := i.options.Presence(ctx); err != nil {
		return err
	}
	_, err = i.options.Messages.Execute(ctx, command)
	return err
}

// permanent returns the refusal that an error of the use case comes to; nil where trying again may help.
func permanent(err error) *refusedError {
	switch domain.CodeOf(err) {
	case domain.CodeNoUserOrOffline:
		return &refusedError{DeadNoUserOrOffline, "No User or Offline"}
	case domain.CodeBadMessage, domain.CodeBadTarget, domain.CodeBadFrame, domain.CodeTooLong:
		return &refusedError{DeadInvalidMessage, err.Error()}
	default:
		return nil
	}
}

// bury appends a dead letter. It tries until that is durable, or ctx ends: then it is false. The letter may be there twice
// where an append was not confirmed.
func (i *Ingest) bury(ctx context.Context, r foreignRecord, why *refusedError) bool {
	i.options.Notices.Warn("a system message becomes a dead letter", slog.Int("partition", r.partition),
		slog.Int64("offset", r.offset), slog.String("code", why.code), slog.Any("error", why))
	appender := i.options.DeadLetters
	letter := r.deadLetter(why)
	retry := backoff{}
	for {
		outcome := make(chan error, 1)
		appender.appendTo(r.partition%appender.Partitions(), letter, func(err error) { outcome <- err })
		var err error
		select {
		case err = <-outcome:
		case <-ctx.Done():
			return false
		}
		if err == nil {
			return true
		}
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			letter = shortened(letter)
		}
		i.waits.Do(func() { i.options.Logger.Warn("a dead letter cannot be written now, trying again", "error", err) })
		retry.wait(ctx)
	}
}

// offsetCommits commits offsets of one generation. Partitions that commit while a commit is under way share the next.
type offsetCommits struct {
	ctx        context.Context //nolint:containedctx // the generation's: a commit is bounded by a timeout of its own
	generation *generation

	mu      sync.Mutex
	running bool
	next    *commitRound
	done    sync.WaitGroup
}

type commitRound struct {
	offsets map[int]int64
	done    chan struct{}
	err     error
}

// commit returns once the group has the offset, or why it has not.
func (c *offsetCommits) commit(partition int, offset int64) error {
	c.mu.Lock()
	if c.next == nil {
		c.next = &commitRound{offsets: make(map[int]int64), done: make(chan struct{})}
	}
	round := c.next
	round.offsets[partition] = offset
	if !c.running {
		c.running = true
		c.done.Go(c.run)
	}
	c.mu.Unlock()
	<-round.done
	return round.err
}

// run serves rounds until nobody waits for one.
func (c *offsetCommits) run() {
	for {
		c.mu.Lock()
		round := c.next
		c.next = nil
		if round == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		round.err = c.generation.commit(c.ctx, round.offsets)
		close(round.done)
	}
}

// wait waits for the round under way, if any.
func (c *offsetCommits) wait() { c.done.Wait() }
