-- Read marks end with what they are about: their events when they are older than history.retention, the marks themselves with
-- the last message of their conversation.

-- +goose Up

CREATE INDEX read_mark_events_occurred_at ON read_mark_events (occurred_at);

-- Earlier releases kept them for ever.
DELETE FROM conversation_marks WHERE unread = 0 AND NOT EXISTS (
    SELECT 1 FROM messages
    WHERE low = CASE WHEN owner < partner THEN owner ELSE partner END
        AND high = CASE WHEN owner < partner THEN partner ELSE owner END);
