package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"chatting/adapters/frame"
	"chatting/application"
	"chatting/domain"
)

// Conversations is the topic of conversations as the use cases know it: application.ConversationLog, application.LogEnds and
// application.SeenLog.
type Conversations struct {
	appender *Appender
	ends     *endOffsets
	readable readableEnds
	own      *ownMessages
	// seen is up to where this node's tail has read each partition.
	seen []atomic.Int64
}

// readableEnds are an application.LogEnds.
type readableEnds struct{ ends *endOffsets }

// NewConversations makes a topic's appender the conversation log. The caller closes the appender, then Conversations.
func NewConversations(cluster *Cluster, appender *Appender) *Conversations {
	ends := func(ask func(context.Context, string, []int) ([]int64, error)) *endOffsets {
		return &endOffsets{ask: ask, topic: appender.options.Topic, partitions: appender.numbers}
	}
	return &Conversations{
		appender: appender, ends: ends(cluster.logEnds), readable: readableEnds{ends(cluster.stableEnds)}, own: newOwnMessages(),
		seen: make([]atomic.Int64, appender.Partitions()),
	}
}

var _ interface {
	application.ConversationLog
	application.LogEnds
	application.SeenLog
} = (*Conversations)(nil)

// Append implements application.ConversationLog.
func (c *Conversations) Append(event domain.Event, done func(error)) {
	value, err := encodeEvent(event)
	if err != nil {
		done(domain.WrapError(domain.CodeInternal, "The event could not be encoded.", err))
		return
	}
	key := []byte(event.Body.Conversation().Key())
	r := eventRecord(key, value)
	r.owner = ownedBy(event.Body.Actor())
	c.own.note(event, value)
	c.appender.appendTo(c.appender.PartitionOf(key), r, done)
}

// EndOffsets implements application.LogEnds. Calls that come together share their requests. It is the end of what was
// appended, not of what can be read: behind a transaction that is open, somebody's block may have been appended, and the
// message after it, and neither is for a connection that begins now and knows the block already.
func (c *Conversations) EndOffsets(ctx context.Context) ([]int64, error) {
	return c.ends.endOffsets(ctx)
}

// Readable returns up to where the log can be read: everything that anybody was shown stands before. The history follows
// the log up to there.
func (c *Conversations) Readable() application.LogEnds { return c.readable }

// EndOffsets implements application.LogEnds.
func (r readableEnds) EndOffsets(ctx context.Context) ([]int64, error) { return r.ends.endOffsets(ctx) }

func (e *endOffsets) endOffsets(ctx context.Context) ([]int64, error) {
	offsets, err := e.get(ctx)
	if err != nil {
		return nil, domain.WrapError(domain.CodeUnavailable, "The log does not answer.", err)
	}
	return offsets, nil
}

// Seen implements application.SeenLog.
func (c *Conversations) Seen() []int64 {
	seen := make([]int64, len(c.seen))
	for p := range c.seen {
		seen[p] = c.seen[p].Load()
	}
	return seen
}

// sees notes that this node has read everything before next. It does nothing with a nil log.
func (c *Conversations) sees(partition int, next int64) {
	if c != nil {
		c.seen[partition].Store(next)
	}
}

// PartitionOf implements application.SeenLog.
func (c *Conversations) PartitionOf(conversation domain.Conversation) int {
	return c.appender.PartitionOf([]byte(conversation.Key()))
}

// Close waits for the requests under way.
func (c *Conversations) Close() {
	c.ends.wait()
	c.readable.ends.wait()
}

// ConversationTail hands the records of conversations to delivery: the handler of the node's tail.
type ConversationTail struct {
	Delivery *application.Delivery
	// Log is what this node appends to the topic, and is told how far this node has read; nil for neither.
	Log *Conversations
	// From is where delivery begins, a partition. Of what stands before, only what became of invites counts. The tail's own:
	// it changes where the topic is made anew.
	From   map[int]int64
	Logger *slog.Logger
}

// Record implements TailHandler. Records whose key is no conversation's are not ours.
func (t *ConversationTail) Record(r *TailRecord) {
	// Before anybody is shown it: who asks for the history then is to find it.
	t.Log.sees(r.Partition, r.Offset+1)
	conversation, ok := domain.ParseConversation(r.Key)
	if !ok {
		t.Logger.Debug("skipped a record whose key names no conversation", "partition", r.Partition, "offset", r.Offset)
		return
	}
	record := conversationRecord{record: r, conversation: conversation}
	if t.Log != nil {
		record.own = t.Log.own
	}
	if r.Offset < t.From[r.Partition] {
		t.Delivery.Recall(record)
		return
	}
	t.Delivery.Apply(record)
}

// BatchEnd implements TailHandler.
func (t *ConversationTail) BatchEnd(int, int64) {}

// LeftOut implements TailHandler. No node wrote that, so nobody misses it.
func (t *ConversationTail) LeftOut(LeftOut) {}

// Hole implements TailHandler: whoever may have missed something comes again. Where the topic was made anew, delivery goes
// on at the end that this node found. What the new one held by then it does not know, so an invite from those seconds may be
// open on one node and unknown on another.
func (t *ConversationTail) Hole(partition int, from, to int64) {
	if to < from {
		t.From[partition] = to
		t.Log.sees(partition, to)
		t.Delivery.Restart(partition)
	}
	t.Delivery.CloseAll(application.CloseHole)
}

// conversationRecord is application.Record over a record of the tail.
type conversationRecord struct {
	record       *TailRecord
	conversation domain.Conversation
	own          *ownMessages // nil if nothing is the node's own
}

// headBytes is how much of a value is looked at to tell its type, which stands before anything that a user wrote.
const headBytes = 160

var (
	headOfType   = []byte(`"type":"` + typePrefix)
	typeOfInvite = []byte(frame.TypeInvite)
	typeOfBlock  = []byte("user_")
)

// Time implements application.Record.
func (r conversationRecord) Time() time.Time { return r.record.Time }

// ConcernsInvites implements application.Record.
func (r conversationRecord) ConcernsInvites() bool {
	return concernsInvites(r.record.Value)
}

// concernsInvites tells by the first headBytes of a value whether it may be about an invite, or a block.
func concernsInvites(value []byte) bool {
	_, kind, _ := bytes.Cut(value[:min(len(value), headBytes)], headOfType)
	return bytes.HasPrefix(kind, typeOfInvite) || bytes.HasPrefix(kind, typeOfBlock)
}

// Position implements application.Record.
func (r conversationRecord) Position() application.Position {
	return application.Position{Partition: r.record.Partition, Offset: r.record.Offset}
}

// Conversation implements application.Record.
func (r conversationRecord) Conversation() domain.Conversation { return r.conversation }

// Open implements application.Record.
func (r conversationRecord) Open() (domain.Event, []byte, error) {
	if r.record.Value == nil {
		return domain.Event{}, nil, errors.New("a record without a value")
	}
	if r.own != nil {
		if event, frame, ok := r.own.take(r.conversation, r.record.Value); ok {
			return event, frame, nil
		}
	}
	event, frame, err := decodeEvent(r.conversation, r.record.Value)
	return event, bytes.Clone(frame), err // it outlives the record
}
