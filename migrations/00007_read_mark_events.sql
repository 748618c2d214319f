-- +goose Up

-- The latest event of each reader's mark in a conversation, as projected from the log: a client that was away learns by it which
-- marks moved meanwhile. conversation_marks has the marks themselves. visible_partner tells whether the partner may learn of
-- it, by the blocks of its own place in the log; partner is 0 for the platform. unread is for the reader alone.
CREATE TABLE read_mark_events (
    reader          BIGINT  NOT NULL,
    partner         BIGINT  NOT NULL,
    event_id        BYTEA   NOT NULL,
    generation      BIGINT  NOT NULL,
    log_partition   BIGINT  NOT NULL,
    log_offset      BIGINT  NOT NULL,
    visible_partner BOOLEAN NOT NULL,
    unread          BIGINT  NOT NULL,
    occurred_at     BIGINT  NOT NULL,
    frame           TEXT    NOT NULL,
    PRIMARY KEY (reader, partner)
);

CREATE INDEX read_mark_events_reader ON read_mark_events (reader, log_partition, generation, log_offset);
CREATE INDEX read_mark_events_partner ON read_mark_events (partner, log_partition, generation, log_offset)
    WHERE visible_partner;
