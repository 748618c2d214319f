package kafka

import (
	"context"
	"errors"
	"log/slog"

	"chatting/application"
	"chatting/domain"
)

// Conversations is the topic of conversations as the use cases know it: application.ConversationLog and
// application.LogEnds.
type Conversations struct {
	appender *Appender
	ends     *endOffsets
}

// NewConversations makes a topic's appender the conversation log. The caller closes the appender, then Conversations.
func NewConversations(cluster *Cluster, appender *Appender) *Conversations {
	return &Conversations{appender: appender, ends: &endOffsets{
		cluster: cluster, topic: appender.options.Topic, partitions: appender.numbers,
	}}
}

var _ interface {
	application.ConversationLog
	application.LogEnds
} = (*Conversations)(nil)

// Append implements application.ConversationLog.
func (c *Conversations) Append(event domain.Event, done func(error)) {
	value, err := encodeEvent(event)
	if err != nil {
		done(domain.WrapError(domain.CodeInternal, "The event could not be encoded.", err))
		return
	}
	key := []byte(event.Body.Conversation().Key())
	c.appender.appendTo(c.appender.PartitionOf(key), eventRecord(key, value), done)
}

// EndOffsets implements application.LogEnds. Calls that come together share their requests.
func (c *Conversations) EndOffsets(ctx context.Context) ([]int64, error) {
	offsets, err := c.ends.get(ctx)
	if err != nil {
		return nil, domain.WrapError(domain.CodeUnavailable, "The log does not answer.", err)
	}
	return offsets, nil
}

// Close waits for the requests under way.
func (c *Conversations) Close() { c.ends.wait() }

// ConversationTail hands the records of conversations to delivery: the handler of the node's tail.
type ConversationTail struct {
	Delivery *application.Delivery
	Logger   *slog.Logger
}

// Record implements TailHandler. Records whose key is no conversation's are not ours.
func (t *ConversationTail) Record(r *TailRecord) {
	conversation, ok := domain.ParseConversation(r.Key)
	if !ok {
		t.Logger.Debug("skipped a record whose key names no conversation", "partition", r.Partition, "offset", r.Offset)
		return
	}
	t.Delivery.Apply(conversationRecord{record: r, conversation: conversation})
}

// BatchEnd implements TailHandler.
func (t *ConversationTail) BatchEnd(int, int64) {}

// Hole implements TailHandler: whoever may have missed something comes again.
func (t *ConversationTail) Hole(int, int64, int64) { t.Delivery.CloseAll(application.CloseHole) }

// conversationRecord is application.Record over a record of the tail.
type conversationRecord struct {
	record       *TailRecord
	conversation domain.Conversation
}

// Position implements application.Record.
func (r conversationRecord) Position() application.Position {
	return application.Position{Partition: r.record.Partition, Offset: r.record.Offset}
}

// Conversation implements application.Record.
func (r conversationRecord) Conversation() domain.Conversation { return r.conversation }

// Open implements application.Record.
func (r conversationRecord) Open() (domain.Event, []byte, error) {
	value, err := r.record.Value()
	if err != nil {
		return domain.Event{}, nil, err
	}
	if value == nil {
		return domain.Event{}, nil, errors.New("a record without a value")
	}
	return decodeEvent(r.conversation, value)
}
