package web

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// goTo follows a link of the page to itself.
func (w *window) goTo(hash string) {
	w.b.t.Helper()
	w.run("following a link", chromedp.Evaluate[chromedp.Void](fmt.Sprintf("location.hash = %q; 0", hash)))
}

// isUser fails the test if the page has another user, keeps another token, or shows one in its address.
func (w *window) isUser(user, token, page string) {
	w.b.t.Helper()
	if now := w.connected(); now != user {
		w.b.t.Errorf("%s is user %s, and not %s", w.name, now, user)
	}
	if kept := eval[string](w, `sessionStorage.getItem("chatting.token")`); kept != token {
		w.b.t.Errorf("%s keeps %q", w.name, kept)
	}
	if now := eval[string](w, "location.href"); now != page {
		w.b.t.Errorf("the address is %s", now)
	}
}

// A link makes nobody somebody else: whoever made it would read what is written under it.
func TestATokenInTheAddressSignsNobodyInUnasked(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	mine, other := s.token("801"), s.token("666")

	fresh := b.open("fresh", s.page+"#token="+other)
	fresh.asks("Sign in as user 666?")
	if kept := eval[bool](fresh, `!!sessionStorage.getItem("chatting.token")`); kept {
		t.Error("the token is kept before anybody agreed")
	}
	fresh.run("reloading", chromedp.Reload())
	fresh.asks("Sign in as user 666?")
	fresh.click("#ask-no")
	fresh.until("nobody is signed in", `!document.querySelector("#ask").open && !document.querySelector("#enter").hidden && !sessionStorage.length`)

	// A window that has a user stays that user, before the answer and after a no.
	one := b.openAs("one", s.page, mine)
	one.isUser("801", mine, s.page)
	one.goTo("token=" + other)
	one.asks("Sign in as user 666?")
	one.isUser("801", mine, s.page)
	one.front()
	one.run("refusing", chromedp.KeyEvent(kb.Escape))
	one.until("the question is gone", `!document.querySelector("#ask").open && !sessionStorage.getItem("chatting.offered")`)
	one.isUser("801", mine, s.page)
	one.run("following a link of another page", chromedp.Navigate("about:blank"), chromedp.Navigate(s.page+"#token="+other))
	one.asks("Sign in as user 666?")
	one.isUser("801", mine, s.page)
	if text := one.text("#ask"); text == "" || one.text("#ask-no") != "Stay user 801" {
		t.Errorf("it asks %s", text)
	}
	one.click("#ask-yes")
	one.until("it has become the other user", `document.querySelector("#me").textContent === "User 666"`)
	one.isUser("666", other, s.page)

	// The own token is no question. Nor is it known whose token every text is.
	one.goTo("token=" + other)
	one.until("the token has left the address", `!location.hash`)
	if asked := eval[bool](one, `document.querySelector("#ask").open`); asked {
		t.Error("it asks whether to stay who one is")
	}
	one.goTo("token=no-good-token")
	one.asks("Sign in with the token of this link?")
}

// Marks of two nodes may come in another order than that of their messages.
func TestWhatIsReadStaysRead(t *testing.T) {
	b := startBrowser(t)
	s := startServer(t)
	w := b.open("one", s.page)
	got := eval[[]string](w, `import("/page/model.js").then(({ Model }) => {
		const heard = {}, model = new Model({ on: (kind, listener) => { heard[kind] = listener; } });
		const mark = messageId => (heard.readMark({ type: "readMark", partner: "2", mine: false, messageId }), model.log("2").readUpTo);
		const seen = [mark("before"), mark("before too")];
		for (const id of ["a", "b", "c"]) heard.message({ type: "message", id, partner: "2", mine: true, text: id, time: new Date() });
		return [...seen, ...["b", "a", "before", "c", "b"].map(mark)];
	})`)
	want := []string{"before", "before too", "b", "b", "b", "c", "c"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("read up to %v, want %v", got, want)
	}
}
