-- How many entries of a conversation its owner has not read is kept, not counted when somebody asks. SQLite has the same
-- under the same name.

-- +goose Up

-- While the messages of an old history are counted, which takes some seconds for a million, nobody changes the history or
-- a mark: the projection waits, and clients read. Only then is the table changed, which shuts out readers for as long as it
-- takes to write one row for each conversation.
LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE conversation_marks IN SHARE ROW EXCLUSIVE MODE;

CREATE TABLE unread_counted AS
SELECT m.addressee AS owner, m.sender AS partner, COUNT(*) AS unread FROM messages AS m
LEFT JOIN conversation_marks AS mark ON mark.owner = m.addressee AND mark.partner = m.sender
WHERE m.addressee IS NOT NULL
    AND (m.generation, m.log_offset) > (COALESCE(mark.generation, 0), COALESCE(mark.log_offset, 0))
GROUP BY m.addressee, m.sender;

-- unread is the number of messages addressed to owner by partner behind the mark. A row whose generation is 0 has no mark:
-- it stands for a conversation of which nothing was read.
ALTER TABLE conversation_marks ADD COLUMN unread BIGINT NOT NULL DEFAULT 0;

INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
SELECT owner, partner, 0, 0, unread FROM unread_counted
ON CONFLICT (owner, partner) DO UPDATE SET unread = excluded.unread;

DROP TABLE unread_counted;

-- Triggers keep the number, whatever changes the history: the projection, a rebuild, retention, an erasure, and a node of
-- the previous version that serves beside newer ones. So no statement can forget it.
--
-- Each first locks the rows that it is about to change, and reads the marks after that. Otherwise a mark that moves
-- meanwhile could take the same message off twice.

-- +goose StatementBegin
CREATE FUNCTION count_added_unread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM added WHERE addressee IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    PERFORM 1 FROM conversation_marks
    WHERE (owner, partner) IN (SELECT addressee, sender FROM added WHERE addressee IS NOT NULL)
    ORDER BY owner, partner FOR UPDATE;

    INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
    SELECT added.addressee, added.sender, 0, 0, COUNT(*) FROM added
    LEFT JOIN conversation_marks AS mark ON mark.owner = added.addressee AND mark.partner = added.sender
    WHERE added.addressee IS NOT NULL
        AND (added.generation, added.log_offset) > (COALESCE(mark.generation, 0), COALESCE(mark.log_offset, 0))
    GROUP BY added.addressee, added.sender
    ORDER BY added.addressee, added.sender
    ON CONFLICT (owner, partner) DO UPDATE SET unread = conversation_marks.unread + excluded.unread;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION count_removed_unread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM removed WHERE addressee IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    PERFORM 1 FROM conversation_marks
    WHERE (owner, partner) IN (SELECT addressee, sender FROM removed WHERE addressee IS NOT NULL)
    ORDER BY owner, partner FOR UPDATE;

    UPDATE conversation_marks AS mark SET unread = mark.unread - gone.unread FROM (
        SELECT removed.addressee, removed.sender, COUNT(*) AS unread FROM removed
        JOIN conversation_marks AS passed ON passed.owner = removed.addressee AND passed.partner = removed.sender
            AND (removed.generation, removed.log_offset) > (passed.generation, passed.log_offset)
        GROUP BY removed.addressee, removed.sender) AS gone
    WHERE mark.owner = gone.addressee AND mark.partner = gone.sender;

    DELETE FROM conversation_marks
    WHERE (owner, partner) IN (SELECT addressee, sender FROM removed WHERE addressee IS NOT NULL)
        AND generation = 0 AND unread = 0;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- A mark moves forward only, so what it passes is counted once in a message's life.
-- +goose StatementBegin
CREATE FUNCTION count_passed_unread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.unread := OLD.unread - (
        SELECT COUNT(*) FROM messages WHERE addressee = OLD.owner AND sender = OLD.partner
            AND (generation, log_offset) > (OLD.generation, OLD.log_offset)
            AND (generation, log_offset) <= (NEW.generation, NEW.log_offset));
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- Without its mark a conversation is unread as a whole.
-- +goose StatementBegin
CREATE FUNCTION count_unmarked_unread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO conversation_marks (owner, partner, generation, log_offset, unread)
    SELECT OLD.owner, OLD.partner, 0, 0, COUNT(*) FROM messages WHERE addressee = OLD.owner AND sender = OLD.partner
    HAVING COUNT(*) > 0;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER messages_unread_added AFTER INSERT ON messages REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added_unread();
CREATE TRIGGER messages_unread_removed AFTER DELETE ON messages REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed_unread();
-- In the order of their names: a changed message leaves its old place first.
CREATE TRIGGER messages_unread_changed_from AFTER UPDATE ON messages REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION count_removed_unread();
CREATE TRIGGER messages_unread_changed_to AFTER UPDATE ON messages REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_added_unread();
CREATE TRIGGER conversation_marks_moved BEFORE UPDATE OF generation, log_offset ON conversation_marks
    FOR EACH ROW EXECUTE FUNCTION count_passed_unread();
CREATE TRIGGER conversation_marks_deleted AFTER DELETE ON conversation_marks
    FOR EACH ROW WHEN (OLD.generation > 0 OR OLD.unread > 0) EXECUTE FUNCTION count_unmarked_unread();
