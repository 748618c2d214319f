-- All times are milliseconds since 1970-01-01T00:00:00Z, as the wire and the log show them. User ids take the whole range
-- of a 64-bit integer. BYTEA, which SQLite does not know as a type, keeps blobs unchanged there.

-- +goose Up

-- Who was ever seen.
CREATE TABLE users (
    id         BIGINT PRIMARY KEY,
    first_seen BIGINT NOT NULL
);

-- Who keeps what from whom. An unblocked pair keeps its row and its version, so that versions of a pair never repeat.
CREATE TABLE blocks (
    blocker    BIGINT  NOT NULL,
    target     BIGINT  NOT NULL,
    blocked    BOOLEAN NOT NULL,
    version    BIGINT  NOT NULL CHECK (version > 0),
    changed_at BIGINT  NOT NULL,
    PRIMARY KEY (blocker, target)
);

-- Changes of blocks that are not known to be in the log. The second key gives the order of publishing.
CREATE TABLE outbox (
    event_id    TEXT    NOT NULL PRIMARY KEY,
    blocker     BIGINT  NOT NULL,
    target      BIGINT  NOT NULL,
    blocked     BOOLEAN NOT NULL,
    version     BIGINT  NOT NULL,
    occurred_at BIGINT  NOT NULL,
    UNIQUE (blocker, target, version)
);

-- The row of a list is locked while the list changes; length counts the list's rows in friends.
CREATE TABLE friend_lists (
    user_id BIGINT NOT NULL PRIMARY KEY,
    length  BIGINT NOT NULL CHECK (length >= 0)
);

CREATE TABLE friends (
    user_id   BIGINT NOT NULL,
    friend_id BIGINT NOT NULL,
    added_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, friend_id)
);

-- Idempotency keys of requests, as SHA-256. status and body are those of the response, and null while there is none.
CREATE TABLE idempotency_keys (
    key_hash    BYTEA  NOT NULL PRIMARY KEY,
    fingerprint BYTEA  NOT NULL,
    started_at  BIGINT NOT NULL,
    status      BIGINT,
    body        BYTEA
);

CREATE INDEX idempotency_keys_started_at ON idempotency_keys (started_at);

-- How many partitions a topic had when it was first used: another number would move keys to other partitions.
CREATE TABLE topic_partitions (
    topic       TEXT   NOT NULL PRIMARY KEY,
    partitions  BIGINT NOT NULL CHECK (partitions > 0),
    recorded_at BIGINT NOT NULL
);
