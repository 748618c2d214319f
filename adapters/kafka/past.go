package kafka

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/async"
	"chatting/application/ledger"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/domain"
)

// PastOptions say how much of the past is read.
type PastOptions struct {
	Topic string
	// Records bounds the stretch that is read for one reader, in all partitions together.
	Records int
	// Bytes bounds what one reader gets, with pastBytes for each record.
	Bytes int
	// Ledger bounds what all readers have together.
	Ledger *ledger.ByteLedger
	// Live tells whether chat is delivered now: then the reading rests again and again. nil for never.
	Live func() bool
	// Turns let those whom a scan has served go on a few at a time; nil for all at once.
	Turns *async.Turns
}

// Past reads the conversation log once more for users who log in: a past.Log. All who wait share one scan, but those who need
// little do not wait for those who need much. Of the records of other users it looks at the keys only.
type Past struct {
	cluster *logclient.Cluster
	options PastOptions
	// near is for stretches of at most little records, and far for the others.
	near, far *async.Rounds[*pastReader, struct{}]
	little    int64
	reading   context.Context //nolint:containedctx // of the scans, which are for many callers
	stop      context.CancelFunc
}

// pauses keeps the scans of rounds apart while chat is delivered.
type pauses struct {
	live func() bool // nil for never
	next time.Time   // when the next scan may begin; the rounds' own
}

// await waits until the next scan may begin, or ctx ends.
func (p *pauses) await(ctx context.Context) {
	if p.live == nil || !p.live() {
		return
	}
	timer := time.NewTimer(time.Until(p.next))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// scanned notes that a scan which began at a time has ended.
func (p *pauses) scanned(began time.Time) {
	ended := time.Now()
	p.next = ended.Add(min(pauseAfter*ended.Sub(began), maxPause))
}

const (
	// pastTimeout bounds a scan. A login has no more time.
	pastTimeout = 10 * time.Second
	// nearRecords is how many records are read in a moment, also by a slow broker.
	nearRecords = 20_000
	// pastBytes is what a record takes beside its value.
	pastBytes = 256
	// pastRest is when a scan asks again for a partition that it has read to the end of the log. Without a rest, a leader would hold
	// its answer until something is said there, and what else it leads would wait.
	pastRest = 50 * time.Millisecond
	// A scan looks at restAfter records and then rests for restFor, while chat is delivered. A scan of 200,000 records so takes
	// 0.4 s longer, and leaves two thirds of a processor to live chat.
	restAfter = 1000
	restFor   = 2 * time.Millisecond
	// While chat is delivered, a scan begins pauseAfter times as long after the one before as that one took, at most maxPause. When many
	// users come back at once they all need the same stretch, so few long rounds cost the broker less than many short ones.
	pauseAfter = 4
	maxPause   = 200 * time.Millisecond
)

// NewPast returns the past of a topic. Close is to be called.
func NewPast(cluster *logclient.Cluster, options PastOptions) *Past {
	p := &Past{cluster: cluster, options: options, little: nearRecords}
	p.reading, p.stop = context.WithCancel(context.Background())
	p.near, p.far = p.rounds(min(nearRecords, options.Records)), p.rounds(options.Records)
	return p
}

// rounds returns rounds of scans, each of which reads so many records for one reader at most.
func (p *Past) rounds(records int) *async.Rounds[*pastReader, struct{}] {
	between := pauses{live: p.options.Live}
	return async.NewRounds(0, func(waiting []*pastReader) (struct{}, error) {
		between.await(p.reading)
		defer between.scanned(time.Now())
		return struct{}{}, p.read(waiting, records)
	})
}

var _ past.Log = (*Past)(nil)

// Close ends the scans under way, if any. Readers get CodeUnavailable.
func (p *Past) Close() {
	p.stop()
	p.near.Wait()
	p.far.Wait()
	p.options.Turns.Wait()
}

// Reaches implements past.Log.
func (p *Past) Reaches(wanted past.Stretch) bool {
	return lengthOf(wanted.From, wanted.To) <= int64(p.options.Records)
}

// Read implements past.Log.
func (p *Past) Read(ctx context.Context, wanted past.Stretch, cut func()) (past.Records, error) {
	reader := newPastReader(p.options, wanted, cut)
	length := lengthOf(reader.from, reader.to)
	rounds := p.far
	if length <= p.little {
		rounds = p.near
	}
	for length > 0 && !reader.served {
		if _, _, err := rounds.Ask(ctx, reader); err != nil {
			reader.held.Close()
			return past.Records{}, domain.WrapError(domain.CodeUnavailable, "The log could not be read.", err)
		}
	}
	if err := p.options.Turns.Await(ctx); err != nil {
		reader.held.Close()
		return past.Records{}, domain.WrapError(domain.CodeUnavailable, "Too many users log in at once.", err)
	}
	if reader.refused {
		reader.held.Close()
		return past.Records{}, errNoRoomForPast
	}
	return past.Records{Records: reader.records(), From: reader.from, To: reader.upTo, Close: reader.held.Close}, nil
}

var errNoRoomForPast = domain.NewError(domain.CodeUnavailable, "Too much waits for clients.")

// read serves some of those who wait, each for so many records at most, with one scan: the one who has waited longest, and the others
// as far as the scan does not become longer than for two. Who is not served asks again.
func (p *Past) read(waiting []*pastReader, records int) error {
	slices.SortStableFunc(waiting, func(a, b *pastReader) int { return a.since.Compare(b.since) })
	scan := &pastScan{options: p.options, readers: make(map[domain.UserID][]*pastReader, len(waiting))}
	for _, reader := range waiting {
		from, to := union(scan.from, scan.to, reader.from, reader.to)
		if len(scan.readers) > 0 && lengthOf(from, to) > 2*int64(records) {
			continue
		}
		scan.from, scan.to = from, to
		scan.readers[reader.user] = append(scan.readers[reader.user], reader)
	}
	ctx, cancel := context.WithTimeout(p.reading, pastTimeout)
	defer cancel()
	// Without a logger: what the log has lost or cannot be read, the tail of this node has said, and readers are told.
	options := logclient.TailOptions{
		Topic: p.options.Topic, From: logclient.ByPartition(scan.from), Rest: pastRest,
	}
	if err := logclient.ScanWith(ctx, p.cluster, options, logclient.ByPartition(scan.to), scan); err != nil {
		return err
	}
	for _, readers := range scan.readers {
		for _, reader := range readers {
			reader.served = true
		}
	}
	return nil
}

// union returns the shortest stretch that has both stretches of each partition in it.
func union(from, to, otherFrom, otherTo []int64) (unionFrom, unionTo []int64) {
	unionFrom, unionTo = slices.Clone(otherFrom), slices.Clone(otherTo)
	for p := range from {
		switch {
		case from[p] >= to[p]:
		case otherFrom[p] >= otherTo[p]:
			unionFrom[p], unionTo[p] = from[p], to[p]
		default:
			unionFrom[p], unionTo[p] = min(from[p], otherFrom[p]), max(to[p], otherTo[p])
		}
	}
	return unionFrom, unionTo
}

// lengthOf returns how many offsets a stretch has.
func lengthOf(from, to []int64) (length int64) {
	for p := range min(len(from), len(to)) {
		length += max(0, to[p]-from[p])
	}
	return length
}

// nearest returns from where on a stretch has no more than so many offsets. Partitions that have less than their share leave the
// rest to the others.
func nearest(from, to []int64, limit int64) []int64 {
	shortened := slices.Clone(from)
	order := make([]int, len(from))
	for p := range order {
		order[p] = p
		shortened[p] = min(max(0, from[p]), to[p])
	}
	length := func(p int) int64 { return to[p] - shortened[p] }
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(length(a), length(b)) })
	for i, p := range order {
		share := limit / int64(len(order)-i)
		shortened[p] = max(shortened[p], to[p]-share)
		limit -= length(p)
	}
	return shortened
}

// pastScan is one reading of the log: a logclient.Scanner.
type pastScan struct {
	options  PastOptions
	from, to []int64
	readers  map[domain.UserID][]*pastReader
	looked   int
}

// Take implements logclient.Scanner.
func (s *pastScan) Take(r *recordbatch.StoredRecord) error {
	if s.looked++; s.looked%restAfter == 0 && s.options.Live != nil && s.options.Live() {
		time.Sleep(restFor)
	}
	conversation, ok := domain.ParseConversation(r.Key)
	if !ok {
		return nil
	}
	low, high := s.readers[conversation.Low()], s.readers[conversation.High()]
	if conversation.Low() == conversation.High() {
		high = nil
	}
	if low == nil && high == nil || r.Value == nil {
		return nil
	}
	record := storedRecord{
		at: domain.Place{Partition: r.Partition, Offset: r.Offset}, time: r.Time, conversation: conversation, value: bytes.Clone(r.Value),
	}
	for _, reader := range low {
		reader.take(record)
	}
	for _, reader := range high {
		reader.take(record)
	}
	return nil
}

// Lost implements logclient.Scanner.
func (s *pastScan) Lost(partition int, before int64) {
	for _, readers := range s.readers {
		for _, reader := range readers {
			reader.lose(partition, before)
		}
	}
}

// storedRecord is port.Record over a record that is kept.
type storedRecord struct {
	at           domain.Place
	time         time.Time
	conversation domain.Conversation
	value        []byte
}

// Place implements port.Record.
func (r storedRecord) Place() domain.Place { return r.at }

// Time implements port.Record.
func (r storedRecord) Time() time.Time { return r.time }

// Conversation implements port.Record.
func (r storedRecord) Conversation() domain.Conversation { return r.conversation }

// ConcernsInvites implements port.Record.
func (r storedRecord) ConcernsInvites() bool { return ConcernsInvites(r.value) }

// Open implements port.Record.
func (r storedRecord) Open() (domain.Event, []byte, error) {
	return DecodeEvent(r.conversation, r.value)
}

func (r storedRecord) size() int { return len(r.value) + pastBytes }

// pastReader is somebody who waits for the past. The round that serves it has it alone.
type pastReader struct {
	user  domain.UserID
	since time.Time
	limit int // of bytes
	held  *ledger.Holding
	// beginningFirst has the first records kept, not the last, if they have too many bytes.
	beginningFirst bool
	// from and upTo are between which offsets found is complete.
	from, upTo, to []int64
	found          []partitionPast // by partition
	bytes          int
	served         bool
	refused        bool // there was no room
}

// partitionPast are the records of a reader in one partition.
type partitionPast struct {
	records []storedRecord
	bytes   int
}

func newPastReader(options PastOptions, wanted past.Stretch, cut func()) *pastReader {
	return &pastReader{
		user: wanted.User, since: time.Now(), limit: options.Bytes, held: options.Ledger.OpenFor(wanted.User, cut),
		from: nearest(wanted.From, wanted.To, int64(options.Records)), to: wanted.To, found: make([]partitionPast, len(wanted.To)),
		upTo: slices.Clone(wanted.To), beginningFirst: wanted.BeginningFirst,
	}
}

// take takes a record of the user's. If there are too many bytes, the oldest records leave, or the record and what follows in its
// partition is left for another time.
func (r *pastReader) take(record storedRecord) {
	p := record.at.Partition
	if p >= len(r.to) || record.at.Offset < r.from[p] || record.at.Offset >= r.to[p] || r.refused {
		return
	}
	if r.beginningFirst && !r.takesFirst(record) {
		return
	}
	for !r.beginningFirst && r.bytes+record.size() > r.limit {
		if !r.dropOldest() {
			r.from[p] = record.at.Offset + 1
			return
		}
	}
	if !r.held.TryHold(record.size()) {
		r.refused = true
		return
	}
	r.bytes += record.size()
	r.found[p].bytes += record.size()
	r.found[p].records = append(r.found[p].records, record)
}

// takesFirst tells whether a record is one of the first that fit, or one about a block, which is needed to tell what the blocks were
// before it.
func (r *pastReader) takesFirst(record storedRecord) bool {
	p, fits := record.at.Partition, r.bytes == 0 || r.bytes+record.size() <= r.limit
	if r.upTo[p] == r.to[p] && !fits {
		r.upTo[p] = record.at.Offset
	}
	switch {
	case record.at.Offset < r.upTo[p]:
		return true
	case !concernsBlock(record.value):
		return false
	}
	r.refused = r.bytes > 2*r.limit // nobody changes so many blocks
	return !r.refused
}

// dropOldest lets go of the oldest record of the partition that has the most bytes; false if there is none.
func (r *pastReader) dropOldest() bool {
	p, most := 0, 0
	for partition := range r.found {
		if bytes := r.found[partition].bytes; bytes > most {
			p, most = partition, bytes
		}
	}
	if most == 0 {
		return false
	}
	r.lose(p, r.found[p].records[0].at.Offset+1)
	return true
}

// lose lets go of everything of a partition that stands before an offset.
func (r *pastReader) lose(p int, before int64) {
	if p >= len(r.to) || before <= r.from[p] || r.from[p] >= r.to[p] {
		return
	}
	r.from[p] = min(before, r.to[p])
	r.upTo[p] = max(r.upTo[p], r.from[p])
	past := &r.found[p]
	for len(past.records) > 0 && past.records[0].at.Offset < before {
		size := past.records[0].size()
		past.records[0] = storedRecord{}
		past.records = past.records[1:]
		past.bytes -= size
		r.bytes -= size
		r.held.Release(size)
	}
}

// records returns what was found.
func (r *pastReader) records() []port.Record {
	var all []port.Record
	for _, past := range r.found {
		for _, record := range past.records {
			all = append(all, record)
		}
	}
	return all
}
