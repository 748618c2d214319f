package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"chatting/test/harness"
)

// draft writes without sending.
func (w *window) draft(text string) {
	w.b.t.Helper()
	w.run("writing a draft", chromedp.SendKeys(chromedp.CSS("#text"), text))
}

// What was not sent is there after a reload: what failed, what is being written, and what was under way. After a sign-out it is not.
func TestWhatWasNotSentOutlivesAReload(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	first, second := one.become(), two.become()
	two.click("#sign-out")
	two.until("it is signed out", `!document.querySelector("#enter").hidden`)
	one.begin(second)
	said := 0
	harness.Until(t.Context(), t, "user two is offline", func() bool {
		one.say("are you there?")
		said++
		one.until("the message has an outcome", fmt.Sprintf(`document.querySelectorAll("#messages .msg").length === %d && !document.querySelector("#messages .sending")`, said))
		return strings.Contains(one.text("#messages .failed .trouble"), "is offline or unknown")
	})
	one.draft("half a sen")

	one.run("reloading", chromedpReload)
	one.connected()
	one.until("the text that failed is there", `document.querySelector("#messages .failed .bubble")?.textContent === "are you there?" &&
		document.querySelector("#messages .failed .trouble").textContent.includes("is offline or unknown")`)
	one.until("the draft is there", `document.querySelector("#text").value === "half a sen"`)

	client, err := harness.Connect(s.HTTP, s.token(second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	one.run("sending it again", chromedp.Click(chromedp.Search(`//li[contains(@class,"failed")]//button[text()="Send again"]`)))
	one.until("it is sent", fmt.Sprintf(`document.querySelectorAll("#messages .msg").length === %d && !document.querySelector("#messages .failed, #messages .sending")`, said))

	// Sent and left in one breath: whether the server has it nobody knows. It is there once.
	one.run("sending and reloading", chromedp.Evaluate[chromedp.Void](`window.leaves = true, document.querySelector("#say").requestSubmit(), location.reload()`))
	one.until("the page is another one", `!window.leaves`) // until then the old one says that it is connected
	one.connected()
	one.sees("half a sen", 1)
	one.until("it is sent", `!document.querySelector("#messages .failed, #messages .sending") && document.querySelector("#text").value === ""`)
	one.sees("half a sen", 1)

	// The same user signs in again: nothing is left.
	one.draft("SECRET")
	token := eval[string](one, `sessionStorage.getItem("chatting.token")`)
	one.click("#sign-out")
	one.until("nothing is kept", `!document.querySelector("#enter").hidden && sessionStorage.length === 0`)
	one.run("signing in", chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
		`document.querySelector("#token").value = %q, document.querySelector("#sign-in").requestSubmit()`, token)))
	if again := one.connected(); again != first {
		t.Fatalf("user %s is user %s", first, again)
	}
	one.begin(second)
	if left := eval[string](one, `document.querySelector("#text").value`); left != "" {
		t.Errorf("after the sign-out the draft is %q", left)
	}
}

// A text is for the user who wrote it.
func TestAnotherUserDoesNotGetWhatWasNotSent(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	w := b.openAs("window", s.page, s.token("71"))
	w.connected()
	w.begin("99")
	w.draft("SECRET of 71")
	w.goTo("#token=" + s.token("72"))
	w.asks("Sign in as user 72?")
	w.click("#ask-yes")
	w.until("it is user 72", `document.querySelector("#me").textContent === "User 72"`)
	w.connected()
	w.begin("99")
	if left := eval[string](w, `document.querySelector("#text").value + (sessionStorage.getItem("chatting.unsent") ?? "")`); left != "" {
		t.Errorf("user 72 finds %q", left)
	}
}

// On a phone, which has no room for the empty right side, the lists lead to the documents.
func TestAPhoneLeadsToTheAPI(t *testing.T) {
	b := startBrowser(t)
	w := b.open("phone", startServer(t).page)
	w.become()
	const shown = `!!document.querySelector("#side .docs a").offsetParent`
	if eval[bool](w, shown) {
		t.Error("a wide window has the link twice")
	}
	w.look(390, 844, "light")
	if !eval[bool](w, shown) {
		t.Error("nothing leads to the documents")
	}
	w.accessible("the lists on a phone")
	w.click("#side .docs a")
	w.until("the documents are there", `location.pathname === "/docs"`)
}

// Just after a node has ended, the history may be behind what was shown. The page looks again, and puts what comes late in its place.
func TestWhatTheHistoryGetsLateIsShownInItsPlace(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, err := harness.Connect(s.HTTP, s.token("1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	talk(t, s, 2, 3)
	w := b.openAs("one", s.page, s.token("1"))
	w.connected()
	// The first two answers of the history are as those of one that is behind.
	w.run("holding the history back", chromedp.Evaluate[chromedp.Void](`void (() => {
		const whole = window.fetch;
		let late = 2;
		window.fetch = async (url, request) => {
			const answer = await whole(url, request);
			if (!String(url).includes("/messages/") || late-- <= 0) return answer;
			const page = await answer.json();
			return new Response(JSON.stringify({ ...page, messages: page.messages.slice(1), behind: true }), { status: 200 });
		};
	})()`))
	w.begin("2")
	w.sees("message 3", 1)
	if shown := w.messages(); !slices.Equal(shown, []string{"message 1", "message 2", "message 3"}) {
		t.Errorf("it shows %q", shown)
	}
}
