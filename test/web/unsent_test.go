package web

import (
	"fmt"
	"slices"
	"testing"

	"chatting/test/harness"
)

// Messages that failed stay where they were written: what is said later stands below them, in sight. They say once why, and go out
// together.
func TestWhatIsNewStandsBelowWhatFailed(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	one.become()
	second := two.become()
	two.click("#sign-out")
	two.until("it is signed out", `!document.querySelector("#enter").hidden`)
	one.begin(second)
	said := 0
	outcome := func() {
		said++
		one.until("the message has an outcome", fmt.Sprintf(`document.querySelectorAll("#messages .msg").length === %d && !document.querySelector("#messages .sending")`, said))
	}
	harness.Until(t.Context(), t, "user two is offline", func() bool {
		one.say("are you there?")
		outcome()
		return eval[bool](one, `!!document.querySelector("#messages .failed")`)
	})
	var failed []string
	for i := range 5 {
		failed = append(failed, fmt.Sprintf("line %d", i))
		one.say(failed[i])
		outcome()
	}
	one.until("all have failed", `document.querySelectorAll("#messages .failed").length === 6`)
	if times := eval[int](one, `document.querySelector("#messages").innerText.split("is offline or unknown").length - 1`); times != 1 {
		t.Errorf("the reason is said %d times", times)
	}

	client, err := harness.Connect(s.HTTP, s.token(second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	one.say("NEW")
	outcome()
	if still := eval[int](one, `document.querySelectorAll("#messages .failed").length`); still != 6 {
		t.Errorf("%d messages have failed, want 6", still)
	}
	if shown := one.messages(); shown[len(shown)-1] != "NEW" {
		t.Errorf("below are %q", shown)
	}
	one.until("it is in sight", `(() => {
		const log = document.querySelector("#log").getBoundingClientRect();
		const box = [...document.querySelectorAll("#messages .bubble")].find(b => b.textContent === "NEW").getBoundingClientRect();
		return box.top >= log.top && box.bottom <= log.bottom;
	})()`)

	one.click("#send-all")
	one.until("all are sent", `!document.querySelector("#messages .sending, #messages .failed") && document.querySelector("#failed").hidden`)
	shown := one.messages()
	if after := shown[slices.Index(shown, "NEW")+1:]; !slices.Equal(after, append([]string{"are you there?"}, failed...)) {
		t.Errorf("after the new one come %q", after)
	}
}

// What stands beside a text does not change its place or size.
func TestWhatIsSaidBesideATextMovesNothing(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	first, second := one.become(), two.become()
	one.begin(second)
	two.begin(first)
	one.say("hello")
	two.sees("hello", 1)
	one.until("it is sent", `/· (Sent|Read)$/m.test(document.querySelector("#messages").innerText)`)
	width := func(w *window) float64 {
		return eval[float64](w, `document.querySelector("#messages .bubble").getBoundingClientRect().width`)
	}
	if sent, came := width(one), width(two); sent != came {
		t.Errorf("the same text is %v pixels wide for its sender and %v for its reader", sent, came)
	}

	one.click("#tab-friends")
	one.submit(second)
	one.until("the friend is online", `document.querySelector("#presence").textContent === "Online"`)
	one.run("reloading", chromedpReload)
	one.connected()
	one.until("the chat says so", `document.querySelector("#presence").textContent === "Online"`)
	one.until("a dot says it, too", `!document.querySelector("#presence .dot").hidden`)

	one.begin("999999")
	if shown := one.text("#partner-avatar"); shown != "…99" {
		t.Errorf("user 999999 is %q", shown)
	}

	two.look(320, 640, "light")
	two.run("back to the lists", back)
	height := func() float64 {
		return eval[float64](two, `document.querySelector("#state").getBoundingClientRect().height`)
	}
	connected := height()
	one.serverMayBeAway()
	two.serverMayBeAway()
	s.Kill()
	two.until("the next try is announced", `/ in \d+ s$/.test(document.querySelector("#state-text").textContent)`)
	if away := height(); away != connected {
		t.Errorf("the state is %v pixels high without a connection, and %v with one", away, connected)
	}
	if hidden := eval[float64](two, `(s => s.scrollWidth - s.clientWidth)(document.querySelector("#state"))`); hidden > 0 {
		t.Errorf("%v pixels of the state are cut off", hidden)
	}
}

// The page leads to the documents of the API, unless the server has none.
func TestThePageLeadsToTheAPI(t *testing.T) {
	b := startBrowser(t)
	reader := b.open("reader", startServer(t).page)
	reader.click("#enter .docs a")
	reader.until("the documents are there", `location.pathname === "/docs" && document.querySelector("h1").textContent === "chatting"`)
	other := b.open("other", startServer(t, "CHATTING_HTTP_DOCUMENTS=false").page)
	other.until("nothing leads there", `!document.querySelector("#enter").hidden && !document.querySelector("#enter .docs a").offsetParent`)
}
