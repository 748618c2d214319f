package history_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/history"
	"chatting/domain"
	"chatting/test/porttest"
)

// toldHistory is the history of a log of chat messages in memory, as far as it is projected: Reader and ReadMarks
// for a user who blocks nobody.
type toldHistory struct {
	*porttest.Projection
	readUpTo map[domain.UserID]int   // by partner: how many of the conversation's entries
	hidden   map[domain.EventID]bool // what the partner does not see
	asked    func()                  // called after the history was read, where set
}

// reading returns the history of a log of one partition, and who reads it.
func reading() (*history.ReadHistory, *toldHistory) {
	told := &toldHistory{Projection: porttest.NewProjection(porttest.NewConversations(1)), readUpTo: map[domain.UserID]int{}}
	return history.NewReadHistory(told, told, told.Followed(), told.Log), told
}

// chat appends a message and returns its id.
func (h *toldHistory) chat(t *testing.T, from, to domain.UserID, text string) domain.EventID {
	t.Helper()
	id := domain.DerivedID("test", text)
	h.Log.Append(domain.Event{ID: id, Time: porttest.SomeTime, Body: domain.ChatMessage{From: from, To: to, Text: porttest.Words(t, text)}}, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	return id
}

// stop leaves the history where it is, resume lets it follow the log again.
func (h *toldHistory) stop() {
	h.Mu.Lock()
	defer h.Mu.Unlock()
	h.Behind[0] = int64(len(h.Log.All(0)))
}

func (h *toldHistory) resume() {
	h.Mu.Lock()
	defer h.Mu.Unlock()
	delete(h.Behind, 0)
}

// conversation returns what is projected of a conversation, oldest first.
func (h *toldHistory) conversation(owner, partner domain.UserID) (entries []history.Entry) {
	h.Mu.Lock()
	defer h.Mu.Unlock()
	p := h.Log.PartitionOf(domain.Between(owner, partner))
	events := h.Log.All(p)
	if behind, ok := h.Behind[p]; ok {
		events = events[:behind]
	}
	for _, event := range events {
		if _, isMark := event.Body.(domain.ReadMark); !isMark && event.Body.Conversation() == domain.Between(owner, partner) {
			entries = append(entries, history.Entry{ID: event.ID, Sender: event.Body.Actor(), At: event.Time})
		}
	}
	return entries
}

func placeIn(entries []history.Entry, id domain.EventID) int {
	return slices.IndexFunc(entries, func(e history.Entry) bool { return e.ID == id })
}

func (h *toldHistory) Messages(
	_ context.Context, owner, partner domain.UserID, before *domain.EventID, bounds history.PageBounds,
) (page []history.Entry, more bool, err error) {
	if h.asked != nil {
		defer h.asked()
	}
	entries := h.conversation(owner, partner)
	if before != nil {
		entries = entries[:max(placeIn(entries, *before), 0)]
	}
	slices.Reverse(entries)
	n := min(bounds.Entries, len(entries))
	return entries[:n], n < len(entries), nil
}

func (h *toldHistory) MessagesAfter(
	_ context.Context, owner, partner domain.UserID, after domain.EventID, bounds history.PageBounds,
) (page []history.Entry, more bool, err error) {
	if h.asked != nil {
		defer h.asked()
	}
	entries := h.conversation(owner, partner)
	at := placeIn(entries, after)
	if at < 0 {
		return nil, false, nil
	}
	entries = entries[at+1:]
	n := min(bounds.Entries, len(entries))
	return entries[:n], n < len(entries), nil
}

func (h *toldHistory) Conversations(
	_ context.Context, owner domain.UserID, before *history.ConversationCursor, bounds history.PageBounds,
) (list []history.ConversationSummary, more bool, err error) {
	for partner := domain.UserID(9); partner > 0; partner-- { // all at one time: the higher partner first
		entries := h.conversation(owner, partner)
		if len(entries) == 0 || before != nil && partner >= before.Partner {
			continue
		}
		if more = len(list) == bounds.Entries; !more {
			list = append(list, history.ConversationSummary{Partner: partner, Last: entries[len(entries)-1]})
		}
	}
	return list, more, nil
}

// atMost bounds a page by its entries alone.
func atMost(entries int) history.PageBounds {
	return history.PageBounds{Entries: entries, Bytes: 1 << 20}
}

func (h *toldHistory) Sees(_ context.Context, owner, partner domain.UserID, id domain.EventID) (bool, error) {
	return placeIn(h.conversation(owner, partner), id) >= 0, nil
}

func (h *toldHistory) FindMark(
	_ context.Context, owner, partner domain.UserID, message *domain.EventID,
) (mark history.FoundMark, known bool, err error) {
	entries := h.conversation(owner, partner)
	at := len(entries) - 1
	if message != nil {
		if at = placeIn(entries, *message); at < 0 {
			return mark, false, nil
		}
	}
	h.Mu.Lock()
	defer h.Mu.Unlock()
	if at < h.readUpTo[partner] {
		return mark, true, nil
	}
	id := entries[at].ID
	return history.FoundMark{Message: id, Moves: true, Unread: len(entries) - at - 1, PartnerSees: !h.hidden[id]}, true, nil
}

func (h *toldHistory) MarkRead(_ context.Context, owner, partner domain.UserID, message *domain.EventID) (bool, error) {
	entries := h.conversation(owner, partner)
	at := len(entries) - 1
	if message != nil {
		if at = placeIn(entries, *message); at < 0 {
			return false, nil
		}
	}
	h.Mu.Lock()
	defer h.Mu.Unlock()
	h.readUpTo[partner] = max(h.readUpTo[partner], at+1)
	return true, nil
}

func (h *toldHistory) Unread(_ context.Context, owner, partner domain.UserID) (int, error) {
	entries := h.conversation(owner, partner)
	h.Mu.Lock()
	defer h.Mu.Unlock()
	return len(entries) - h.readUpTo[partner], nil
}

// idsOf returns the ids of a page, and that of its next.
func idsOf(page history.Page) (ids []domain.EventID) {
	for _, entry := range page.Entries {
		ids = append(ids, entry.ID)
	}
	if page.Next != nil {
		ids = append(ids, *page.Next)
	}
	return ids
}

func TestPagesOfAConversationAreOneAfterTheOther(t *testing.T) {
	read, told := reading()
	a, b, c, d := told.chat(t, 1, 2, "a"), told.chat(t, 2, 1, "b"), told.chat(t, 1, 2, "c"), told.chat(t, 2, 1, "d")
	told.chat(t, 1, 3, "to another")
	for _, row := range []struct {
		before *domain.EventID
		limit  int
		want   []domain.EventID // the page's, and its next
	}{
		{nil, 5, []domain.EventID{d, c, b, a}},
		{nil, 4, []domain.EventID{d, c, b, a}},
		{nil, 3, []domain.EventID{d, c, b, b}},
		{&b, 1, []domain.EventID{a}},
		{&c, 1, []domain.EventID{b, b}},
		{&a, 1, nil},
	} {
		page, err := read.Messages(t.Context(), 1, 2, row.before, atMost(row.limit))
		if got := idsOf(page); err != nil || !slices.Equal(got, row.want) {
			t.Errorf("%d before %v: %v, %v", row.limit, row.before, got, err)
		}
	}
}

func TestPagesOfConversationsAreOneAfterTheOther(t *testing.T) {
	read, told := reading()
	for partner := range domain.UserID(3) {
		told.chat(t, 1, partner+2, "to "+partner.String())
	}
	var partners []domain.UserID
	var before *history.ConversationCursor
	for range 3 {
		page, err := read.Conversations(t.Context(), 1, before, atMost(1))
		if err != nil || len(page.Conversations) != 1 {
			t.Fatalf("%v, %v", page, err)
		}
		partners = append(partners, page.Conversations[0].Partner)
		before = page.Next
	}
	if !slices.Equal(partners, []domain.UserID{4, 3, 2}) || before != nil {
		t.Errorf("%v, then %v", partners, before)
	}
}

// A client scrolls back from the oldest message that it has, which it may have got this moment.
func TestAPageBehindAMessageThatIsOnItsWayToTheHistoryWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := reading()
		a := told.chat(t, 1, 2, "a")
		told.stop()
		b := told.chat(t, 2, 1, "b")
		pages := make(chan history.Page, 1)
		go func() {
			page, err := read.Messages(t.Context(), 1, 2, &b, atMost(10))
			if err != nil {
				t.Error(err)
			}
			pages <- page
		}()
		time.Sleep(time.Second)
		if len(pages) > 0 {
			t.Fatalf("answered with %v before the history had it", <-pages)
		}
		told.resume()
		if page := <-pages; !slices.Equal(idsOf(page), []domain.EventID{a}) {
			t.Errorf("%v", page)
		}
	})
}

func TestAMessageIsMarkedAsReadOnceTheHistoryHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := reading()
		told.chat(t, 2, 1, "a")
		told.stop()
		b := told.chat(t, 2, 1, "b")
		told.chat(t, 2, 1, "c")
		go func() {
			time.Sleep(time.Second)
			told.resume()
		}()
		if unread, err := read.MarkRead(t.Context(), 1, 2, &b); err != nil || unread != 1 {
			t.Errorf("%d, %v", unread, err)
		}
		synctest.Wait()
	})
}

func TestWhatNobodySaidIsNotWaitedForByAHistoryThatHasTheWholeLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := reading()
		told.chat(t, 2, 1, "a")
		never, start := domain.DerivedID("test", "never"), time.Now()
		page, err := read.Messages(t.Context(), 1, 2, &never, atMost(10))
		if err != nil || idsOf(page) != nil {
			t.Errorf("%v, %v", page, err)
		}
		_, err = read.MarkRead(t.Context(), 1, 2, &never)
		porttest.WantCode(t, "the mark", err, domain.CodeUnknownMessage)
		if took := time.Since(start); took != 0 {
			t.Errorf("answered after %v", took)
		}
	})
}

// An empty page would say that the conversation begins here.
func TestAHistoryThatStaysBehindTheLogSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := reading()
		told.stop()
		a, start := told.chat(t, 2, 1, "a"), time.Now()
		_, err := read.Messages(t.Context(), 1, 2, &a, atMost(10))
		porttest.WantCode(t, "the page", err, domain.CodeUnavailable)
		_, err = read.MarkRead(t.Context(), 1, 2, &a)
		porttest.WantCode(t, "the mark", err, domain.CodeUnavailable)
		if took := time.Since(start); took != 4500*time.Millisecond {
			t.Errorf("the two were answered after %v", took)
		}
	})
}

func TestTheBeginningOfAConversationIsKnownWhileTheHistoryIsBehind(t *testing.T) {
	read, told := reading()
	a := told.chat(t, 1, 2, "a")
	told.stop()
	told.chat(t, 1, 2, "b")
	page, err := read.Messages(t.Context(), 1, 2, &a, atMost(10))
	if err != nil || idsOf(page) != nil {
		t.Errorf("%v, %v", page, err)
	}
}

func TestAPageBehindAMessageThatComesWhileItIsAskedForIsNotEmpty(t *testing.T) {
	read, told := reading()
	a := told.chat(t, 1, 2, "a")
	told.stop()
	b := told.chat(t, 2, 1, "b")
	told.asked = told.resume
	page, err := read.Messages(t.Context(), 1, 2, &b, atMost(10))
	if err != nil || !slices.Equal(idsOf(page), []domain.EventID{a}) {
		t.Errorf("%v, %v", page, err)
	}
}

func TestAMarkMovesToTheNewestAndNeverBack(t *testing.T) {
	read, told := reading()
	a := told.chat(t, 2, 1, "a")
	told.chat(t, 2, 1, "b")
	for _, message := range []*domain.EventID{nil, &a} {
		if unread, err := read.MarkRead(t.Context(), 1, 2, message); err != nil || unread != 0 {
			t.Errorf("%d, %v", unread, err)
		}
	}
}

// countedHistory counts the questions, and fails some.
type countedHistory struct {
	*toldHistory
	messages, marks       int
	ofMessages, ofSees    error
	ofMark, ofListOfChats error
}

func (h *countedHistory) Messages(
	ctx context.Context, owner, partner domain.UserID, before *domain.EventID, bounds history.PageBounds,
) ([]history.Entry, bool, error) {
	if h.messages++; h.ofMessages != nil {
		return nil, false, h.ofMessages
	}
	return h.toldHistory.Messages(ctx, owner, partner, before, bounds)
}

func (h *countedHistory) Sees(ctx context.Context, owner, partner domain.UserID, id domain.EventID) (bool, error) {
	if h.ofSees != nil {
		return false, h.ofSees
	}
	return h.toldHistory.Sees(ctx, owner, partner, id)
}

func (h *countedHistory) FindMark(
	ctx context.Context, owner, partner domain.UserID, message *domain.EventID,
) (history.FoundMark, bool, error) {
	if h.marks++; h.ofMark != nil {
		return history.FoundMark{}, false, h.ofMark
	}
	return h.toldHistory.FindMark(ctx, owner, partner, message)
}

func (h *countedHistory) Conversations(
	ctx context.Context, owner domain.UserID, before *history.ConversationCursor, bounds history.PageBounds,
) ([]history.ConversationSummary, bool, error) {
	list, more, err := h.toldHistory.Conversations(ctx, owner, before, bounds)
	return list, more, porttest.CmpErr(h.ofListOfChats, err)
}

func readingCounted() (*history.ReadHistory, *countedHistory) {
	_, told := reading()
	counted := &countedHistory{toldHistory: told}
	return history.NewReadHistory(counted, counted, told.Followed(), told.Log), counted
}

func TestTheHistoryIsAskedTwiceOnlyForWhatItMayNotHaveYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read, told := readingCounted()
		page, err := read.Messages(t.Context(), 1, 2, nil, atMost(10))
		if err != nil || len(page.Entries) != 0 || page.Next != nil || told.messages != 1 {
			t.Errorf("of a conversation without messages: %v, %v, after %d questions", page, err, told.messages)
		}
		told.chat(t, 1, 2, "a")
		b := told.chat(t, 1, 2, "b")
		told.stop()
		told.chat(t, 1, 2, "c") // what is not asked for is not waited for
		began := time.Now()
		told.messages = 0
		if page, err := read.Messages(t.Context(), 1, 2, &b, atMost(10)); err != nil || len(page.Entries) != 1 || told.messages != 1 {
			t.Errorf("behind a message: %v, %v, after %d questions", page, err, told.messages)
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it was waited for %v", waited)
		}
		if unread, err := read.MarkRead(t.Context(), 1, 2, &b); err != nil || unread != 0 || told.marks != 1 {
			t.Errorf("a mark: %d, %v, after %d questions", unread, err, told.marks)
		}
	})
}

func TestAHistoryThatDoesNotAnswerIsNotAskedAgain(t *testing.T) {
	read, told := readingCounted()
	a := told.chat(t, 1, 2, "a")
	never := domain.DerivedID("test", "never")
	told.ofSees = porttest.ErrRefused
	_, err := read.Messages(t.Context(), 1, 2, &never, atMost(10))
	if porttest.WantCode(t, "whether it is seen", err, domain.CodeUnavailable); told.messages != 1 {
		t.Errorf("%d questions", told.messages)
	}
	told.messages, told.ofSees, told.ofMessages = 0, nil, porttest.ErrRefused
	_, err = read.Messages(t.Context(), 1, 2, &a, atMost(10))
	if porttest.WantCode(t, "a page", err, domain.CodeUnavailable); told.messages != 1 {
		t.Errorf("%d questions", told.messages)
	}
	told.ofMark = porttest.ErrRefused
	_, err = read.MarkRead(t.Context(), 1, 2, &a)
	if porttest.WantCode(t, "a mark", err, domain.CodeUnavailable); told.marks != 1 {
		t.Errorf("%d marks", told.marks)
	}
	told.ofListOfChats = porttest.ErrRefused
	page, err := read.Conversations(t.Context(), 1, nil, atMost(10))
	if porttest.WantCode(t, "the conversations", err, domain.CodeUnavailable); page.Conversations != nil {
		t.Errorf("%v", page)
	}
}
