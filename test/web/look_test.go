package web

import (
	"testing"

	"github.com/chromedp/chromedp"
)

var chromedpReload, back = chromedp.Reload(), chromedp.Evaluate[chromedp.Void](`history.back()`)

// What people see, in each of the ways in which they look at it. axe-core finds nothing in any of them. The pictures are for
// people: CHATTING_TEST_PICTURES names the folder in which they stay.
func TestThePageIsForEverybody(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	views := []struct {
		name          string
		width, height int64
		scheme        string
	}{
		{"light", 1180, 780, "light"}, {"dark", 1180, 780, "dark"}, {"phone", 390, 844, "light"}, {"phone-dark", 390, 844, "dark"}, {"narrow", 320, 640, "light"},
	}
	inEach := func(what string) {
		t.Helper()
		for _, view := range views {
			one.look(view.width, view.height, view.scheme)
			one.accessible(what + " " + view.name)
			one.picture(what + "-" + view.name)
		}
		one.look(1180, 780, "light")
	}
	inEach("enter")
	one.goTo("token=" + s.token("7"))
	one.asks("Sign in as user 7?")
	inEach("question")
	one.click("#ask-no")
	first, second := one.become(), two.become()
	inEach("empty")
	one.goTo("token=" + s.token("7"))
	one.asks("Sign in as user 7?")
	inEach("question-signed-in")
	one.click("#ask-no")

	one.click("#tab-friends")
	one.submit(second)
	one.submit("77")
	one.until("the friends are listed", `document.querySelectorAll("#panel-friends .row").length === 2`)
	inEach("friends")
	one.begin(second)
	two.begin(first)
	two.say("Good evening! Are you up for a round?")
	two.say("I found a map that none of us has played yet. It is small, but it has three ways up to the tower, and the one behind the mill is hard to see.")
	one.sees("Good evening! Are you up for a round?", 1)
	if response, body := s.ask("POST", "/s2sapi/system-message/", `{"target_id":`+first+`,"message":"The tournament begins at eight."}`, asJSON); response.StatusCode != 200 {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	one.say("Sure. Ten minutes?")
	one.say("¡Hasta ahora! 👋")
	two.sees("¡Hasta ahora! 👋", 1)
	two.say("See you there.")
	one.sees("See you there.", 1)
	one.begin("77")
	one.say("Are you there?")
	one.say("I wait at the mill.")
	one.until("both failed", `document.querySelectorAll("#messages .failed").length === 2`)
	inEach("failed")
	one.begin(second)
	two.click("#invite")
	one.until("the invite came", `[...document.querySelectorAll(".offer button")].some(b => !b.hidden)`)
	one.click("#tab-chats")
	inEach("chat")
	one.run("back to the lists", chromedp.Evaluate[chromedp.Void](`history.back()`))
	one.until("no chat is open", `document.querySelector("#open").hidden`)
	inEach("chats")
	two.click("#tab-blocked")
	two.submit(first)
	two.until("the user is blocked", `document.querySelectorAll("#panel-blocked .row").length === 1`)
	two.accessible("blocked users")
}
