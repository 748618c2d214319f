-- What was said, as projected from the log. A place in the log is a generation (how often the topic was made anew), a
-- partition and an offset. The order of a conversation, which has one partition, is that of (generation, log_offset).

-- +goose Up

-- kind: 1 chat message, 2 invite, 3 system message. visible_low and visible_high tell whether that side of the
-- conversation sees it, by the blocks of its own place in the log. addressee is who finds it unread or undelivered: null
-- where nobody does. An event stands here once, at its first place in the log; frame is what clients got.
CREATE TABLE messages (
    low           BIGINT   NOT NULL,
    high          BIGINT   NOT NULL,
    event_id      BYTEA    NOT NULL,
    generation    BIGINT   NOT NULL,
    log_partition BIGINT   NOT NULL,
    log_offset    BIGINT   NOT NULL,
    sender        BIGINT   NOT NULL,
    addressee     BIGINT,
    kind          SMALLINT NOT NULL,
    visible_low   BOOLEAN  NOT NULL,
    visible_high  BOOLEAN  NOT NULL,
    occurred_at   BIGINT   NOT NULL,
    frame         TEXT     NOT NULL,
    PRIMARY KEY (low, high, event_id)
);

-- What one side sees of a conversation, and with whom it has one. What it does not see stands apart, so that no page has
-- to step over it.
CREATE INDEX messages_seen_by_low ON messages (low, visible_low, high, generation, log_offset);
CREATE INDEX messages_seen_by_high ON messages (high, visible_high, low, generation, log_offset);
CREATE INDEX messages_unread ON messages (addressee, sender, generation, log_offset) WHERE addressee IS NOT NULL;
CREATE INDEX messages_undelivered ON messages (addressee, log_partition, generation, log_offset) WHERE addressee IS NOT NULL;
CREATE INDEX messages_place ON messages (log_partition, generation, log_offset);
CREATE INDEX messages_occurred_at ON messages (occurred_at);

-- The changes of blocks that took effect, by their places in the log: each holds from its place to the next one of its pair.
-- Projecting a stretch of the log again finds them as they were, also where the log has lost them: nothing deletes them.
CREATE TABLE block_changes (
    blocker    BIGINT  NOT NULL,
    target     BIGINT  NOT NULL,
    generation BIGINT  NOT NULL,
    log_offset BIGINT  NOT NULL,
    version    BIGINT  NOT NULL,
    blocked    BOOLEAN NOT NULL,
    PRIMARY KEY (blocker, target, generation, log_offset)
);

-- How far each partition is projected. last_record is a fingerprint of the record at last_offset, the last one that was
-- read: by it a topic that was made anew is known. last_offset is -1 where there is none.
CREATE TABLE projections (
    log_partition BIGINT NOT NULL PRIMARY KEY,
    generation    BIGINT NOT NULL,
    next_offset   BIGINT NOT NULL,
    last_offset   BIGINT NOT NULL,
    last_record   BYTEA  NOT NULL
);

-- What the log says of a user before these places is not to be projected (again).
CREATE TABLE erasures (
    user_id       BIGINT NOT NULL,
    log_partition BIGINT NOT NULL,
    generation    BIGINT NOT NULL,
    until_offset  BIGINT NOT NULL,
    PRIMARY KEY (user_id, log_partition)
);

CREATE INDEX erasures_until ON erasures (log_partition, generation, until_offset);

-- The last entry of a conversation that its owner has read.
CREATE TABLE conversation_marks (
    owner      BIGINT NOT NULL,
    partner    BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    log_offset BIGINT NOT NULL,
    PRIMARY KEY (owner, partner)
);

CREATE INDEX conversation_marks_partner ON conversation_marks (partner);

-- Up to where everything addressed to a user was delivered: generation:offset of each partition, separated by blanks. User
-- 0 has the place where storing for offline users began.
CREATE TABLE delivered_cursors (
    user_id   BIGINT NOT NULL PRIMARY KEY,
    positions TEXT   NOT NULL
);

-- Who has a user in its list.
CREATE INDEX friends_friend_id ON friends (friend_id);
