-- +goose Up

-- The one log that the database belongs to: the prefix of its topics and the id of its Kafka cluster, '' where the brokers
-- tell none. The places in the log that other tables keep are places in this log alone. database_id is random: by it nodes
-- on one log know whether they share a database.
CREATE TABLE installation (
    one_row      SMALLINT NOT NULL PRIMARY KEY CHECK (one_row = 1),
    topic_prefix TEXT     NOT NULL,
    cluster_id   TEXT     NOT NULL,
    database_id  TEXT     NOT NULL,
    recorded_at  BIGINT   NOT NULL
);

-- One row, which every running server counts up all the time: chatting adopt sees by it that one runs.
CREATE TABLE server_beats (
    one_row SMALLINT NOT NULL PRIMARY KEY CHECK (one_row = 1),
    beats   BIGINT   NOT NULL
);
