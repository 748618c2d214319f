package sqltest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"chatting/adapters/sqlstore/conversations"
	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
)

// Story projects what is said, one event after the other, into partition 0.
type Story struct {
	// At is where the next event will stand.
	At history.Projection

	t           testing.TB
	projections *conversations.Projections
	blocks      Blocks
}

// NewStory begins a story in an empty history.
func NewStory(t testing.TB, p *conversations.Projections, b Blocks) *Story {
	return &Story{At: history.Projection{Last: -1}, t: t, projections: p, blocks: b}
}

// Tell projects an event and returns its id.
func (y *Story) Tell(body domain.Body) domain.EventID {
	y.t.Helper()
	return y.TellAt(body, Time)
}

// TellAt projects an event that happened at a time.
func (y *Story) TellAt(body domain.Body, at time.Time) domain.EventID {
	y.t.Helper()
	event := domain.Event{ID: NewEventID(), Time: at, Body: body}
	y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event, Frame: Frame(event)})
	return event.ID
}

// TellPending projects what the outbox holds of a pair.
func (y *Story) TellPending(blocker, target domain.UserID) {
	y.t.Helper()
	events, err := y.blocks.PendingOf(y.t.Context(), blocker, target)
	NoError(y.t, err)
	for _, event := range events {
		y.Project(history.ProjectedEvent{Offset: y.At.Next.Offset, Event: event})
		NoError(y.t, y.blocks.MarkPublished(y.t.Context(), []domain.EventID{event.ID}))
	}
}

// Project projects events in one batch.
func (y *Story) Project(events ...history.ProjectedEvent) {
	y.t.Helper()
	to := y.At
	if to.Next.Generation == 0 {
		to.Next.Generation = 1
		NoError(y.t, y.projections.MoveProjection(y.t.Context(), y.At, to, nil))
		y.At = to
	}
	to.Next.Offset += int64(len(events))
	NoError(y.t, y.projections.Project(y.t.Context(), history.ProjectionBatch{From: y.At, To: to, Events: events}))
	y.At = to
}

// Chat is a message.
func Chat(from, to domain.UserID) domain.ChatMessage {
	text, err := domain.NewText("hello")
	if err != nil {
		panic(err)
	}
	return domain.ChatMessage{From: from, To: to, Text: text}
}

// Frame is the frame of an event in these tests.
func Frame(event domain.Event) []byte {
	return fmt.Appendf(nil, `{"id":%q,"quote":"\\\"{}'"}`, event.ID)
}

// WantUnread demands how many messages of partner the owner has not read.
func WantUnread(t testing.TB, marks *conversations.ReadMarks, owner, partner domain.UserID, want int) {
	t.Helper()
	got, err := marks.Unread(t.Context(), owner, partner)
	NoError(t, err)
	if got != want {
		t.Fatalf("%d has %d unread of %d, want %d", owner, got, partner, want)
	}
}

// MarkRead moves a read mark, and demands whether its message is known.
func MarkRead(t testing.TB, marks *conversations.ReadMarks, owner, partner domain.UserID, id *domain.EventID, wantKnown bool) {
	t.Helper()
	known, err := marks.MarkRead(t.Context(), owner, partner, id)
	NoError(t, err)
	if known != wantKnown {
		t.Fatalf("the message of the mark is known: %t, want %t", known, wantKnown)
	}
}

// Row is an entry of the history.
type Row struct {
	At           domain.Place
	ID           domain.EventID
	Low, High    domain.UserID
	Sender       domain.UserID
	Addressee    domain.UserID
	Kind         history.EntryKind
	LowSees      bool
	HighSees     bool
	Milliseconds int64
	Frame        string
}

// CompareRows orders rows by their places in the log.
func CompareRows(a, b Row) int {
	return cmp.Or(cmp.Compare(a.At.Partition, b.At.Partition), cmp.Compare(a.At.Generation, b.At.Generation),
		cmp.Compare(a.At.Offset, b.At.Offset))
}

// StoredRows returns what the database has.
func StoredRows(t testing.TB, db *database.DB) []Row {
	t.Helper()
	found, err := db.Reader.QueryContext(t.Context(), `
		SELECT log_partition, generation, log_offset, event_id, low, high, sender, COALESCE(addressee, 0), kind,
			visible_low, visible_high, occurred_at, frame FROM messages`)
	NoError(t, err)
	defer found.Close()
	var rows []Row
	for found.Next() {
		var row Row
		var id []byte
		NoError(t, found.Scan(&row.At.Partition, &row.At.Generation, &row.At.Offset, &id, &row.Low, &row.High, &row.Sender,
			&row.Addressee, &row.Kind, &row.LowSees, &row.HighSees, &row.Milliseconds, &row.Frame))
		row.ID = domain.EventID(id)
		rows = append(rows, row)
	}
	NoError(t, found.Err())
	slices.SortFunc(rows, CompareRows)
	return rows
}

// PageOfBytes is more than the pages of most tests have.
const PageOfBytes = 1 << 20

// AtMost bounds a page by entries: it has room for the bytes of any page of these tests.
func AtMost(entries int) history.PageBounds {
	return history.PageBounds{Entries: entries, Bytes: PageOfBytes}
}

// Erasure is a wish to forget a user whose log ends at an offset of partition 0.
func Erasure(t testing.TB, p *conversations.Projections, user domain.UserID, end int64) application.Erasure {
	t.Helper()
	projected, err := p.Projected(t.Context(), 1)
	NoError(t, err)
	return application.Erasure{User: user, At: Time, Ends: []int64{end}, Projected: projected}
}

// Eraser erases users.
type Eraser interface {
	EraseUser(context.Context, application.Erasure) (unblocked []domain.UserID, known bool, err error)
}

// Erase erases a user whose log ends at an offset of partition 0.
func Erase(
	t testing.TB, e Eraser, p *conversations.Projections, user domain.UserID, end int64,
) (unblocked []domain.UserID, known bool) {
	t.Helper()
	unblocked, known, err := e.EraseUser(t.Context(), Erasure(t, p, user, end))
	NoError(t, err)
	return unblocked, known
}
