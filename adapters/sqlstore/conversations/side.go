package conversations

import (
	"fmt"
	"strconv"
	"strings"

	"chatting/domain"
)

// side has the statements about the conversations in which a user is the lower or the higher one. The two sides differ in nothing
// but the names of columns, so that each has an index that fits. The user is $1, the partner $2.
type side struct {
	// newest, earlier and later read pages: of what the owner sees, or sees before the entry $3, or, oldest first, behind it.
	newest, earlier, later pageStatement
	// place finds the place of the entry $3, if the owner sees it; newestPlace that of the newest one that it sees.
	place, newestPlace string
	// mark and newestMark find what a read mark is to know of the entry $3, or of the newest one: see markedRow.
	mark, newestMark string
	// stored counts what the sender $3 has said from the place ($4, $5) on, up to $6 messages. Messages that are hidden from the
	// owner count as well, so it reads both halves of the index.
	stored string
	// erase deletes up to $2 entries that are before what erasures has of the user.
	erase string
}

var ofLow, ofHigh = sideOf("low", "high"), sideOf("high", "low")

// sideFor returns the side of owner in its conversation with partner.
func sideFor(owner, partner domain.UserID) *side {
	if owner <= partner {
		return ofLow
	}
	return ofHigh
}

const (
	messageColumns = `event_id, generation, log_partition, log_offset, sender, occurred_at, frame`
	newestFirst    = `generation DESC, log_offset DESC`
	oldestFirst    = `generation, log_offset`
)

// sideOf returns the statements of a side, whose columns are named.
func sideOf(owner, partner string) *side {
	named := strings.NewReplacer("OWNER", owner, "PARTNER", partner).Replace
	const (
		seen   = `FROM messages WHERE OWNER = $1 AND visible_OWNER = TRUE AND PARTNER = $2`
		entry  = `FROM messages WHERE OWNER = $1 AND PARTNER = $2 AND event_id = $3 AND visible_OWNER = TRUE`
		stored = `SELECT frame FROM (
			SELECT frame FROM messages
			WHERE OWNER = $1 AND visible_OWNER = VISIBLE AND PARTNER = $2
				AND (generation, log_offset) >= ($4, $5) AND sender = $3 AND kind = 1
			ORDER BY generation, log_offset LIMIT $6) AS half_VISIBLE`
		// The + 0 makes the place that is looked up a value without a column's type: SQLite takes both halves of it into the
		// index only then.
		placeOfEntry = `((SELECT generation + 0 ` + entry + `), (SELECT log_offset + 0 ` + entry + `))`
		beforeEntry  = ` AND (generation, log_offset) < ` + placeOfEntry
		behindEntry  = ` AND (generation, log_offset) > ` + placeOfEntry
	)
	page := func(condition, order string, parameters int) pageStatement {
		query := `SELECT ` + messageColumns + ` ` + condition + ` ORDER BY ` + order + ` LIMIT $` + strconv.Itoa(parameters)
		return newPage(named(query), messageColumns, order, parameters)
	}
	return &side{
		newest: page(seen, newestFirst, 3), earlier: page(seen+beforeEntry, newestFirst, 4), later: page(seen+behindEntry, oldestFirst, 4),
		place:       named(`SELECT generation, log_offset ` + entry),
		newestPlace: named(`SELECT generation, log_offset ` + seen + ` ORDER BY ` + newestFirst + ` LIMIT 1`),
		mark:        named(`SELECT event_id, generation, log_offset, visible_PARTNER AS visible_partner ` + entry),
		newestMark: named(`SELECT event_id, generation, log_offset, visible_PARTNER AS visible_partner ` + seen +
			` ORDER BY ` + newestFirst + ` LIMIT 1`),
		stored: named(`SELECT COUNT(*) AS messages, COALESCE(SUM(octet_length(frame)), 0) AS bytes FROM (
			` + strings.ReplaceAll(stored, "VISIBLE", "TRUE") + ` UNION ALL ` + strings.ReplaceAll(stored, "VISIBLE", "FALSE") + `) AS stored`),
		erase: named(`
			DELETE FROM messages WHERE (low, high, event_id) IN (
				SELECT low, high, event_id FROM messages
				JOIN erasures ON erasures.user_id = $1 AND erasures.log_partition = messages.log_partition
				WHERE OWNER = $1 AND (messages.generation, log_offset) < (erasures.generation, until_offset) LIMIT $2)`),
	}
}

// pageStatement reads a page of the history, in either form. A page is bounded by bytes, and what does not fit into it must not
// be loaded: a hundred of the longest messages are 38 MiB. SQLite hands rows over one by one, so it is enough to stop. PostgreSQL
// sends all rows of an answer, read or not, so its form adds the lengths up (which it does without loading the frames) and leaves
// out the rest.
type pageStatement struct {
	// plain has how many rows it looks at for its last parameter, bounded has one more: how many bytes.
	plain, bounded string
}

// newPage returns the forms of a query that has so many parameters. The bounded one leaves out the rows that follow the first one
// by which a page ends: the frames up to that one come to more bytes than the last parameter, or it is the second.
func newPage(query, columns, order string, parameters int) pageStatement {
	return pageStatement{query, fmt.Sprintf(`
		SELECT %[2]s FROM (
			SELECT page.*, ROW_NUMBER() OVER so_far AS place, SUM(octet_length(frame)) OVER so_far - octet_length(frame) AS ahead
			FROM (%[1]s) AS page WINDOW so_far AS (ORDER BY %[3]s ROWS UNBOUNDED PRECEDING)) AS measured
		WHERE ahead <= $%[4]d OR place <= 2 ORDER BY %[3]s`, query, columns, order, parameters+1)}
}
