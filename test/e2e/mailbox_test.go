package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"chatting/test/harness"
)

// block has a user block another one (POST), or not (DELETE).
func (s *server) block(token, method string, target int) {
	s.t.Helper()
	if status, body := s.rest(method, "/api/chatting/blockedusers/", token, fmt.Sprintf(`{"target_id":%d}`, target)); status/100 != 2 {
		s.t.Fatalf("%s was answered with %d %s", method, status, body)
	}
}

// leftOffline makes 2 known and offline, and connects 1 and 3. The tokens are those of 1, 2 and 3.
func (s *server) leftOffline(tokens []string) (stranger, friend *client) {
	s.t.Helper()
	mustConnect(s.t, s.HTTP, tokens[1]).leave(s.t)
	stranger, friend = mustConnect(s.t, s.HTTP, tokens[0]), mustConnect(s.t, s.HTTP, tokens[2])
	harness.Until(s.t.Context(), s.t, "2 is offline", func() bool { return !s.online(2) })
	return stranger, friend
}

// The 689 messages of 64 KB that a stranger left stood before the first word of a friend.
func TestAStrangersLongMessagesDoNotKeepAFriendWaiting(t *testing.T) {
	s := startStoring(t, t.TempDir(), "CHATTING_CHAT_OFFLINE_BYTES_PER_SENDER=0", "CHATTING_CHAT_OFFLINE_MESSAGES_PER_SENDER=0")
	tokens := []string{s.token(1), s.token(2), s.token(3)}
	stranger, friend := s.leftOffline(tokens)
	var flood []string
	for n := range 100 {
		flood = append(flood, fmt.Sprint(n, strings.Repeat("x", 60<<10)))
	}
	stranger.say(t, 2, flood...)
	friend.say(t, 2, "hello", "are you there?")

	two := mustConnect(t, s.HTTP, tokens[1])
	strangers, friends := 0, 0
	for friends < 2 {
		f, err := two.next()
		if err != nil || !f.Replayed {
			t.Fatalf("got %+v, %v", f, err)
		}
		if f.From == 3 {
			friends++
		} else {
			strangers++
		}
	}
	if strangers > 10 {
		t.Errorf("%d long messages of a stranger came before the two of a friend", strangers)
	}
	for n := range 100 - strangers {
		if f, err := two.next(); err != nil || f.Message != flood[strangers+n] {
			t.Fatalf("after %d: got %.20q, %v", strangers+n, f.Message, err)
		}
	}
	two.isLive(t, friend)
}

func TestWhomTheUserHasBlockedMeanwhileIsNotReplayed(t *testing.T) {
	s := startStoring(t, t.TempDir())
	tokens := []string{s.token(1), s.token(2), s.token(3)}
	stranger, friend := s.leftOffline(tokens)
	stranger.say(t, 2, "a", "b")
	friend.say(t, 2, "hello")
	s.block(tokens[1], http.MethodPost, 1)
	stranger.say(t, 2, "c") // the echo tells nothing

	two := mustConnect(t, s.HTTP, tokens[1])
	two.replays(t, "hello")
	two.isLive(t, friend)
	two.leave(t)
	s.block(tokens[1], http.MethodDelete, 1)
	again := mustConnect(t, s.HTTP, tokens[1])
	again.isLive(t, stranger)
}

func TestAMailboxThatASenderHasFilledTakesNoMoreOfIt(t *testing.T) {
	s := startStoring(t, t.TempDir(), "CHATTING_CHAT_OFFLINE_MESSAGES_PER_SENDER=10")
	tokens := []string{s.token(1), s.token(2), s.token(3)}
	stranger, friend := s.leftOffline(tokens)
	var texts []string
	for n := range 10 {
		texts = append(texts, fmt.Sprint("number ", n))
	}
	stranger.say(t, 2, texts...)
	if err := stranger.Send(2, "too much"); err != nil {
		t.Fatal(err)
	}
	if f, err := stranger.next(); err != nil || f.Code != "mailbox_full" {
		t.Fatalf("got %+v, %v", f, err)
	}
	friend.say(t, 2, "hello")

	two := mustConnect(t, s.HTTP, tokens[1])
	two.replays(t, texts[:8]...) // a turn
	two.replays(t, "hello")
	two.replays(t, texts[8:]...)
	two.isLive(t, stranger)
	two.leave(t)
	harness.Until(t.Context(), t, "2 is offline, and its mailbox takes messages again", func() bool {
		if s.online(2) {
			return false
		}
		if err := stranger.Send(2, "again"); err != nil {
			t.Fatal(err)
		}
		f, err := stranger.next()
		return err == nil && f.Message == "again"
	})
}

// A resend puts a second record into the log: between the two the user's next connection began.
func TestAMessageThatIsSentAgainIsNotShownOnTheNextConnectionUnmarked(t *testing.T) {
	s := startStoring(t, t.TempDir())
	tokens := []string{s.token(1), s.token(2)}
	one, two := mustConnect(t, s.HTTP, tokens[0]), mustConnect(t, s.HTTP, tokens[1])
	if err := one.SendNamed(2, "once", "m1"); err != nil {
		t.Fatal(err)
	}
	if f, err := two.next(); err != nil || f.Message != "once" || f.Replayed {
		t.Fatalf("got %+v, %v", f, err)
	}
	two.leave(t)
	next, again := mustConnect(t, s.HTTP, tokens[1]), mustConnect(t, s.HTTP, tokens[0])
	if err := again.SendNamed(2, "once", "m1"); err != nil {
		t.Fatal(err)
	}
	if f, err := again.next(); err != nil || f.Message != "once" {
		t.Fatalf("the echo of the resend is %+v, %v", f, err)
	}
	next.isLive(t, again)
}
