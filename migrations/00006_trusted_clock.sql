-- +goose Up

-- The time by which data is deleted for its age, in milliseconds: when the clock was last trusted, and, while it is refused
-- because it leapt, what it told last and for how long it has gone on since.
CREATE TABLE trusted_clock (
    one_row    SMALLINT NOT NULL PRIMARY KEY CHECK (one_row = 1),
    trusted_at BIGINT   NOT NULL,
    refused_at BIGINT,
    held       BIGINT   NOT NULL
);

-- A database from before this table knows from its newest message what time it was.
INSERT INTO trusted_clock (one_row, trusted_at, held)
SELECT 1, newest.occurred_at, 0 FROM (SELECT MAX(occurred_at) AS occurred_at FROM messages) AS newest
WHERE newest.occurred_at IS NOT NULL;
