package web

import (
	"fmt"
	"os"
	"testing"

	"chatting/test/harness"
)

// scaled returns small, or full where the full counts were asked for.
func scaled(small, full int) int {
	if os.Getenv("CHATTING_TEST_SCALE") == "full" {
		return full
	}
	return small
}

// Of a long conversation and of many conversations only a part is in the document, and nothing jumps while it is scrolled.
func TestLongListsAreShownInParts(t *testing.T) {
	messages, partners := scaled(700, 10000), scaled(120, 1000)
	b := startBrowser(t)
	s := startServer(t, "CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_FRAMES_PER_SECOND=0")
	one, err := harness.Connect(s.HTTP, s.token("1"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(one.Close)
	talk(t, s, 2, messages)
	for partner := 1000; partner < 1000+partners; partner++ {
		talk(t, s, partner, 1)
	}

	w := b.openAs("one", s.page, s.token("1"))
	w.connected()
	w.until("the first page of chats is there", `document.querySelectorAll("#panel-chats .row").length >= 50`)
	w.until("all chats are there", `(() => {
		const list = document.querySelector("#panel-chats");
		list.scrollTop = list.scrollHeight;
		return list.querySelectorAll(".row").length === `+fmt.Sprint(partners+1)+`;
	})()`)
	w.begin("2")
	w.sees(fmt.Sprintf("message %d", messages), 1)
	w.until("it is at the end", `(l => l.scrollHeight - l.clientHeight - l.scrollTop < 2)(document.querySelector("#log"))`)

	// Up to the beginning, a screen at a time. What is seen stays where it is while more comes in above it.
	w.until("the beginning is reached", `(async () => {
		const log = document.querySelector("#log");
		const seen = () => [...document.querySelectorAll("#messages .msg")].find(m => m.getBoundingClientRect().top > log.getBoundingClientRect().top + 50);
		log.scrollTop -= log.clientHeight;
		await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
		window.most = Math.max(window.most ?? 0, document.querySelectorAll("#messages li").length);
		const one = seen(), top = one?.getBoundingClientRect().top;
		await new Promise(done => setTimeout(done, 30));
		if (one && !one.isConnected) window.gone = one.innerText;
		else if (one && Math.abs(one.getBoundingClientRect().top - top) > 2) window.jumped = one.getBoundingClientRect().top - top;
		return document.querySelector("#earlier").textContent === "This is the beginning." && log.scrollTop === 0;
	})()`)
	w.sees("message 1", 1)
	if problem := eval[string](w, `String([window.gone && "gone: " + window.gone, window.jumped && "jumped by " + window.jumped].filter(Boolean))`); problem != "" {
		t.Errorf("what was read did not stay: %s", problem)
	}
	if most := eval[int](w, `window.most`); most > 300 {
		t.Errorf("%d rows of %d messages are in the document", most, messages)
	}
	w.click("#newest")
	w.sees(fmt.Sprintf("message %d", messages), 1)
	if rows := eval[int](w, `document.querySelectorAll("#messages li").length`); rows > 300 {
		t.Errorf("%d rows are in the document at the end", rows)
	}
}

// talk has a user say so much to user 1.
func talk(t *testing.T, s *served, user, messages int) {
	t.Helper()
	c, err := harness.Connect(s.HTTP, s.token(fmt.Sprint(user)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := 1; i <= messages; i++ {
		if err := c.SendRaw(fmt.Sprintf(`{"target_id":1,"message":"message %d"}`, i)); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 || i == messages { // not faster than the server takes them
			if frame, err := c.At(t.Context(), i); err != nil || frame.Error != "" {
				t.Fatalf("message %d of user %d: %+v, %v", i, user, frame, err)
			}
		}
	}
}
