-- Only the database gives out versions of blocks. event_id is the event of the change to event_version: another record of
-- that version was written by somebody else. A server of an earlier version sets neither.

-- +goose Up

ALTER TABLE blocks ADD COLUMN event_id TEXT;
ALTER TABLE blocks ADD COLUMN event_version BIGINT;

-- Earlier versions of the server believed the log alone. What was hidden or shown for that reason, a rebuild of the history
-- judges again.
DELETE FROM block_changes
WHERE version < 1 OR blocked <> (version % 2 = 1) OR version > COALESCE((
    SELECT blocks.version FROM blocks
    WHERE blocks.blocker = block_changes.blocker AND blocks.target = block_changes.target), 0);
