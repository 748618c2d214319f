-- How many entries of a conversation its owner has not read is kept, not counted when somebody asks. PostgreSQL has the
-- same under the same name.

-- +goose Up

-- unread is the number of messages addressed to owner by partner behind the mark. A row whose generation is 0 has no mark:
-- it stands for a conversation of which nothing was read.
ALTER TABLE conversation_marks ADD COLUMN unread BIGINT NOT NULL DEFAULT 0;

INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
SELECT m.addressee, m.sender, 0, 0, COUNT(*) FROM messages AS m
LEFT JOIN conversation_marks AS mark ON mark.owner = m.addressee AND mark.partner = m.sender
WHERE m.addressee IS NOT NULL
    AND (m.generation, m.log_offset) > (COALESCE(mark.generation, 0), COALESCE(mark.log_offset, 0))
GROUP BY m.addressee, m.sender
ON CONFLICT (owner, partner) DO UPDATE SET unread = excluded.unread;

-- Triggers keep the number, whatever changes the history: the projection, a rebuild, retention, an erasure. So no statement
-- can forget it.

-- +goose StatementBegin
CREATE TRIGGER messages_unread_added AFTER INSERT ON messages WHEN NEW.addressee IS NOT NULL BEGIN
    INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
    VALUES (NEW.addressee, NEW.sender, 0, 0, 1)
    ON CONFLICT (owner, partner) DO UPDATE SET unread = conversation_marks.unread + 1
        WHERE (conversation_marks.generation, conversation_marks.log_offset) < (NEW.generation, NEW.log_offset);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER messages_unread_removed AFTER DELETE ON messages WHEN OLD.addressee IS NOT NULL BEGIN
    UPDATE conversation_marks SET unread = unread - 1
    WHERE owner = OLD.addressee AND partner = OLD.sender AND (generation, log_offset) < (OLD.generation, OLD.log_offset);
    DELETE FROM conversation_marks
    WHERE owner = OLD.addressee AND partner = OLD.sender AND generation = 0 AND unread = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER messages_unread_changed AFTER UPDATE OF addressee, sender, generation, log_offset ON messages BEGIN
    UPDATE conversation_marks SET unread = unread - 1
    WHERE owner = OLD.addressee AND partner = OLD.sender AND (generation, log_offset) < (OLD.generation, OLD.log_offset);
    INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
    SELECT NEW.addressee, NEW.sender, 0, 0, 1 WHERE NEW.addressee IS NOT NULL
    ON CONFLICT (owner, partner) DO UPDATE SET unread = conversation_marks.unread + 1
        WHERE (conversation_marks.generation, conversation_marks.log_offset) < (NEW.generation, NEW.log_offset);
    DELETE FROM conversation_marks
    WHERE owner = OLD.addressee AND partner = OLD.sender AND generation = 0 AND unread = 0;
END;
-- +goose StatementEnd

-- A mark moves forward only, so what it passes is counted once in a message's life.
-- +goose StatementBegin
CREATE TRIGGER conversation_marks_moved AFTER UPDATE OF generation, log_offset ON conversation_marks BEGIN
    UPDATE conversation_marks SET unread = OLD.unread - (
        SELECT COUNT(*) FROM messages WHERE addressee = OLD.owner AND sender = OLD.partner
            AND (messages.generation, messages.log_offset) > (OLD.generation, OLD.log_offset)
            AND (messages.generation, messages.log_offset) <= (NEW.generation, NEW.log_offset))
    WHERE owner = NEW.owner AND partner = NEW.partner;
END;
-- +goose StatementEnd

-- Without its mark a conversation is unread as a whole.
-- +goose StatementBegin
CREATE TRIGGER conversation_marks_deleted AFTER DELETE ON conversation_marks WHEN OLD.generation > 0 OR OLD.unread > 0 BEGIN
    INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
    SELECT OLD.owner, OLD.partner, 0, 0, COUNT(*) FROM messages WHERE addressee = OLD.owner AND sender = OLD.partner
    HAVING COUNT(*) > 0;
END;
-- +goose StatementEnd
