package conversations_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/conversations"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/domain"
	"chatting/test/sqltest"
)

// historyScale is how many messages the history of these tests has: a million with CHATTING_TEST_SCALE=full.
func historyScale() int {
	if os.Getenv("CHATTING_TEST_SCALE") == "full" {
		return 1_000_000
	}
	return 20_000
}

// A tenth is what 3 says to 4, who blocks it all the while; half is between 1 and 2; the rest is a thousand conversations.
func scaleMessage(i int) domain.ChatMessage {
	text, err := domain.NewText("this is about as long as a message in a chat is, and some are longer")
	if err != nil {
		panic(err)
	}
	switch {
	case i%10 == 0:
		return domain.ChatMessage{From: 3, To: 4, Text: text}
	case i%2 == 0:
		return domain.ChatMessage{From: 1, To: 2, Text: text}
	default:
		return domain.ChatMessage{From: domain.UserID(1000 + i%2000), To: domain.UserID(5000 + i%2000), Text: text}
	}
}

func scaleEvent(i int) history.ProjectedEvent {
	message := scaleMessage(i)
	event := domain.Event{
		ID: domain.DerivedID("scale", fmt.Sprint(i)), Time: sqltest.Time.Add(time.Duration(i) * time.Millisecond), Body: message,
	}
	frame := fmt.Appendf(nil, `{"type":"chat_message","message":%q,"from_id":%d,"to_id":%d,"time":"2026-03-04T05:06:07.089Z","id":%q}`,
		message.Text, message.From, message.To, event.ID)
	return history.ProjectedEvent{Offset: int64(i), Event: event, Frame: frame}
}

// projectScale projects so many messages, in batches as the projector makes them, and tells how long that took.
func projectScale(tb testing.TB, s *store, n int) time.Duration {
	tb.Helper()
	at := history.Projection{Last: -1}
	step := func(events []history.ProjectedEvent, next int64) time.Duration {
		to := at
		to.Next.Generation, to.Next.Offset = 1, next
		if at.Next.Generation == 0 {
			if err := s.Projections.MoveProjection(tb.Context(), at, to, []blocks.State{
				{Pair: blocks.Pair{Blocker: 4, Target: 3}, Blocked: true, Version: 1},
			}); err != nil {
				tb.Fatal(err)
			}
			at = to
			return 0
		}
		began := time.Now()
		if err := s.Projections.Project(tb.Context(), history.ProjectionBatch{From: at, To: to, Events: events}); err != nil {
			tb.Fatal(err)
		}
		at = to
		return time.Since(began)
	}
	var took time.Duration
	step(nil, 0)
	for first := 0; first < n; first += 1000 {
		var events []history.ProjectedEvent
		for i := first; i < min(first+1000, n); i++ {
			events = append(events, scaleEvent(i))
		}
		took += step(events, int64(first+len(events)))
	}
	return took
}

// copyBare copies the rows that are in messages into a table of the same form by COPY, in one transaction, and tells how
// long that took.
func copyBare(t *testing.T, s *store) time.Duration {
	t.Helper()
	columns := strings.FieldsFunc(conversations.EntryColumns, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
	query := "SELECT " + conversations.EntryColumns + " FROM messages ORDER BY log_partition, log_offset"
	rows, err := s.db.Reader.QueryxContext(t.Context(), query) //nolint:sqlclosecheck // it is closed below
	sqltest.NoError(t, err)
	defer rows.Close()
	var all [][]any
	for rows.Next() {
		row, err := rows.SliceScan()
		sqltest.NoError(t, err)
		all = append(all, row)
	}
	sqltest.NoError(t, rows.Err())
	s.db.Writer.MustExecContext(t.Context(), "CREATE TABLE bare (LIKE messages INCLUDING ALL)")
	tx, err := s.db.Writer.BeginTxx(t.Context(), nil)
	sqltest.NoError(t, err)
	began := time.Now()
	statement, err := tx.PrepareContext(t.Context(), `COPY "bare" (`+strings.Join(columns, ", ")+") FROM STDIN")
	sqltest.NoError(t, err)
	defer statement.Close()
	for _, row := range all {
		_, err := statement.ExecContext(t.Context(), row...)
		sqltest.NoError(t, err)
	}
	_, err = statement.ExecContext(t.Context())
	sqltest.NoError(t, err)
	sqltest.NoError(t, statement.Close())
	sqltest.NoError(t, tx.Commit())
	return time.Since(began)
}

func TestPagesDeepInAHistoryCostWhatTheFirstDoes(t *testing.T) {
	sqltest.RequirePostgres(t)
	s := newPostgresDatabase(t).migrated(t, func(o *sqlstore.Options) { o.Timeout = 10 * time.Minute })
	n := historyScale()
	projected := projectScale(t, s, n)
	t.Logf("%d messages projected in %s: %.0f/s", n, projected, float64(n)/projected.Seconds())
	copied := copyBare(t, s)
	t.Logf("COPY of the same rows into a table of the same form took %s: %.0f/s; projecting comes to %.2f of that",
		copied, float64(n)/copied.Seconds(), copied.Seconds()/projected.Seconds())
	s.db.Writer.MustExecContext(t.Context(), "VACUUM ANALYZE messages")
	var table, indexes int
	sqltest.NoError(t, s.db.Reader.QueryRowContext(t.Context(), "SELECT pg_table_size('messages'), pg_indexes_size('messages')").Scan(&table, &indexes))
	t.Logf("a message takes %d bytes, and %d in indexes", table/n, indexes/n)

	deep := idAt(t, s, 1, 2)
	first, last := pages(t, s, 1, 2, nil), pages(t, s, 1, 2, &deep)
	t.Logf("first page %s, a page deep inside %s: ratio %.2f", first, last, float64(last)/float64(first))
	hidden := pages(t, s, 4, 3, nil)
	t.Logf("the first page of a conversation of which all %d messages are hidden: %s", n/10, hidden)

	for name, row := range map[string]struct {
		query     string
		arguments []any
	}{
		"first page":                   {conversations.NewestOfLow.Bounded, []any{1, 2, 50, sqltest.PageOfBytes}},
		"page deep inside":             {conversations.EarlierOfLow.Bounded, []any{1, 2, deep[:], 50, sqltest.PageOfBytes}},
		"first page, all of it hidden": {conversations.NewestOfHigh.Bounded, []any{4, 3, 50, sqltest.PageOfBytes}},
		"conversations":                {conversations.ConversationsPage.Bounded, []any{1, int64(1 << 62), int64(1 << 62), 50, sqltest.PageOfBytes}},
		"conversations, half of the history unread": {
			conversations.ConversationsPage.Bounded, []any{2, int64(1 << 62), int64(1 << 62), 50, sqltest.PageOfBytes},
		},
		"conversations, all but hidden": {conversations.ConversationsPage.Bounded, []any{4, int64(1 << 62), int64(1 << 62), 50, sqltest.PageOfBytes}},
	} {
		plan := explain(t, s, row.query, row.arguments...)
		blocks := blocksOf(t, plan)
		t.Logf("%s: %d blocks", name, blocks)
		if strings.Contains(plan, "Seq Scan on messages") || blocks > 200 {
			t.Errorf("%s, %d blocks:\n%s", name, blocks, plan)
		}
	}
	conversations, _, err := s.History.Conversations(t.Context(), 1, nil, sqltest.AtMost(50))
	sqltest.NoError(t, err)
	if len(conversations) != 1 || conversations[0].Partner != 2 {
		t.Errorf("conversations %+v", conversations)
	}
	unread, err := s.ReadMarks.Unread(t.Context(), 2, 1)
	sqltest.NoError(t, err)
	if unread != history.MaxUnread {
		t.Errorf("%d unread", unread)
	}
}

// pages returns the median time of a page.
func pages(t *testing.T, s *store, owner, partner domain.UserID, before *domain.EventID) time.Duration {
	t.Helper()
	var took []time.Duration
	for range 101 {
		began := time.Now()
		_, _, err := s.History.Messages(t.Context(), owner, partner, before, sqltest.AtMost(50))
		took = append(took, time.Since(began))
		sqltest.NoError(t, err)
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// idAt returns the id of an entry deep inside a conversation.
func idAt(t *testing.T, s *store, low, high domain.UserID) domain.EventID {
	t.Helper()
	var id []byte
	sqltest.NoError(t, s.db.Reader.GetContext(t.Context(), &id,
		"SELECT event_id FROM messages WHERE low = $1 AND high = $2 AND log_offset > $3 ORDER BY log_offset LIMIT 1",
		int64(low), int64(high), historyScale()/10))
	return domain.EventID(id)
}

// blocksOf returns how many blocks a plan has touched.
func blocksOf(t *testing.T, plan string) (blocks int) {
	t.Helper()
	_, rest, found := strings.Cut(plan, "Buffers: shared ")
	if !found {
		t.Fatalf("no blocks in\n%s", plan)
	}
	line, _, _ := strings.Cut(rest, "\n")
	for field := range strings.FieldsSeq(line) {
		if _, number, is := strings.Cut(field, "="); is {
			n, err := strconv.Atoi(number)
			sqltest.NoError(t, err)
			blocks += n
		}
	}
	return blocks
}

func explain(t *testing.T, s *store, query string, arguments ...any) string {
	t.Helper()
	var plan []string
	// Twice: the first one reads what is not in memory.
	for range 2 {
		plan = nil
		sqltest.NoError(t, sqlx.SelectContext(t.Context(), s.db.Reader, &plan, "EXPLAIN (ANALYZE, BUFFERS) "+query, arguments...))
	}
	return strings.Join(plan, "\n")
}
