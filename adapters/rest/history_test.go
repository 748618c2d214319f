package rest

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"chatting/application"
	"chatting/application/history"
	"chatting/domain"
)

// fakeHistory is what user 1 sees: a conversation with 7, newest first, and one with the platform.
type fakeHistory struct {
	list   map[domain.UserID][]history.Entry
	unread map[domain.UserID]int
	late   int // how often FindMark does not know the message yet
	err    error
	erased []domain.UserID
	bounds atomic.Pointer[history.PageBounds] // of the page asked for last
}

func entryID(n int) domain.EventID { return domain.DerivedID("entry", fmt.Sprint(n)) }

func newHistory() *fakeHistory {
	h := &fakeHistory{list: map[domain.UserID][]history.Entry{}, unread: map[domain.UserID]int{7: 2, 0: 1}}
	for n := 3; n >= 1; n-- {
		h.list[7] = append(h.list[7], history.Entry{
			ID: entryID(n), At: time.UnixMilli(int64(n)).UTC(), Frame: fmt.Appendf(nil, `{"message":"<%d> & \u2028","id":"%s"}`, n, entryID(n)),
		})
	}
	h.list[0] = []history.Entry{{ID: entryID(9), At: time.UnixMilli(1).UTC(), Frame: []byte(`{"from":"admin"}`)}}
	return h
}

func (h *fakeHistory) Messages(_ context.Context, owner, partner domain.UserID, before *domain.EventID, bounds history.PageBounds) (page []history.Entry, more bool, err error) {
	if owner != 1 {
		return nil, false, h.err
	}
	list := h.list[partner]
	if before != nil {
		at := slices.IndexFunc(list, func(e history.Entry) bool { return e.ID == *before })
		if at < 0 {
			return nil, false, h.err
		}
		list = list[at+1:]
	}
	h.bounds.Store(&bounds)
	n := min(bounds.Entries, len(list))
	return list[:n], n < len(list), h.err
}

func (h *fakeHistory) MessagesAfter(_ context.Context, owner, partner domain.UserID, after domain.EventID, bounds history.PageBounds) (page []history.Entry, more bool, err error) {
	list := slices.Clone(h.list[partner])
	slices.Reverse(list)
	at := slices.IndexFunc(list, func(e history.Entry) bool { return e.ID == after })
	if owner != 1 || at < 0 {
		return nil, false, h.err
	}
	list = list[at+1:]
	n := min(bounds.Entries, len(list))
	return list[:n], n < len(list), h.err
}

func (h *fakeHistory) Conversations(_ context.Context, _ domain.UserID, before *history.ConversationCursor, bounds history.PageBounds) (page []history.ConversationSummary, more bool, err error) {
	var list []history.ConversationSummary
	for _, partner := range []domain.UserID{7, 0} {
		summary := history.ConversationSummary{Partner: partner, Last: h.list[partner][0], Unread: h.unread[partner]}
		if before == nil || summary.Last.At.Before(before.At) {
			list = append(list, summary)
		}
	}
	h.bounds.Store(&bounds)
	n := min(bounds.Entries, len(list))
	return list[:n], n < len(list), h.err
}

func (h *fakeHistory) Sees(_ context.Context, _, partner domain.UserID, id domain.EventID) (bool, error) {
	return slices.ContainsFunc(h.list[partner], func(e history.Entry) bool { return e.ID == id }), h.err
}

func (h *fakeHistory) FindMark(_ context.Context, _, partner domain.UserID, message *domain.EventID) (mark history.FoundMark, known bool, err error) {
	if h.late--; h.late >= 0 {
		return mark, false, h.err
	}
	if message != nil && !slices.ContainsFunc(h.list[partner], func(e history.Entry) bool { return e.ID == *message }) {
		return mark, false, h.err
	}
	return history.FoundMark{Message: h.list[partner][0].ID, Moves: true}, true, h.err
}

func (h *fakeHistory) MarkRead(_ context.Context, _, partner domain.UserID, _ *domain.EventID) (bool, error) {
	h.unread[partner] = 0
	return true, h.err
}

func (h *fakeHistory) Unread(_ context.Context, _, partner domain.UserID) (int, error) {
	return h.unread[partner], h.err
}

func (h *fakeHistory) EraseUser(_ context.Context, erasure application.Erasure) ([]domain.UserID, bool, error) {
	if h.err != nil || erasure.User != 7 || len(erasure.Ends) != 2 {
		return nil, false, h.err
	}
	h.erased = append(h.erased, erasure.User)
	return nil, true, nil
}

type ends struct{}

func (ends) EndOffsets(context.Context) ([]int64, error) { return []int64{3, 4}, nil }

// seen is how far this node has read.
type seen struct{}

func (seen) Seen() []int64                       { return []int64{3, 4} }
func (seen) PartitionOf(domain.Conversation) int { return 0 }

// projected is how far the history is: where the log ends.
type projected struct{}

func (projected) Projected(context.Context, int) ([]domain.Place, error) {
	return []domain.Place{{Generation: 1, Offset: 3}, {Generation: 1, Partition: 1, Offset: 4}}, nil
}

func withHistory(h *fakeHistory) func(*world, *Options, *Deps) {
	return func(w *world, _ *Options, d *Deps) {
		d.History = history.NewReadHistory(h, h, history.FollowedLog{Projected: projected{}, Ends: ends{}, Partitions: 2}, seen{})
		d.Platform.Erase = &application.EraseUser{
			Eraser: h, Blocks: blockStore{w}, Log: w, Sessions: sessions{w}, Ends: ends{}, Projected: projected{}, Partitions: 2,
			Now: time.Now, Logger: d.Logger,
		}
	}
}

func TestAConversationIsReadPageByPageInTheFramesThatClientsGot(t *testing.T) {
	w := newWorld(t, withHistory(newHistory()))
	const messages = "/api/chatting/messages/?target_id="
	frame := func(n int) string { return fmt.Sprintf(`{"message":"<%d> & \u2028","id":"%s"}`, n, entryID(n)) }
	w.call(t, "GET", messages+"7", "", asUser1).mustBe(t, 200, `{"messages":[`+frame(3)+`,`+frame(2)+`,`+frame(1)+`],"next":null}`)
	w.call(t, "GET", messages+"7&limit=2", "", asUser1).
		mustBe(t, 200, `{"messages":[`+frame(3)+`,`+frame(2)+`],"next":"`+entryID(2).String()+`"}`)
	w.call(t, "GET", messages+"7&limit=2&before="+entryID(2).String(), "", asUser1).mustBe(t, 200, `{"messages":[`+frame(1)+`],"next":null}`)
	w.call(t, "GET", messages+"0", "", asUser1).mustBe(t, 200, `{"messages":[{"from":"admin"}],"next":null}`)
	// What is expired, somebody else's or never was is an empty page.
	w.call(t, "GET", messages+"7&limit=1&after="+entryID(1).String(), "", asUser1).mustBe(t, 200, `{"messages":[`+frame(2)+`],"next":"`+entryID(2).String()+`"}`)
	w.call(t, "GET", messages+"7&before="+entryID(2).String()+"&after="+entryID(1).String(), "", asUser1).
		mustBe(t, 400, `{"after":["Must not be given beside before."]}`)
	w.call(t, "GET", messages+"7&before="+entryID(99).String(), "", asUser1).mustBe(t, 200, `{"messages":[],"next":null}`)
	w.call(t, "GET", messages+"8", "", asUser1).mustBe(t, 200, `{"messages":[],"next":null}`)
}

func TestWhatIsWrongWithAQuestionForTheHistoryIsSaidFieldByField(t *testing.T) {
	w := newWorld(t, withHistory(newHistory()))
	for query, want := range map[string]string{
		"":                                `{"target_id":["This field is required."]}`,
		"?target_id=":                     `{"target_id":["A valid integer is required."]}`,
		"?target_id=x":                    `{"target_id":["A valid integer is required."]}`,
		"?target_id=-1":                   `{"target_id":["해당 id가 존재하지 않습니다."]}`,
		"?target_id=99999999999999999999": `{"target_id":["해당 id가 존재하지 않습니다."]}`,
		"?target_id=7&limit=0":            `{"limit":["Must be a number from 1 to 100."]}`,
		"?target_id=7&limit=101":          `{"limit":["Must be a number from 1 to 100."]}`,
		"?target_id=7&before=7":           `{"before":["Must be a valid UUID."]}`,
		"?limit=x&before=%00":             `{"before":["Must be a valid UUID."],"limit":["Must be a number from 1 to 100."],"target_id":["This field is required."]}`,
	} {
		w.call(t, "GET", "/api/chatting/messages/"+query, "", asUser1).mustBe(t, 400, want)
	}
	for _, cursor := range []string{"", "x", "1", "1.", ".1", "1.-1", "1.1.1", "99999999999999999999.1"} {
		w.call(t, "GET", "/api/chatting/conversations/?before="+cursor, "", asUser1).
			mustBe(t, 400, `{"before":["Must be the next of an earlier page."]}`)
	}
	w.call(t, "GET", "/api/chatting/messages/?target_id=7", "").mustBe(t, 401, `{"detail":"Authorization header is required"}`)
}

func TestConversationsAreListedWithTheirLastMessageAndWhatIsUnread(t *testing.T) {
	w := newWorld(t, withHistory(newHistory()))
	const conversations = "/api/chatting/conversations/"
	of7 := `{"id":7,"last_message":{"message":"<3> & \u2028","id":"` + entryID(3).String() + `"},"time":"1970-01-01T00:00:00.003Z","unread":2}`
	of0 := `{"id":0,"last_message":{"from":"admin"},"time":"1970-01-01T00:00:00.001Z","unread":1}`
	w.call(t, "GET", conversations, "", asUser1).mustBe(t, 200, `{"conversations":[`+of7+`,`+of0+`],"next":null}`)
	w.call(t, "GET", conversations+"?limit=1", "", asUser1).mustBe(t, 200, `{"conversations":[`+of7+`],"next":"3.7"}`)
	w.call(t, "GET", conversations+"?limit=1&before=3.7", "", asUser1).mustBe(t, 200, `{"conversations":[`+of0+`],"next":null}`)
	w.call(t, "GET", conversations+"?before=1.0", "", asUser1).mustBe(t, 200, `{"conversations":[],"next":null}`)
}

func TestReadingIsMarkedUpToAMessageOrTheNewest(t *testing.T) {
	h := newHistory()
	w := newWorld(t, withHistory(h))
	const read = "/api/chatting/conversations/7/read/"
	w.call(t, "PUT", read, `{"message_id":"x"}`, asUser1, asJSON).mustBe(t, 400, `{"message_id":["Must be a valid UUID."]}`)
	w.call(t, "PUT", read, `{"message_id":[]}`, asUser1, asJSON).mustBe(t, 400, `{"message_id":["Not a valid string."]}`)
	w.call(t, "PUT", "/api/chatting/conversations/x/read/", `{}`, asUser1).
		mustBe(t, 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"Not found.","code":"not_found"}`)
	h.late = 1 // the history gets the message a moment after the client
	w.call(t, "PUT", read, `{"message_id":"`+entryID(3).String()+`"}`, asUser1, asJSON).mustBe(t, 200, `{"id":7,"unread":0}`)
	w.call(t, "PUT", "/api/chatting/conversations/0/read", "", asUser1).mustBe(t, 200, `{"id":0,"unread":0}`)
	w.call(t, "PUT", "/api/chatting/conversations/0/read/", `null`, asUser1, asJSON).mustBe(t, 200, `{"id":0,"unread":0}`)
	w.call(t, "PUT", read, `{"message_id":"`+entryID(99).String()+`"}`, asUser1, asJSON).mustBe(t, 404,
		`{"type":"about:blank","title":"Not Found","status":404,"detail":"The conversation has no such message.","code":"unknown_message"}`)
}

func TestAHistoryThatIsAwayIsToBeAskedLater(t *testing.T) {
	h := newHistory()
	h.err = domain.NewError(domain.CodeUnavailable, "The database is away.")
	w := newWorld(t, withHistory(h))
	for path, method := range map[string]string{
		"/api/chatting/messages/?target_id=7": "GET", "/api/chatting/conversations/": "GET", "/api/chatting/conversations/7/read/": "PUT",
	} {
		got := w.call(t, method, path, "", asUser1)
		got.mustBe(t, 503, `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The database is away.","code":"unavailable"}`)
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: headers are %v", method, path, got.header)
		}
	}
}

func TestWithoutAHistoryItsPathsAreUnknown(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/chatting/messages/?target_id=7", "/api/chatting/conversations/"} {
		w.call(t, "GET", path, "", asUser1).mustBe(t, 404, `{"type":"about:blank","title":"Not Found","status":404,"detail":"Not found.","code":"not_found"}`)
	}
}

func TestThePlatformErasesAUser(t *testing.T) {
	h := newHistory()
	w := newWorld(t, withHistory(h))
	const users = "/s2sapi/users/"
	w.call(t, "DELETE", users, "").mustBe(t, 400, `{"user_id":["This field is required."]}`)
	w.call(t, "DELETE", users+"?user_id=x", "").mustBe(t, 400, `{"user_id":["A valid integer is required."]}`)
	for _, never := range []string{"9", "0", "-1", "99999999999999999999"} {
		w.call(t, "DELETE", users+"?user_id="+never, "").mustBe(t, 404,
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"The user was never seen.","code":"unknown_user"}`)
	}
	w.call(t, "DELETE", users+"?user_id=7", "").mustBe(t, 200, "")
	if len(h.erased) != 1 {
		t.Errorf("erased: %v", h.erased)
	}
	if got := w.call(t, "DELETE", users+"?user_id=7", "", "X-Forwarded-For: 127.0.0.1"); got.status != 403 {
		t.Errorf("a proxy's request is answered with %d", got.status)
	}
	h.err = domain.NewError(domain.CodeUnavailable, "The database is away.")
	got := w.call(t, "DELETE", users+"?user_id=7", "")
	if got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
}
