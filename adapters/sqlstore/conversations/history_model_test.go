package conversations_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// modelLog is a log of conversations with all that ever stood in it, and the history as it has to be, by the book: no
// batches, no places to go on from, no database.
type modelLog struct {
	t      *testing.T
	random *rand.Rand
	store  *store
	// gaps lets the log lose what was not projected. Records of blocks do not come twice then.
	gaps bool

	partitions [2]modelPartition
	users      []domain.UserID
	clock      time.Time
	sent       []domain.Event // messages that may be sent again
	changes    []domain.Event // changes of blocks that may be published again
	erased     map[domain.UserID][]domain.Place
	marks      map[conversationOf]domain.Place
}

// conversationOf is a conversation as its owner has it.
type conversationOf struct{ owner, partner domain.UserID }

type modelPartition struct {
	all        []modelRecord // of all generations
	generation int64
	end        int64
	start      int64 // what is before is lost to whoever reads
}

// modelRecord is a record and whether it was ever projected.
type modelRecord struct {
	at        domain.Place
	event     domain.Event
	projected bool
	forged    bool // a change of a block that the database did not give out
}

func newModelLog(t *testing.T, seed uint64, store *store, gaps bool) *modelLog {
	m := &modelLog{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), store: store, gaps: gaps,
		users: []domain.UserID{1, 2, 3, 4}, clock: sqltest.Time, erased: make(map[domain.UserID][]domain.Place),
		marks: make(map[conversationOf]domain.Place),
	}
	for i := range m.partitions {
		m.partitions[i].generation = 1
	}
	for _, user := range m.users {
		sqltest.NoError(t, store.Users.Remember(t.Context(), user))
	}
	return m
}

func (m *modelLog) append(event domain.Event) {
	c := event.Body.Conversation()
	i := int(c.Low()+c.High()) % len(m.partitions)
	p := &m.partitions[i]
	p.all = append(p.all, modelRecord{
		at: domain.Place{Generation: p.generation, Partition: i, Offset: p.end}, event: event,
	})
	p.end++
	if m.random.IntN(10) == 0 {
		p.end++ // offsets have holes
	}
}

func (m *modelLog) user() domain.UserID { return m.users[m.random.IntN(len(m.users))] }

// step does one thing of those that happen to a log and its history.
func (m *modelLog) step() {
	m.clock = m.clock.Add(time.Duration(m.random.IntN(3)) * time.Millisecond)
	switch n := m.random.IntN(100); {
	case n < 34:
		m.say()
	case n < 37:
		m.forge()
	case n < 40:
		m.mark()
	case n < 47 && len(m.sent) > 0:
		again := m.sent[m.random.IntN(len(m.sent))]
		again.Time = m.clock
		m.append(again)
	case n < 60:
		m.block()
	case n < 66 && len(m.changes) > 0 && !m.gaps:
		m.append(m.changes[m.random.IntN(len(m.changes))])
	case n < 86:
		some := m.random.Perm(len(m.partitions))[:1+m.random.IntN(len(m.partitions))]
		m.project(1+m.random.IntN(6), some...)
	case n < 90:
		m.expireLog(m.random.IntN(len(m.partitions)))
	case n < 95:
		m.rebuild(m.random.IntN(len(m.partitions)))
	case n < 97:
		m.makeAnew(m.random.IntN(len(m.partitions)))
	case n < 99:
		m.erase()
	}
}

func (m *modelLog) say() {
	event := domain.Event{ID: sqltest.NewEventID(), Time: m.clock}
	text, err := domain.NewText("hello")
	sqltest.NoError(m.t, err)
	switch m.random.IntN(8) {
	case 0:
		event.Body = domain.GameInvite{From: m.user(), To: m.user(), Status: domain.InviteCancelled}
	case 1:
		event.Body = domain.SystemMessage{To: m.user(), Text: text}
	default:
		event.Body = domain.ChatMessage{From: m.user(), To: m.user(), Text: text}
	}
	m.append(event)
	m.sent = append(m.sent, event)
}

// block changes a pair, or publishes what was left unpublished before.
func (m *modelLog) block() {
	blocker, target := m.user(), m.user()
	if blocker == target {
		return
	}
	sqltest.Set(m.t, m.store.Blocks, sqltest.Change(blocker, target, m.random.IntN(2) == 0))
	if m.random.IntN(4) > 0 {
		m.publish(blocker, target)
	}
}

// forge has somebody write a change of a block into the log: also one with the version that the pair will have next, which
// must never be taken for the one that comes then.
func (m *modelLog) forge() {
	blocker, target := m.user(), m.user()
	if blocker == target {
		return
	}
	version := 1<<62 + m.random.Int64N(1<<60)
	if m.random.IntN(2) == 0 {
		entries, err := m.store.Blocks.Blocks(m.t.Context(), blocker)
		sqltest.NoError(m.t, err)
		version = 1
		for _, entry := range entries {
			if entry.Target == target {
				version = entry.Version + 1
			}
		}
	}
	event := domain.Event{ID: sqltest.NewEventID(), Time: m.clock, Body: domain.BlockChanged{
		Blocker: blocker, Target: target, Blocked: version%2 == 1, Version: version,
	}}
	m.append(event)
	i := int(blocker+target) % len(m.partitions)
	all := m.partitions[i].all
	all[len(all)-1].forged = true
}

func (m *modelLog) publish(blocker, target domain.UserID) {
	events, err := m.store.Blocks.PendingOf(m.t.Context(), blocker, target)
	sqltest.NoError(m.t, err)
	for _, event := range events {
		m.append(event)
		m.changes = append(m.changes, event)
		sqltest.NoError(m.t, m.store.Blocks.MarkPublished(m.t.Context(), []domain.EventID{event.ID}))
	}
}

// projection returns how far a partition is projected.
func (m *modelLog) projection(partition int) history.Projection {
	all, err := m.store.Projections.Projections(m.t.Context())
	sqltest.NoError(m.t, err)
	for _, p := range all {
		if p.Next.Partition == partition {
			return p
		}
	}
	return history.Projection{Next: domain.Place{Partition: partition}, Last: -1}
}

// locate does what a projector does before it reads: it goes on where the projection is, or from the start of what the
// log has, with what is known of the blocks there.
func (m *modelLog) locate(partition int) history.Projection {
	from, p := m.projection(partition), &m.partitions[partition]
	to := history.Projection{Last: -1, Next: domain.Place{
		Generation: p.generation, Partition: partition, Offset: p.start,
	}}
	if !from.Next.Before(to.Next) {
		return from
	}
	stored, err := m.store.Projections.StoredBlocks(m.t.Context())
	sqltest.NoError(m.t, err)
	stored = slices.DeleteFunc(stored, func(b blocks.Stored) bool {
		return int(b.Blocker+b.Target)%len(m.partitions) != partition
	})
	logged := make(map[blocks.Pair]map[int64]struct{})
	for _, r := range p.all {
		if c, ok := r.event.Body.(domain.BlockChanged); ok && !r.at.Before(to.Next) {
			pair := blocks.Pair{Blocker: c.Blocker, Target: c.Target}
			if logged[pair] == nil {
				logged[pair] = make(map[int64]struct{})
			}
			logged[pair][c.Version] = struct{}{}
		}
	}
	sqltest.NoError(m.t, m.store.Projections.MoveProjection(m.t.Context(), from, to, blocks.StatesAt(stored, logged)))
	return to
}

// project carries out up to n records of each of some partitions; sometimes two projectors try at once.
func (m *modelLog) project(n int, partitions ...int) {
	var batches []history.ProjectionBatch
	for _, partition := range partitions {
		if batch := m.batch(partition, n); len(batch.Events) > 0 {
			batches = append(batches, batch)
		}
	}
	if len(batches) == 0 {
		return
	}
	if m.random.IntN(5) > 0 {
		sqltest.NoError(m.t, m.store.Projections.Project(m.t.Context(), batches...))
		return
	}
	var outcomes [2]error
	sqltest.AtOnce(2, func(i int) { outcomes[i] = m.store.Projections.Project(m.t.Context(), batches...) })
	if (outcomes[0] == nil) == (outcomes[1] == nil) || !errors.Is(errors.Join(outcomes[:]...), history.ErrProjectionMoved) {
		m.t.Fatalf("two projectors at once: %v, %v", outcomes[0], outcomes[1])
	}
}

// batch returns up to n records of a partition that are next.
func (m *modelLog) batch(partition, n int) history.ProjectionBatch {
	from := m.locate(partition)
	batch := history.ProjectionBatch{From: from, To: from}
	all := m.partitions[partition].all
	for i := range all {
		r := &all[i]
		if r.at.Before(from.Next) || len(batch.Events) == n {
			continue
		}
		r.projected = true
		event := history.ProjectedEvent{Offset: r.at.Offset, Event: r.event}
		if _, hidden := r.event.Body.(domain.BlockChanged); !hidden {
			event.Frame = sqltest.Frame(r.event)
		}
		batch.Events = append(batch.Events, event)
		batch.To.Next.Offset, batch.To.Last = r.at.Offset+1, r.at.Offset
		batch.To.Fingerprint = history.RecordFingerprint(r.event.ID)
	}
	return batch
}

// expireLog moves the start of a log, up to what is projected or, with gaps, beyond it.
func (m *modelLog) expireLog(partition int) {
	p := &m.partitions[partition]
	limit := p.end
	if !m.gaps {
		limit = 0
		if at := m.projection(partition).Next; at.Generation == p.generation {
			limit = at.Offset
		}
	}
	if limit > p.start {
		p.start += m.random.Int64N(limit-p.start) + 1
	}
}

func (m *modelLog) rebuild(partition int) {
	from := m.projection(partition)
	p := &m.partitions[partition]
	if from.Next.Generation != p.generation || from.Next.Offset < p.start {
		return
	}
	to := history.Projection{Last: -1, Next: from.Next}
	to.Next.Offset = p.start
	sqltest.NoError(m.t, m.store.Projections.MoveProjection(m.t.Context(), from, to, nil))
}

// makeAnew deletes the topic and makes it again: without gaps, once it is projected.
func (m *modelLog) makeAnew(partition int) {
	p := &m.partitions[partition]
	if !m.gaps {
		m.project(1<<20, partition)
	}
	p.generation++
	p.start, p.end = 0, 0
}

func (m *modelLog) erase() {
	user := m.user()
	ends := make([]int64, len(m.partitions))
	places := make([]domain.Place, len(m.partitions))
	for i := range m.partitions {
		m.locate(i)
		p := &m.partitions[i]
		ends[i] = p.end
		places[i] = domain.Place{Generation: p.generation, Partition: i, Offset: p.end}
	}
	projected, err := m.store.Projections.Projected(m.t.Context(), len(m.partitions))
	sqltest.NoError(m.t, err)
	unblocked, known, err := m.store.Eraser.EraseUser(m.t.Context(), application.Erasure{
		User: user, At: m.clock, Ends: ends, Projected: projected,
	})
	sqltest.NoError(m.t, err)
	if !known {
		m.t.Fatalf("user %d is not known", user)
	}
	m.erased[user] = places
	maps.DeleteFunc(m.marks, func(c conversationOf, _ domain.Place) bool {
		return c.owner == user || c.partner == user
	})
	for _, target := range unblocked {
		m.publish(user, target)
	}
	sqltest.NoError(m.t, m.store.Users.Remember(m.t.Context(), user))
}

// mark has a user read a conversation up to something that it sees there, or to its end. It is read from the database what
// that is, because the model knows only what is projected in the end.
func (m *modelLog) mark() {
	c := conversationOf{m.user(), m.user()}
	if m.random.IntN(4) == 0 {
		c.partner = domain.System
	}
	page, _, err := m.store.History.Messages(m.t.Context(), c.owner, c.partner, nil, history.PageBounds{Entries: 8, Bytes: 1 << 20})
	sqltest.NoError(m.t, err)
	if len(page) == 0 {
		return
	}
	entry, id := page[0], (*domain.EventID)(nil)
	if m.random.IntN(2) == 0 {
		entry = page[m.random.IntN(len(page))]
		id = &entry.ID
	}
	known, err := m.store.ReadMarks.MarkRead(m.t.Context(), c.owner, c.partner, id)
	sqltest.NoError(m.t, err)
	if !known {
		m.t.Fatalf("%d does not know what it sees of its conversation with %d", c.owner, c.partner)
	}
	if at := m.marks[c]; at.Before(entry.Place) {
		m.marks[c] = entry.Place
	}
}

// wantKept compares the unread counts that are kept with the messages, whatever is projected by now.
func (m *modelLog) wantKept() {
	m.t.Helper()
	wantUnreadKept(m.t, m.store)
}

// rows returns the history by the book.
func (m *modelLog) rows() []sqltest.Row {
	var rows []sqltest.Row
	for _, p := range m.partitions {
		versions := make(map[blocks.Pair]int64)
		blocked := make(map[blocks.Pair]bool)
		seen := make(map[string]bool)
		for _, r := range p.all {
			if c, ok := r.event.Body.(domain.BlockChanged); ok {
				pair := blocks.Pair{Blocker: c.Blocker, Target: c.Target}
				if c.Version > versions[pair] && !r.forged {
					versions[pair], blocked[pair] = c.Version, c.Blocked
				}
				continue
			}
			row := sqltest.Row{
				At: r.at, ID: r.event.ID, Low: r.event.Body.Conversation().Low(), High: r.event.Body.Conversation().High(),
				Sender: r.event.Body.Actor(), LowSees: true, HighSees: true,
				Milliseconds: r.event.Time.UnixMilli(), Frame: string(sqltest.Frame(r.event)),
			}
			recipient := row.Low + row.High - row.Sender
			switch r.event.Body.(type) {
			case domain.ChatMessage:
				row.Kind, row.Addressee = history.EntryChat, recipient
			case domain.GameInvite:
				row.Kind = history.EntryInvite
			case domain.SystemMessage:
				row.Kind, row.Addressee = history.EntrySystem, recipient
			}
			if blocked[blocks.Pair{Blocker: recipient, Target: row.Sender}] {
				row.LowSees, row.HighSees, row.Addressee = recipient != row.Low, recipient != row.High, 0
			}
			if row.Low == row.High {
				row.LowSees, row.HighSees, row.Addressee = true, true, 0
			}
			name := fmt.Sprint(row.Low, row.High, row.ID)
			if !r.projected || seen[name] || m.erasedAt(row) {
				continue
			}
			seen[name] = true
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, sqltest.CompareRows)
	return rows
}

func (m *modelLog) erasedAt(row sqltest.Row) bool {
	for _, user := range []domain.UserID{row.Low, row.High} {
		if places := m.erased[user]; places != nil && row.At.Before(places[row.At.Partition]) {
			return true
		}
	}
	return false
}

// wantModel compares the database with the model, row by row, once everything is projected; and what is read of it.
func (m *modelLog) wantModel() {
	m.t.Helper()
	for i := range m.partitions {
		m.project(1<<20, i)
	}
	want, got := m.rows(), sqltest.StoredRows(m.t, m.store.db)
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			m.t.Fatalf("entry %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
	if len(want) != len(got) {
		m.t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for _, owner := range m.users {
		m.wantReader(owner, want)
	}
	m.wantKept()
}

// wantReader compares what owner reads, page by page, and its list of conversations with the rows.
func (m *modelLog) wantReader(owner domain.UserID, rows []sqltest.Row) {
	m.t.Helper()
	seen := make(map[domain.UserID][]sqltest.Row)
	unread := make(map[domain.UserID]int)
	for _, row := range rows {
		if row.Low != owner && row.High != owner || row.Low == owner && !row.LowSees || row.High == owner && !row.HighSees {
			continue
		}
		partner := row.Low + row.High - owner
		seen[partner] = append(seen[partner], row)
		if row.Addressee == owner && m.marks[conversationOf{owner, partner}].Before(row.At) {
			unread[partner]++
		}
	}
	for _, partner := range append([]domain.UserID{domain.System}, m.users...) {
		want := seen[partner]
		slices.SortFunc(want, func(a, b sqltest.Row) int { return sqltest.CompareRows(b, a) })
		var got []domain.EventID
		var before *domain.EventID
		for limit := 1 + m.random.IntN(4); ; {
			page, more, err := m.store.History.Messages(m.t.Context(), owner, partner, before,
				history.PageBounds{Entries: limit, Bytes: 1 + m.random.IntN(4*len(sqltest.Frame(domain.Event{})))})
			sqltest.NoError(m.t, err)
			for _, entry := range page {
				got = append(got, entry.ID)
			}
			if !more {
				break
			}
			before = &page[len(page)-1].ID
		}
		if !slices.EqualFunc(got, want, func(id domain.EventID, row sqltest.Row) bool { return id == row.ID }) {
			m.t.Fatalf("user %d reads of its conversation with %d\n%v, want\n%v", owner, partner, got, want)
		}
	}
	var got []history.ConversationSummary
	var cursor *history.ConversationCursor
	for {
		page, more, err := m.store.History.Conversations(m.t.Context(), owner, cursor,
			history.PageBounds{Entries: 2, Bytes: 1 + m.random.IntN(4*len(sqltest.Frame(domain.Event{})))})
		sqltest.NoError(m.t, err)
		got = append(got, page...)
		if !more {
			break
		}
		cursor = new(history.ConversationCursor)
		*cursor = page[len(page)-1].Cursor()
	}
	partners := slices.SortedFunc(maps.Keys(seen), func(a, b domain.UserID) int {
		return cmp.Or(cmp.Compare(seen[b][0].Milliseconds, seen[a][0].Milliseconds), cmp.Compare(b, a))
	})
	if !slices.EqualFunc(got, partners, func(s history.ConversationSummary, partner domain.UserID) bool {
		return s.Partner == partner && s.Last.ID == seen[partner][0].ID && s.Unread == unread[partner]
	}) {
		m.t.Fatalf("user %d has the conversations\n%+v, want\n%v %v", owner, got, partners, unread)
	}
}
