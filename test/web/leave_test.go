package web

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// Browsers keep a page that is left, to go back to it at once. Its user is offline meanwhile, and what comes is shown on the way back.
func TestWhoeverLeavesThePageIsOfflineUntilTheWayBack(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t, "CHATTING_CHAT_OFFLINE=store")
	one, two := b.open("one", s.page), b.open("two", s.page)
	first, second := one.become(), two.become()
	one.click("#tab-friends")
	one.submit(second)
	isShown := func(presence string) {
		t.Helper()
		one.until("the friend is "+presence, `document.querySelector("#panel-friends .last")?.textContent === "`+presence+`"`)
	}
	isShown("Online")
	two.begin(first)
	two.say("I look something up")
	two.sees("I look something up", 1)

	two.run("marking the page", chromedp.Evaluate[chromedp.Void](`void (window.kept = true)`))
	two.run("leaving", chromedp.Navigate("about:blank"))
	isShown("Offline")
	one.begin(second)
	one.say("are you there?")
	one.sees("are you there?", 1)

	two.run("going back", chromedp.Evaluate[chromedp.Void](`history.back()`))
	if again := two.connected(); again != second {
		t.Errorf("on the way back user %s is user %s", second, again)
	}
	if !eval[bool](two, `window.kept === true`) {
		t.Log("the browser did not keep the page: it loaded it again") // it may, if it has little memory
	}
	two.sees("are you there?", 1)
	two.sees("I look something up", 1)
	one.click("#tab-friends")
	isShown("Online")
	one.say("welcome back")
	two.sees("welcome back", 1)
}
