package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/adapters/wire"
	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Conversations is the topic of conversations as the use cases know it: port.ConversationLog, port.LogEnds and
// history.SeenLog.
type Conversations struct {
	appender appender
	ends     endOffsets
	readable endOffsets
	own      *ownMessages
	// seen is up to where this node's tail has read each partition.
	seen []atomic.Int64
	// Traces has the spans of appends. Set it before the first one.
	Traces port.Traces
}

// NewConversations makes a topic's appender the conversation log. The caller closes the appender, then Conversations.
func NewConversations(cluster *logclient.Cluster, appender appender) *Conversations {
	topic, partitions := appender.Topic(), appender.Partitions()
	return &Conversations{
		appender: appender, ends: newEndOffsets(cluster, topic, partitions, logclient.End),
		readable: newEndOffsets(cluster, topic, partitions, logclient.ReadableEnd), own: newOwnMessages(),
		seen: make([]atomic.Int64, partitions),
	}
}

var _ interface {
	port.ConversationLog
	port.LogEnds
	history.SeenLog
} = (*Conversations)(nil)

// Append implements port.ConversationLog.
func (c *Conversations) Append(event domain.Event, done func(error)) {
	span := c.Traces.Child(port.SpanAppend, event.Trace)
	if event.Trace = span.Parent(); span.IsRecorded() {
		done = endsWith(span, done)
	}
	value, err := EncodeEvent(event)
	if err != nil {
		done(domain.WrapError(domain.CodeInternal, "The event could not be encoded.", err))
		return
	}
	key := event.Body.Conversation().AppendKey(make([]byte, 0, 40))
	partition := c.appender.PartitionOf(key)
	if span.IsRecorded() {
		span.SetEvent(event.ID)
		span.SetText(port.KeyTopic, c.appender.Topic())
		span.SetNumber(port.KeyPartition, int64(partition))
	}
	c.own.note(event, value)
	owner := appending.OwnedBy(int64(event.Body.Actor()))
	c.appender.AppendAs(owner, partition, eventRecord(key, value), done)
}

// endsWith ends a span with the outcome of an append, before done is told.
func endsWith(span port.Span, done func(error)) func(error) {
	return func(err error) {
		span.End(err)
		done(err)
	}
}

// EndOffsets implements port.LogEnds. It is the end of what was appended, not of what can be read: a block, and a message
// after it, may stand behind an open transaction. Neither is for a connection that begins now, with the block.
func (c *Conversations) EndOffsets(ctx context.Context) ([]int64, error) {
	return c.ends.EndOffsets(ctx)
}

// Readable returns up to where the log can be read. Everything that anybody was shown stands before.
func (c *Conversations) Readable() port.LogEnds { return c.readable }

// Seen implements history.SeenLog.
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

// PartitionOf implements history.SeenLog.
func (c *Conversations) PartitionOf(conversation domain.Conversation) int {
	return c.appender.PartitionOf([]byte(conversation.Key()))
}

// Close waits for the requests under way.
func (c *Conversations) Close() {
	c.ends.Wait()
	c.readable.Wait()
}

// ConversationTail hands the records of conversations to delivery: the handler of the node's tail.
type ConversationTail struct {
	Delivery *delivery.Delivery
	// Log knows what this node appended, and is told how far this node has read. It may be nil.
	Log *Conversations
	// From is where delivery begins in each partition. Before it, records only tell what became of invites. The tail
	// changes it if the topic is made anew.
	From map[int]int64
	// Acts is told what the platform did to users; nil if nobody asks.
	Acts *moderation.Register
	// Reload has Acts know what stood in a hole, from elsewhere. It returns once they do, or the tail is to stop. If it is nil, acts that
	// stood there do not count in that partition.
	Reload  func()
	Notices *notice.Log // about acts that are not real; needed with Acts
	Logger  *slog.Logger
	// Observer is told how old records are when they are delivered; nil: nobody is.
	Observer DeliveryObserver
	// Traces has the spans of deliveries.
	Traces port.Traces

	record conversationRecord // the one that Record was called with, used again
	traced []port.Span        // of records that wait for BatchEnd
	latest time.Time          // the time stamp of the last record since BatchEnd that was applied; zero for none
}

// DeliveryObserver is told how old records are when they are delivered. Its method must not block.
type DeliveryObserver interface {
	// Delivered tells that the records of an answer of the log were delivered, and how old the last of them is.
	Delivered(age time.Duration)
}

// Record implements logclient.TailHandler. Records whose key is no conversation's are not ours.
func (t *ConversationTail) Record(r *recordbatch.StoredRecord) {
	// Before anybody is shown the record, who may ask for the history then.
	t.Log.sees(r.Partition, r.Offset+1)
	if r.Offset == 0 {
		t.Delivery.Begins(r.Partition, r.Time)
		if t.Acts != nil {
			t.Acts.Begins(r.Partition, r.Time)
		}
	}
	conversation, ok := domain.ParseConversation(r.Key)
	if !ok {
		if (actReader{t.Acts, t.Notices}).read(r) || t.announced(r) {
			return
		}
		t.Logger.Debug("skipped a record whose key names no conversation", "partition", r.Partition, "offset", r.Offset)
		return
	}
	t.record = conversationRecord{record: r, conversation: conversation}
	if t.Log != nil {
		t.record.own = t.Log.own
	}
	if r.Offset < t.From[r.Partition] {
		t.Delivery.Recall(&t.record)
		return
	}
	began := t.Traces.Now()
	if t.Delivery.Apply(&t.record) && t.record.trace != "" {
		t.trace(&t.record, began)
	}
	t.latest = r.Time
}

// trace begins the span of a record that is delivered. It ends once its frames are written.
func (t *ConversationTail) trace(record *conversationRecord, began time.Time) {
	span := t.Traces.ChildSince(port.SpanDeliver, record.trace, began)
	if !span.IsRecorded() {
		return
	}
	span.SetEvent(record.event)
	span.SetPlace(t.Log.appender.Topic(), record.Place())
	t.traced = append(t.traced, span)
}

// BatchEnd implements logclient.TailHandler.
func (t *ConversationTail) BatchEnd(partition int, next int64) {
	t.Delivery.Passed(partition, next)
	t.Delivery.Flush()
	for i, span := range t.traced {
		span.End(nil)
		t.traced[i] = port.Span{}
	}
	t.traced = t.traced[:0]
	if t.Observer != nil && !t.latest.IsZero() {
		t.Observer.Delivered(time.Since(t.latest))
	}
	t.latest = time.Time{}
}

// LeftOut implements logclient.TailHandler. No node wrote that, so nobody misses it.
func (t *ConversationTail) LeftOut(recordbatch.LeftOut) {}

// Hole implements logclient.TailHandler: connections that may have missed something are closed. If the topic was made anew, delivery goes
// on at its end. An invite that was made there before is not known to this node.
func (t *ConversationTail) Hole(partition int, from, to int64) {
	t.Delivery.CloseAll(port.CloseHole)
	if to < from {
		t.From[partition] = to
		t.Log.sees(partition, to)
		if t.Acts != nil {
			t.Acts.Restart(partition)
		}
		t.Delivery.Restart(partition, to)
	} else {
		if t.Reload != nil {
			t.Reload()
			t.Delivery.CloseAll(port.CloseHole) // who logged in meanwhile did so without what is known now
		}
		t.Delivery.Passed(partition, to)
	}
}

// conversationRecord is port.Record over a record of the tail. It is valid as long as that.
type conversationRecord struct {
	record       *recordbatch.StoredRecord
	conversation domain.Conversation
	own          *ownMessages // nil if nothing is the node's own
	// event and trace are those of the event, once the record was opened.
	event domain.EventID
	trace domain.TraceParent
}

// headBytes is how much of a value is searched for its type, which stands before anything that a user wrote.
const headBytes = 160

var (
	headOfType   = []byte(`"type":"` + typePrefix)
	typeOfInvite = []byte(wire.TypeInvite)
	typeOfBlock  = []byte("user_")
)

// Time implements port.Record.
func (r *conversationRecord) Time() time.Time { return r.record.Time }

// ConcernsInvites implements port.Record.
func (r *conversationRecord) ConcernsInvites() bool {
	return ConcernsInvites(r.record.Value)
}

// ConcernsInvites tells by the first headBytes of a value whether it may be about an invite, or a block.
func ConcernsInvites(value []byte) bool {
	_, kind, _ := bytes.Cut(value[:min(len(value), headBytes)], headOfType)
	return bytes.HasPrefix(kind, typeOfInvite) || bytes.HasPrefix(kind, typeOfBlock)
}

// concernsBlock is ConcernsInvites for blocks only.
func concernsBlock(value []byte) bool {
	_, kind, _ := bytes.Cut(value[:min(len(value), headBytes)], headOfType)
	return bytes.HasPrefix(kind, typeOfBlock)
}

// Place implements port.Record.
func (r *conversationRecord) Place() domain.Place {
	return domain.Place{Partition: r.record.Partition, Offset: r.record.Offset}
}

// Conversation implements port.Record.
func (r *conversationRecord) Conversation() domain.Conversation { return r.conversation }

// Open implements port.Record.
func (r *conversationRecord) Open() (event domain.Event, frame []byte, err error) {
	if r.record.Value == nil {
		return domain.Event{}, nil, errors.New("a record without a value")
	}
	own := false
	if r.own != nil {
		event, frame, own = r.own.take(r.conversation, r.record.Value)
	}
	if !own {
		event, frame, err = DecodeEvent(r.conversation, r.record.Value)
		frame = bytes.Clone(frame) // it outlives the record
	}
	r.event, r.trace = event.ID, event.Trace
	return event, frame, err
}
