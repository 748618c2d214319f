package kafka

import "errors"

// reading is what the records of one partition's answer came to.
type reading struct {
	// next is the next offset to read.
	next int64
	// damage is why the batch at next could not be read; it ends before lostTo.
	damage error
	lostTo int64
	// cutOff tells that all the answer has is the beginning of a batch, stale that it has batches, and all are before next.
	cutOff, stale bool
}

// read hands the records of an answer at or past the position to the handler.
func (t *Tail) read(p *fetchedPartition, position int64) reading {
	transactions := newAborts(p.aborted)
	if t.options.uncommitted {
		transactions = aborts{}
	}
	before := position
	for rest := p.batches; len(rest) > 0; {
		batch, ok := readBatch(rest)
		if !ok {
			return reading{next: position, cutOff: position == before} // the next answer begins with it
		}
		rest = rest[len(batch.whole):]
		switch {
		case batch.size < batchHeadLen:
			return reading{next: position, damage: errBadRecord, lostTo: position + 1}
		case !batch.isWhole() && p.cut && position == before && batch.last >= position:
			// It is longer than what is kept of an answer.
			t.leaveOut(p.number, position, &batch, errBatchTooLarge, cutRecord{value: -1})
			return reading{next: batch.last + 1}
		case !batch.isWhole():
			return reading{next: position, cutOff: position == before}
		}
		if err := batch.damage(); err != nil {
			return reading{next: position, damage: err, lostTo: batch.plausibleEnd(position, rest)}
		}
		if batch.last < position {
			continue
		}
		if !transactions.skips(&batch) {
			t.readBatch(p.number, position, &batch)
		}
		position = batch.last + 1
	}
	return reading{next: position, stale: position == before && len(p.batches) > 0}
}

// plausibleEnd returns where a damaged batch ends, past position: where the next one begins, if that is here, too; else
// what its header says, if that agrees with itself, or the next offset.
func (b *storedBatch) plausibleEnd(position int64, rest []byte) int64 {
	if next, ok := readBatch(rest); ok && next.base > position {
		return next.base
	}
	if b.last-b.base+1 == b.count && b.last >= position {
		return b.last + 1
	}
	return position + 1
}

// readBatch hands the records of a whole batch at or past the position to the handler, and tells it what was left out.
func (t *Tail) readBatch(partition int, position int64, batch *storedBatch) {
	records := batchRecords{rest: batch.whole[batchHeadLen:], left: batch.count}
	var wrong error
	if codec := int(batch.attributes & codecMask); codec != codecNone {
		t.unpacked, wrong = unpack(codec, records.rest, t.unpacked, t.options.maxBatch())
		records.rest = t.unpacked
	}
	for {
		r, err := records.next()
		offset := batch.base + r.offsetDelta
		if err == nil && (offset < batch.base || offset > batch.last) {
			err = errBadRecord
		}
		if err != nil {
			if wrong == nil && !errors.Is(err, errNoMoreRecords) {
				wrong = err
			}
			if wrong != nil && position <= batch.last {
				t.leaveOut(partition, position, batch, wrong, records.cut())
			}
			return
		}
		if offset < position {
			continue
		}
		position = offset + 1
		t.record = TailRecord{
			Partition: partition, Offset: offset, Time: batch.timeAt(r.timeDelta),
			WholeKey: r.key, Value: r.value, headers: r.headers,
		}
		if len(r.key) <= maxKey {
			t.record.Key = r.key
		}
		t.options.Handler.Record(&t.record)
	}
}

// leaveOut tells the handler that the records of a batch from an offset on are not read.
func (t *Tail) leaveOut(partition int, from int64, batch *storedBatch, why error, cut cutRecord) {
	left := LeftOut{
		Partition: partition, From: from, To: batch.last + 1, Why: why, TooLarge: errors.Is(why, errBatchTooLarge),
		Time: batch.timeAt(0), Size: -1,
	}
	if batch.base+cut.offset == from {
		left.Time, left.Key, left.Size = batch.timeAt(cut.time), cut.key, cut.value
	}
	t.leftOuts.Do(func() {
		t.options.Logger.Error("left out records that cannot be read", "topic", t.options.Topic, "partition", partition,
			"offset", left.From, "records", left.To-left.From, "error", why)
	})
	t.options.Handler.LeftOut(left)
}
