package kafka

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
)

// TailRecord is a record as a tail reads it. Its bytes are valid until the handler returns.
type TailRecord struct {
	Partition int
	Offset    int64
	Time      time.Time
	// Key is nil for a record without one, and for one whose key is longer than any of ours.
	Key     []byte
	Headers []kafka.Header

	key, value protocol.Bytes
	head       []byte // of the value, what Head has read
}

// WholeKey copies the key, however long it is. It is nil for a record without one. It may be called once.
func (r *TailRecord) WholeKey() ([]byte, error) {
	if r.Key != nil || r.key == nil {
		return bytes.Clone(r.Key), nil
	}
	return protocol.ReadAll(r.key)
}

// Value copies the value out of the answer: only who needs it pays for it. It is nil for a record without one. It may be
// called once.
func (r *TailRecord) Value() ([]byte, error) {
	if r.value == nil {
		return nil, nil
	}
	value := make([]byte, len(r.head)+r.value.Len())
	copy(value, r.head)
	_, err := io.ReadFull(r.value, value[len(r.head):])
	return value, err
}

// Head reads the beginning of the value, before Value, into into, and returns it.
func (r *TailRecord) Head(into []byte) []byte {
	if r.value == nil || r.head != nil {
		return r.head
	}
	n, _ := io.ReadFull(r.value, into[:min(len(into), r.value.Len())])
	r.head = into[:n]
	return r.head
}

// maxKey bounds the keys that are looked at; ours are far shorter. A record with a longer one is handed over with no key.
const maxKey = 256

// records hands the records of an answer at or past the position to the handler, and returns the next position.
func (t *Tail) records(partition int, state *tailPartition, p *fetch.ResponsePartition) int64 {
	position := state.position
	if p.RecordSet.Records == nil {
		return position
	}
	read := false
	for _, batch := range batches(p.RecordSet.Records) {
		_, control := batch.(*protocol.ControlBatch)
		for {
			r, err := batch.ReadRecord()
			if err != nil {
				// Past the last record; what an undecodable batch hides, the next fetch begins with.
				break
			}
			if r.Offset >= position {
				read = true
				position = r.Offset + 1
				if !control {
					t.handle(partition, r)
				}
			}
			closeBytes(r.Key)
			closeBytes(r.Value)
		}
	}
	if !read && position < p.HighWatermark {
		// Records, but none at or past the position: the ones there are gone (compaction, or a batch whose last ones are).
		position++
	}
	return position
}

func (t *Tail) handle(partition int, r *protocol.Record) {
	t.record = TailRecord{Partition: partition, Offset: r.Offset, Time: r.Time, Headers: r.Headers, key: r.Key, value: r.Value}
	if r.Key != nil && r.Key.Len() <= maxKey {
		n, err := io.ReadFull(r.Key, t.key[:r.Key.Len()])
		if err == nil {
			t.record.Key = t.key[:n]
		}
	}
	t.options.Handler.Record(&t.record)
}

// batches returns the batches of an answer.
func batches(records protocol.RecordReader) []protocol.RecordReader {
	if stream, ok := records.(*protocol.RecordStream); ok {
		return stream.Records
	}
	return []protocol.RecordReader{records}
}

func closeBytes(b protocol.Bytes) {
	if b != nil {
		_ = b.Close()
	}
}

// isTransient tells whether a fetch failed for want of a connection, a leader or time. Else its answer was there and made
// no sense.
func isTransient(err error) bool {
	var network net.Error
	var op *net.OpError
	var code kafka.Error
	var routing *fetch.Error
	return errors.As(err, &network) || errors.As(err, &op) || errors.As(err, &code) || errors.As(err, &routing) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) // the latter of a connection inside the process
}
