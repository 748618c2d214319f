package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"chatting/test/harness"
)

// device logs a user in with features.
func (s *server) device(user int, features ...string) *harness.Client {
	s.t.Helper()
	c, err := harness.ConnectWith(s.HTTP, map[string]any{"token": s.token(user), "features": features})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// markRead marks a conversation as read up to a message, once the history has it, and returns how many are unread.
func (s *server) markRead(ctx context.Context, user, partner int, message string) (unread int) {
	s.t.Helper()
	path, token := fmt.Sprintf("/api/chatting/conversations/%d/read/", partner), s.token(user)
	harness.Until(ctx, s.t, "the message is marked as read", func() bool {
		status, body := s.rest(http.MethodPut, path, token, `{"message_id":"`+message+`"}`)
		var marked struct{ Unread int }
		if status == http.StatusOK && json.Unmarshal(body, &marked) != nil {
			s.t.Fatalf("%s", body)
		}
		unread = marked.Unread
		return status == http.StatusOK
	})
	return unread
}

// marks returns the read marks that a device got.
func marks(c *harness.Client) (found []harness.Frame) {
	for _, f := range c.Frames() {
		if f.Type == "read_mark" {
			found = append(found, f)
		}
	}
	return found
}

// A user reads on one device what another device shows as unread. Both count alike, after a restart, too, and the partner knows
// up to where its messages were read.
func TestTwoDevicesOfAUserCountAlikeWhatIsUnread(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir)
	ctx := waiting(t)
	ann, desk, phone := s.device(1, "receipts"), s.device(2, "read_marks"), s.device(2, "read_marks")
	var ids []string
	for n := range 5 {
		text := fmt.Sprint("message ", n)
		if err := ann.Send(2, text); err != nil {
			t.Fatal(err)
		}
		at, err := ann.Find(ctx, 1, func(f harness.Frame) bool { return f.Message == text })
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, ann.Frames()[at].ID)
	}
	s.page(s.token(2), 1, len(ids)) // or some of them would not count yet
	last := -1
	for _, n := range []int{1, 3, 2, 4, 4, 0} { // forward, back, and to where it is
		want := len(ids) - 1 - max(n, last)
		if unread := s.markRead(ctx, 2, 1, ids[n]); unread != want {
			t.Errorf("up to message %d: %d are unread, want %d", n, unread, want)
		}
		if n <= last {
			continue
		}
		last = n
		for what, c := range map[string]*harness.Client{"the desk": desk, "the phone": phone, "the partner": ann} {
			at, err := c.Find(ctx, 1, func(f harness.Frame) bool { return f.Type == "read_mark" && f.Marked == ids[n] })
			if err != nil {
				t.Fatalf("%s is not told of message %d: %v", what, n, err)
			}
			mark := c.Frames()[at]
			if mark.From != 2 || mark.To != 1 || (mark.Unread == nil) != (c == ann) || mark.Unread != nil && *mark.Unread != want {
				t.Errorf("%s got %+v, want %d unread", what, mark, want)
			}
		}
	}
	// What is said now comes behind all marks that the three got.
	if err := ann.Send(2, "and good bye"); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]*harness.Client{"the desk": desk, "the phone": phone, "the partner": ann} {
		if _, err := c.Find(ctx, 1, func(f harness.Frame) bool { return f.Message == "and good bye" }); err != nil {
			t.Fatal(err)
		}
		if got := marks(c); len(got) != 3 {
			t.Errorf("%s got the marks %+v", what, got)
		}
	}
}
