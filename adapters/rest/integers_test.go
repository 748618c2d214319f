package rest

import (
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// TestAnIntegerIsReadAlikeWhereverItStands spells one user in every way at every place that takes an integer.
func TestAnIntegerIsReadAlikeWhereverItStands(t *testing.T) {
	w := newWorld(t, withHistory(newHistory()))
	good := []string{"7", " 7 ", "+7", "007", "7.", "7.0", " +007.00\t", "\u00a07"}
	bad := []string{"x", "7x", "7 7", "1.5", "7e0", "0.7e1", "0x7", "٧", "--7", "7_0", ".", "7.0.0"}
	nobody := []string{"-7", "-7.0", "9223372036854775808", strings.Repeat("9", 500), "-" + strings.Repeat("9", 500)}
	for place, ask := range map[string]func(text string) reply{
		"JSON": func(text string) reply {
			return w.call(t, "POST", friendsPath, `{"target_id":`+strconv.Quote(text)+`}`, asUser1, asJSON)
		},
		"form": func(text string) reply {
			return w.call(t, "POST", friendsPath, "target_id="+url.QueryEscape(text), asUser1, asForm)
		},
		"query of blocks": func(text string) reply {
			return w.call(t, "GET", blockedPath+"?target_id="+url.QueryEscape(text), "", asUser1)
		},
		"query of presence": func(text string) reply { return w.call(t, "GET", onlinePath+"?id="+url.QueryEscape(text), "", asUser1) },
		"query of messages": func(text string) reply {
			return w.call(t, "GET", "/api/chatting/messages/?target_id="+url.QueryEscape(text), "", asUser1)
		},
		"limit": func(text string) reply {
			return w.call(t, "GET", "/api/chatting/conversations/?limit="+url.QueryEscape(text), "", asUser1)
		},
		"path": func(text string) reply {
			return w.call(t, "PUT", "/api/chatting/conversations/"+url.PathEscape(text)+"/read/", "", asUser1)
		},
		"query of a DELETE": func(text string) reply {
			w.call(t, "POST", friendsPath, `{"target_id":7}`, asUser1, asJSON).mustBe(t, 201, `{"target_id":7}`)
			return w.call(t, "DELETE", friendsPath+"?target_id="+url.QueryEscape(text), "", asUser1)
		},
		"platform, JSON": func(text string) reply {
			return w.call(t, "POST", "/s2sapi/system-message/", `{"message":"x","target_id":`+strconv.Quote(text)+`}`, asJSON)
		},
		"platform, query": func(text string) reply {
			return w.call(t, "DELETE", "/s2sapi/users/?user_id="+url.QueryEscape(text), "")
		},
	} {
		for _, text := range good {
			if got := ask(text); got.status >= 300 {
				t.Errorf("%s: %q is answered by %d %s", place, text, got.status, got.body)
			}
		}
		for _, text := range append(bad, nobody...) {
			if got := ask(text); got.status != 400 && got.status != 404 {
				t.Errorf("%s: %q is answered by %d %s", place, text, got.status, got.body)
			}
		}
	}
	for _, zero := range []string{"0", "+0", "-0", " 00 ", "0.0"} {
		got := w.call(t, "GET", "/api/chatting/messages/?target_id="+url.QueryEscape(zero), "", asUser1)
		got.mustBe(t, 200, `{"messages":[{"from":"admin"}],"next":null}`)
	}
}

func TestDELETETakesItsTargetFromTheQueryTheBodyOrBoth(t *testing.T) {
	const two = "The query and the body name different targets."
	for _, path := range []string{blockedPath, friendsPath} {
		w := newWorld(t)
		remove := func(query, body string, status int, want string, headers ...string) {
			t.Helper()
			for _, added := range []string{"7", "9"} {
				w.call(t, "POST", path, `{"target_id":`+added+`}`, asUser1, asJSON).mustBe(t, 201, `{"target_id":`+added+`}`)
			}
			row{"DELETE", "DELETE", path + query, body, append(headers, asUser1), status, want}.run(t, w)
			left := w.call(t, "GET", path, "", asUser1)
			if status == 200 {
				left.mustBe(t, 200, `[{"id":9}]`)
			} else {
				left.mustBe(t, 200, `[{"id":7},{"id":9}]`)
			}
		}
		remove("?target_id=7", ``, 200, ``)
		remove("?target_id=7", ``, 200, ``, asJSON)
		remove("?target_id=9&target_id=7", ``, 200, ``)
		remove("", `{"target_id":7}`, 200, ``, asJSON)
		remove("", `target_id=7`, 200, ``, asForm)
		remove("?x=9", `{"target_id":7}`, 200, ``, asJSON)
		remove("?target_id=7", `{}`, 200, ``, asJSON)
		remove("?target_id=7", `{"target_id":null}`, 200, ``, asJSON)
		remove("?target_id=7", ` null `, 200, ``, asJSON)
		remove("?target_id=7", `{"target_id":"7.0"}`, 200, ``, asJSON)
		remove("?target_id=%2B007", `target_id=7`, 200, ``, asForm)

		remove("?target_id=7", `{"target_id":9}`, 400, target(two), asJSON)
		remove("?target_id=9", `{"target_id":7}`, 400, target(two), asJSON)
		remove("?target_id=7", `{"target_id":"x"}`, 400, target("A valid integer is required."), asJSON)
		remove("?target_id=7", `{"target_id":0}`, 400, target("해당 id가 존재하지 않습니다."), asJSON)
		remove("?target_id=x", `{"target_id":7}`, 400, target("A valid integer is required."), asJSON)
		remove("?target_id=", ``, 400, target("A valid integer is required."))
		remove("?target_id=-7", ``, 400, target("해당 id가 존재하지 않습니다."))
		remove("?target_id=7", `[]`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`, asJSON)
		remove("?target_id=7", `{"target_id":7}`, 415, `{"detail":"Unsupported media type \"text/plain\" in request."}`, "Content-Type: text/plain")
		remove("", ``, 400, target("This field is required."))
		remove("", `null`, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got NoneType."]}`, asJSON)
		remove("?TARGET_ID=7", ``, 400, target("This field is required."))

		// A POST takes the body alone, as ever.
		w.call(t, "POST", path+"?target_id=9", `{"target_id":7}`, asUser1, asJSON).mustBe(t, 201, `{"target_id":7}`)
		w.call(t, "POST", path+"?target_id=9", ``, asUser1).mustBe(t, 400, target("This field is required."))
	}
}
