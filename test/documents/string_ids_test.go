package documents

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestEveryAnswerWithStringIDsIsAsItsDocumentSays(t *testing.T) {
	r := openDocument(t, stringIDs)
	one := "Authorization: Bearer " + r.server.token(1)
	ann, _ := r.server.login(1)
	_, _ = r.server.login(2)
	if err := ann.WriteMessage(1, []byte(`{"target_id":2,"message":"x"}`)); err != nil {
		t.Fatal(err)
	}
	var said struct{ ID string }
	if err := json.Unmarshal(r.server.next(ann), &said); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`PUT /api/chatting/conversations/2/read/?string_ids=true {"message_id":"` + said.ID + `"}`,
		`GET /api/chatting/messages/?target_id=2&string_ids=true`,
		`GET /api/chatting/conversations/?string_ids=true`,
		`GET /api/chatting/is-online/?id=2&string_ids=true`,
		`GET /api/chatting/friends/?string_ids=true`,
		`GET /api/chatting/blockedusers/?string_ids=true`,
		`GET /api/chatting/blockedusers?target_id=2&string_ids=true`,
	} {
		r.ask(200, line, one)
	}
	for _, list := range []string{"friends", "blockedusers"} {
		r.ask(201, fmt.Sprintf(`POST /api/chatting/%s/?string_ids=true {"target_id":"2"}`, list), one)
		r.ask(200, fmt.Sprintf("GET /api/chatting/%s/?string_ids=true", list), one)
		r.ask(400, fmt.Sprintf(`POST /api/chatting/%s/?string_ids=true {"target_id":"x"}`, list), one)
		r.ask(200, fmt.Sprintf("DELETE /api/chatting/%s/?target_id=2&string_ids=true", list), one)
	}
}
