-- What moderators ask for.

-- +goose Up

-- What a user did lately, and how much of each kind. While the index of an old history is made, which takes about a second for a
-- million entries, the projection waits, and clients read.
CREATE INDEX messages_sender ON messages (sender, occurred_at, event_id, kind);

-- By whom a user is blocked.
CREATE INDEX blocks_target ON blocks (target) WHERE blocked;

-- How many acts of a sort count, or did lately.
CREATE INDEX moderation_acts_sort ON moderation_acts (sort, ends_at);
