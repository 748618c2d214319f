package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"chatting/test/harness"
)

// Somebody who tries the server opens a page, and another one beside it.
func TestTwoWindowsOfATrialServerChat(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	one.accessible("signing in")
	first, second := one.become(), two.become()
	if first == second {
		t.Fatalf("both windows are user %s", first)
	}

	one.begin(second)
	one.say("hello <b>you</b> & \"안녕\" 😀")
	one.sees("hello <b>you</b> & \"안녕\" 😀", 1)
	two.until("the message is counted", `document.querySelector("#panel-chats .badge:not([hidden])")?.textContent === "1 unread" && document.title.startsWith("(1)")`)
	two.click("#panel-chats .row")
	two.sees("hello <b>you</b> & \"안녕\" 😀", 1)
	two.until("it is read", `document.querySelector("#panel-chats .badge").hidden`)
	two.say("hello back")
	two.sees("hello back", 1)
	one.sees("hello back", 1)
	two.until("the reader's mark is shown", `/· Read$/m.test(document.querySelector("#messages").innerText)`)

	// A reload is the same user with the same chat.
	two.run("reloading", chromedp.Reload())
	if again := two.connected(); again != second {
		t.Errorf("after a reload user %s is user %s", second, again)
	}
	two.sees("hello back", 1)
	two.sees("hello <b>you</b> & \"안녕\" 😀", 1)

	friendsAndBlocks(one, two, first, second)
	invites(one, two)

	two.click("#sign-out")
	two.until("it is signed out", `!document.querySelector("#enter").hidden && !sessionStorage.getItem("chatting.token")`)
}

func friendsAndBlocks(one, two *window, first, second string) {
	one.b.t.Helper()
	one.click("#tab-friends")
	one.submit(second)
	one.until("the friend is online", `document.querySelector("#panel-friends .last")?.textContent === "Online"`)
	one.until("the chat says so", `document.querySelector("#presence").textContent === "Online"`)

	one.click("#block")
	one.until("the block is shown", `document.querySelector("#presence").textContent === "You block this user"`)
	two.say("do you hear me?")
	two.sees("do you hear me?", 1)
	one.click("#block")
	one.until("the block is gone", `document.querySelector("#block").textContent === "Block"`)
	two.say("and now?")
	one.sees("and now?", 1)
	one.sees("do you hear me?", 0)

	one.click("#friend")
	one.until("the friend is gone", `document.querySelector("#panel-friends .empty").textContent !== ""`)
}

func invites(one, two *window) {
	one.b.t.Helper()
	one.click("#invite")
	two.until("the invite is in the chat", `/invites you to a game.\s*[01]:[0-5][0-9]/.test(document.querySelector("#messages").innerText) && document.querySelector("#invites").hidden`)
	two.run("leaving the chat", chromedp.Evaluate[chromedp.Void](`history.back()`))
	two.until("the invite is above all", `/invites you to a game. [01]:[0-5][0-9]/.test(document.querySelector("#invites").innerText)`)
	two.click("#invites .primary")
	two.until("the invite has gone", `document.querySelector("#invites").hidden`)
	two.click("#panel-chats .row")
	for _, w := range []*window{one, two} {
		w.until("the invite is accepted", `/accepted the invite. Room [0-9a-f-]{36}/.test(document.querySelector("#messages").innerText)`)
		w.until("no invite is pending", `document.querySelector("#invites").hidden && ![...document.querySelectorAll(".offer button")].some(b => !b.hidden)`)
	}
	two.click("#invite")
	one.until("the invite came", `[...document.querySelectorAll(".offer button")].some(b => !b.hidden)`)
	two.run("taking it back", chromedp.Click(chromedp.Search(`//li[contains(@class,"mine")]//button[not(@hidden)][text()="Take back"]`)))
	one.until("the invite is gone", `![...document.querySelectorAll(".offer button")].some(b => !b.hidden)`)
	one.until("it says so", `document.querySelector("#messages").innerText.includes("took the invite back.")`)
}

// A message that fails stays, says why, and is sent again under its own name.
func TestAMessageThatFailedCanBeSentAgain(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	one.become()
	second := two.become()
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
	client, err := harness.Connect(s.HTTP, s.token(second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	one.run("sending it again", chromedp.Click(chromedp.Search(`//li[contains(@class,"failed")]//button[text()="Send again"]`)))
	one.until("it is sent", `!document.querySelector("#messages .failed") && !document.querySelector("#messages .sending")`)
	if shown := len(one.messages()); shown != said {
		t.Errorf("%d messages became %d", said, shown)
	}
}

func TestATokenOpensThePageAndLeavesTheAddress(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t, "CHATTING_JWT_SECRET=0123456789abcdef0123456789abcdef")
	one := b.open("one", s.page+"#token="+s.token("41"))
	one.asks("Sign in as user 41?")
	one.front()
	one.run("agreeing", chromedp.KeyEvent(kb.Enter)) // the button has the focus
	if user := one.connected(); user != "41" {
		t.Errorf("the token of user 41 is user %s", user)
	}
	if now := eval[string](one, "location.href"); now != s.page {
		t.Errorf("the address is %s", now)
	}
	if shown := eval[bool](one, `!document.querySelector("#second").hidden || document.documentElement.hasAttribute("data-trial")`); shown {
		t.Error("a server with a key of its own offers users")
	}

	two := b.open("two", s.page)
	two.run("pasting a token", chromedp.SetValue(chromedp.CSS("#token"), s.token("42")), chromedp.Click(chromedp.CSS("#sign-in [type=submit]")))
	if user := two.connected(); user != "42" {
		t.Errorf("the token of user 42 is user %s", user)
	}

	three := b.open("three", s.page)
	three.run("pasting a bad token", chromedp.SetValue(chromedp.CSS("#token"), "no good token"), chromedp.Click(chromedp.CSS("#sign-in [type=submit]")))
	three.until("it says so", `/refused or has expired/.test(document.querySelector("#enter-error").textContent) && !document.querySelector("#enter").hidden`)
	three.mu.Lock()
	three.troubles = nil // the browser calls an answer of 401 an error
	three.mu.Unlock()
}

// Without a mouse everything is in reach.
func TestThePageIsUsedByKeyboard(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	one, two := b.open("one", s.page), b.open("two", s.page)
	one.front()
	one.until("the button has the focus", `document.activeElement.id === "become"`)
	one.run("becoming a user", chromedp.KeyEvent(kb.Enter))
	first := one.connected()
	second := two.become()
	two.begin(first)
	two.say("one")
	two.begin("77")
	one.front()
	one.until("the message came", `document.querySelectorAll("#panel-chats .row").length === 1`)

	one.run("to the tabs", chromedp.Focus(chromedp.CSS("#tab-chats")), chromedp.KeyEvent(kb.ArrowRight))
	one.until("the friends are shown", `document.activeElement.id === "tab-friends" && !document.querySelector("#panel-friends").hidden`)
	one.run("back", chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.Tab))
	one.until("the row has the focus", `document.activeElement.matches("#panel-chats .row")`)
	one.run("opening it", chromedp.KeyEvent(kb.Enter))
	one.until("one writes", `document.activeElement.id === "text" && document.querySelector("#partner").textContent === "User `+second+`"`)
	one.run("leaving it", chromedp.KeyEvent(kb.Escape))
	one.until("the row has the focus again", `document.activeElement.matches("#panel-chats .row") && document.querySelector("#open").hidden`)
}
