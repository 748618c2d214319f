package projector

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"time"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/history"
	"chatting/domain"
)

// projection is what is read of a partition, and not yet written.
type projection struct {
	partition *partition
	reader    *reader
	ctx       context.Context //nolint:containedctx // ends when the partition is to be read from elsewhere, or no more
	stop      context.CancelCauseFunc
	at        history.Projection // what is in the database

	// invites is what became of invites up to the last record.
	invites *domain.InviteRegister
	// quiet and supersedes tell which changes of blocks need not be kept.
	quiet      *quietBlocks
	supersedes map[int64]int64

	// next is the place up to which it is read; waits tells that the reader knows that something is to be written.
	next   int64
	waits  bool
	events []history.ProjectedEvent
	acts   []history.StandingAct
	// latest is the greatest time of a record that was read: by it an act is too old to be real.
	latest time.Time
	// last is the last record that was read, be it an event or not, if there is one.
	last    loggedRecord
	hasLast bool
	// skipped counts the records since the last transaction that are no events of this server.
	skipped int
}

// record takes the next record.
func (h *projection) record(r *recordbatch.StoredRecord) {
	if h.ctx.Err() != nil {
		return
	}
	value := bytes.Clone(r.Value)
	h.last = loggedRecord{offset: r.Offset, at: r.Time, key: append(h.last.key[:0], r.Key...), value: value}
	h.hasLast = true
	if h.latest.Before(r.Time) {
		h.latest = r.Time
	}
	event, frame, err := h.partition.open(r.Key, value)
	h.followBlocks(r, event, err)
	switch {
	case err != nil && (h.act(r) || kafka.IsAnnouncement(r.Value)):
	case err != nil:
		h.skipped++
	case h.reader.acts.Judge(event, domain.Place{Partition: r.Partition, Offset: r.Offset}, r.Time) != nil:
	default:
		verdict := h.invites.Apply(event, r.Time)
		if verdict == domain.InviteVoid {
			break
		}
		h.events = append(h.events, history.ProjectedEvent{
			Offset: r.Offset, Event: event, Frame: frame, Unseen: verdict == domain.InviteUnseen,
		})
		h.reader.events++
		h.reader.bytes += len(frame)
	}
	h.readUpTo(r.Offset + 1)
	if h.reader.events >= maxProjected || h.reader.bytes >= maxProjectedBytes {
		h.reader.write()
	}
}

// act takes over a record that may be an act of the platform; false if it is none, or one that the register refuses.
func (h *projection) act(r *recordbatch.StoredRecord) bool {
	if !kafka.IsAct(r.Value) {
		return false
	}
	act, err := kafka.DecodeAct(r.Key, r.Value)
	if err != nil || !h.reader.acts.ReadAsOf(act, domain.Place{Partition: r.Partition, Offset: r.Offset}, h.latest) {
		return false
	}
	h.acts = append(h.acts, history.StandingAct{Offset: r.Offset, Act: act})
	return true
}

// followBlocks notes what a record means for the changes of blocks that need not be kept. err tells that this version reads no
// event in it; another one may.
func (h *projection) followBlocks(r *recordbatch.StoredRecord, event domain.Event, err error) {
	change, ok := event.Body.(domain.BlockChanged)
	if err == nil && ok {
		if before, quiet := h.quiet.changed(change, r.Offset); quiet {
			if h.supersedes == nil {
				h.supersedes = make(map[int64]int64)
			}
			h.supersedes[r.Offset] = before
		}
		return
	}
	if conversation, ok := domain.ParseConversation(r.Key); ok {
		h.quiet.said(conversation)
	}
}

// open reads an event, which must stand in the partition of its conversation.
func (p *partition) open(key, value []byte) (domain.Event, []byte, error) {
	conversation, ok := domain.ParseConversation(key)
	if !ok || value == nil || p.projector.partitionOf(key) != p.number {
		return domain.Event{}, nil, errForeign
	}
	return kafka.DecodeEvent(conversation, value)
}

var errForeign = errors.New("no event of this server")

func (p *Projector) partitionOf(key []byte) int {
	return logclient.PartitionOf(key, logclient.PartitionNumbers(p.options.Partitions))
}

// readUpTo notes that everything before next was read.
func (h *projection) readUpTo(next int64) {
	h.next = next
	if !h.waits && next > h.at.Next.Offset {
		h.waits = true
		h.reader.waiting = append(h.reader.waiting, h)
	}
}

// batch returns what was read.
func (h *projection) batch() history.ProjectionBatch {
	to := h.at
	to.Next.Offset = h.next
	if h.hasLast {
		to.Last, to.Fingerprint = h.last.offset, h.last.fingerprint()
	}
	return history.ProjectionBatch{
		From: h.at, To: to, Events: h.events, Acts: h.acts, Retention: h.partition.projector.options.Retention, Supersedes: h.supersedes,
	}
}

// wrote notes that a batch was written, or could not be.
func (h *projection) wrote(batch history.ProjectionBatch, err error) {
	if err != nil {
		h.stop(err)
		return
	}
	if h.skipped > 0 {
		h.partition.projector.options.Notices.Warn("history: left out records that are no events of this server",
			slog.Int("partition", h.partition.number), slog.Int("records", h.skipped), slog.Int64("before", batch.To.Next.Offset))
	}
	h.partition.progress.Store(&progress{next: batch.To.Next, stop: h.stop})
	clear(h.events)
	clear(h.supersedes)
	h.acts = nil
	h.at, h.events, h.skipped = batch.To, h.events[:0], 0
}

// leftOut takes what the tail did not hand over.
func (h *projection) leftOut(left recordbatch.LeftOut) {
	h.quiet.unread()
	h.skipped += int(left.To - left.From)
}

// hole ends the reading: where it goes on has to be found.
func (h *projection) hole(from, to int64) {
	if to < from {
		h.partition.pastEnd = time.Unix(0, 0) // the tail has waited
	} else {
		h.partition.lostUntil = to
	}
	h.stop(errHole)
}

var errHole = errors.New("the log has a hole")
