package rest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/application/history"
	"chatting/domain"
)

func TestAnswersHaveIDsOfUsersAsStringsOnRequest(t *testing.T) {
	h := newHistory()
	const big = 9007199254740993 // 2^53 + 1
	text, err := domain.NewText("hi")
	if err != nil {
		t.Fatal(err)
	}
	event := domain.Event{ID: entryID(1), Time: time.UnixMilli(1), Body: domain.ChatMessage{From: big, To: 1, Text: text}}
	frame, err := wire.EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	h.list[7] = []history.Entry{{ID: entryID(1), At: time.UnixMilli(1).UTC(), Frame: frame}}
	w := newWorld(t, withHistory(h))
	for _, row := range []struct{ request, body, numbers, strings string }{
		{"POST /api/chatting/blockedusers/", `{"target_id":7}`, `{"target_id":7}`, `{"target_id":"7"}`},
		{"GET /api/chatting/blockedusers/", "", `[{"id":7}]`, `[{"id":"7"}]`},
		{"GET /api/chatting/is-online/?id=7", "", `{"id":7,"is_online":true}`, `{"id":"7","is_online":true}`},
		{"GET /api/chatting/messages/?target_id=7", "", `"from_id":9007199254740993,"to_id":1,`, `"from_id":"9007199254740993","to_id":"1",`},
		{"GET /api/chatting/conversations/?limit=1", "", `[{"id":7,`, `[{"id":"7",`},
		{"PUT /api/chatting/conversations/7/read/", "", `{"id":7,"unread":0}`, `{"id":"7","unread":0}`},
	} {
		method, path, _ := strings.Cut(row.request, " ")
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		for value, want := range map[string]string{"": row.numbers, "false": row.numbers, "true": row.strings} {
			named := path
			if value != "" {
				named += fmt.Sprint(separator, "string_ids=", value)
			}
			if got := w.call(t, method, named, row.body, asUser1, asJSON); got.status >= 300 || !strings.Contains(got.body, want) {
				t.Errorf("%s %s: %d %s, want %s", method, named, got.status, got.body, want)
			}
		}
	}
}

func TestAWishForStringsThatIsNoneIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, value := range []string{"", "1", "True", "yes", "true%20"} {
		w.call(t, "GET", blockedPath+"?string_ids="+value, "", asUser1).mustBe(t, 400, `{"string_ids":["Must be true or false."]}`)
	}
	w.call(t, "GET", blockedPath+"?string_ids=1&string_ids=true", "", asUser1).mustBe(t, 200, `[]`)
	w.call(t, "GET", blockedPath+"?string_ids=1", "").mustBe(t, 401, `{"detail":"Authorization header is required"}`)
}
