-- Only the database gives out versions of blocks. The ids of the events of these changes are made by a secret key of the
-- database (domain.BlockEventID): another record of a version was written by somebody else. keyed_version is the newest
-- version with such an id. Servers of earlier releases gave out versions with random ids, and set neither column:
-- random_version is the newest of those before keyed_version.

-- +goose Up

CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

ALTER TABLE blocks ADD COLUMN keyed_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE blocks ADD COLUMN random_version BIGINT NOT NULL DEFAULT 0;

-- Earlier versions of the server believed the log alone. What was hidden or shown for that reason, a rebuild of the history
-- judges again.
DELETE FROM block_changes
WHERE version < 1 OR blocked <> (version % 2 = 1) OR version > COALESCE((
    SELECT blocks.version FROM blocks
    WHERE blocks.blocker = block_changes.blocker AND blocks.target = block_changes.target), 0);
