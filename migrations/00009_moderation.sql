-- +goose Up

-- The newest version of the acts on each user. Its row is locked while an act is added.
CREATE TABLE moderated_users (
    user_id BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL
);

-- What the platform did to users. ends_at is until when the act counts: its own end, or when another one replaced it; the greatest
-- integer for without end. until is the end that was asked for, null for none. published tells that the log has the act.
CREATE TABLE moderation_acts (
    user_id    BIGINT  NOT NULL,
    version    BIGINT  NOT NULL,
    event_id   TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL,
    sort       TEXT    NOT NULL,
    until_at   BIGINT,
    reason     TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    asked_at   BIGINT  NOT NULL,
    ends_at    BIGINT  NOT NULL,
    published  BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, version)
);

CREATE INDEX moderation_acts_ends_at ON moderation_acts (ends_at);
CREATE INDEX moderation_acts_pending ON moderation_acts (asked_at) WHERE NOT published;

-- Where the acts stand in the log: each in every partition, at its first place there.
CREATE TABLE moderation_places (
    user_id       BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    log_partition BIGINT NOT NULL,
    generation    BIGINT NOT NULL,
    log_offset    BIGINT NOT NULL,
    PRIMARY KEY (user_id, version, log_partition)
);
