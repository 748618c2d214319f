package sqlstore

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"
	"golang.org/x/sync/semaphore"

	"chatting/application"
)

// A page is bounded by bytes, and what does not fit into it must not be loaded: a hundred of the longest messages are
// 38 MiB. SQLite hands rows over one by one, so it is enough to stop. PostgreSQL sends all rows of an answer, read or not,
// so its statements add the lengths up (which it does without loading the frames) and leave out the rest.

// pageStatements are the statements that read pages, as a dialect needs them.
type pageStatements struct {
	newestOfLow, newestOfHigh, earlierOfLow, earlierOfHigh, conversations pageStatement
}

// pageStatement is a statement whose last parameters are how many rows it looks at and, if it is bounded, how many bytes.
type pageStatement struct {
	text    string
	bounded bool
}

// plainPages are for a database that hands rows over one by one.
func plainPages() pageStatements {
	return pageStatements{
		newestOfLow: pageStatement{text: newestOfLow}, newestOfHigh: pageStatement{text: newestOfHigh},
		earlierOfLow: pageStatement{text: earlierOfLow}, earlierOfHigh: pageStatement{text: earlierOfHigh},
		conversations: pageStatement{text: selectConversations},
	}
}

// boundedPages leave out the rows that follow the first one by which a page ends: the frames up to that one come to more
// bytes than the last parameter, or it is the second.
func boundedPages() pageStatements {
	const (
		ofMessages      = "generation DESC, log_offset DESC"
		ofConversations = "occurred_at DESC, partner DESC"
	)
	bounded := func(query, columns, order string, parameter int) pageStatement {
		return pageStatement{bounded: true, text: fmt.Sprintf(`
			SELECT %[2]s FROM (
				SELECT page.*, ROW_NUMBER() OVER so_far AS place, SUM(octet_length(frame)) OVER so_far - octet_length(frame) AS ahead
				FROM (%[1]s) AS page WINDOW so_far AS (ORDER BY %[3]s ROWS UNBOUNDED PRECEDING)) AS measured
			WHERE ahead <= $%[4]d OR place <= 2 ORDER BY %[3]s`, query, columns, order, parameter)}
	}
	return pageStatements{
		newestOfLow:   bounded(newestOfLow, messageColumns, ofMessages, 4),
		newestOfHigh:  bounded(newestOfHigh, messageColumns, ofMessages, 4),
		earlierOfLow:  bounded(earlierOfLow, messageColumns, ofMessages, 5),
		earlierOfHigh: bounded(earlierOfHigh, messageColumns, ofMessages, 5),
		conversations: bounded(selectConversations, "partner, unread, "+messageColumns, ofConversations, 5),
	}
}

// size returns the bytes of the row that count.
func (r messageRow) size() int { return len(r.Frame) }

// readPage reads the rows of a page. The arguments are those of the statement's first parameters.
func readPage[R interface{ size() int }](
	ctx context.Context, db *sqlx.DB, statement pageStatement, bounds application.PageBounds, arguments ...any,
) (page []R, more bool, err error) {
	arguments = append(arguments, bounds.Entries+1)
	if statement.bounded {
		arguments = append(arguments, bounds.Bytes)
	}
	rows, err := db.QueryxContext(ctx, statement.text, arguments...)
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	bytes := 0
	for rows.Next() {
		var row R
		if err := rows.StructScan(&row); err != nil {
			return nil, false, err
		}
		if len(page) == bounds.Entries || len(page) > 0 && bytes+row.size() > bounds.Bytes {
			return page, true, nil
		}
		page, bytes = append(page, row), bytes+row.size()
	}
	return page, false, rows.Err()
}

// historyShare says how many connections questions about the history may have at once: half, so that the others are there
// for logins, blocks and the projection, however many users scroll back.
func historyShare(maxOpen int) *semaphore.Weighted {
	return semaphore.NewWeighted(int64(max(1, maxOpen/2)))
}

// readHistory is read for what users ask about the history. It waits for one of the connections that may be used for that,
// as long as the store's timeout lets it.
func (s *Store) readHistory(ctx context.Context, op string, f func(context.Context, *sqlx.DB) error) error {
	return s.inHistoryShare(ctx, op, func(ctx context.Context) error { return s.read(ctx, op, f) })
}

// writeHistory is write for what users change of the history.
func (s *Store) writeHistory(ctx context.Context, op string, f func(context.Context, *sqlx.Tx) error) error {
	return s.inHistoryShare(ctx, op, func(ctx context.Context) error { return s.write(ctx, op, f) })
}

func (s *Store) inHistoryShare(ctx context.Context, op string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.history.Acquire(ctx, 1); err != nil {
		return s.classify(ctx, op, err)
	}
	defer s.history.Release(1)
	return f(ctx)
}
