package cluster

import (
	"context"
	"net/http"
	"slices"
	"testing"

	"chatting/test/harness"
)

// A message that a block hides is sent again after the unblock, under its name, as a client does that has lost its echo. Nobody shows
// it: not a node to which the blocker came after the first time, not a replay that begins after it, not the history.
func TestWhatABlockHidStaysHiddenWhenItIsSentAgainAfterTheUnblock(t *testing.T) {
	for what, settings := range map[string][]string{
		"reject":            {"CHATTING_CHAT_OFFLINE=reject"},
		"store":             {"CHATTING_CHAT_OFFLINE=store"},
		"without a history": {"CHATTING_CHAT_OFFLINE=reject", "CHATTING_HISTORY_ENABLED=false"},
	} {
		t.Run(what, func(t *testing.T) { sendAgainAcrossAnUnblock(t, what == "store", settings...) })
	}
}

const (
	sentAgain = "said while the block lasted"
	again     = "named"
)

func sendAgainAcrossAnUnblock(t *testing.T, stores bool, settings ...string) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2, settings...)
	const blocker, sender = 7, 8
	minted := token(t, blocker)
	there := connect(t, nodes[0], blocker) // before, and all the time
	first := connect(t, nodes[1], sender)
	change := func(method string, status int) {
		t.Helper()
		if a, err := request(ctx, nodes[0].HTTP, minted, method, blockedUsers, target(sender)); err != nil || a.status != status {
			t.Fatalf("%s: %v %+v", method, err, a)
		}
	}
	change(http.MethodPost, http.StatusCreated)
	sendAndAwait(ctx, t, first, blocker, sentAgain, again)

	// The other node sees the blocker for the first time now.
	other := connect(t, nodes[1], blocker)
	left := newTraveller(blocker)
	left.connect(ctx, t, func() *harness.Node { return nodes[1] })
	left.client.Close()
	change(http.MethodDelete, http.StatusOK)

	// A login gets again what was stored and not confirmed, so there only what must not come is looked for.
	saw := func(who string, device *harness.Client, stored bool, texts ...string) {
		t.Helper()
		last := texts[len(texts)-1]
		if _, err := device.Find(ctx, 0, func(f harness.Frame) bool { return f.Message == last }); err != nil {
			t.Errorf("%s waits for %q: %v", who, last, err)
		}
		var got []string
		for _, f := range device.Frames() {
			if f.Type == "chat_message" {
				got = append(got, f.Message)
			}
		}
		if slices.Contains(got, sentAgain) || !stored && !slices.Equal(got, texts) {
			t.Errorf("%s saw %q, want %q", who, got, texts)
		}
	}
	for _, at := range nodes {
		second := connect(t, at, sender)
		sendAndAwait(ctx, t, second, blocker, sentAgain, again)
		sendAndAwait(ctx, t, second, blocker, "news by "+at.HTTP, "news by "+at.HTTP)
	}
	news := []string{"news by " + nodes[0].HTTP, "news by " + nodes[1].HTTP}
	saw("the device that was there", there, false, news...)
	saw("the device that came while the block lasted", other, false, news...)
	late := connect(t, nodes[1], blocker)
	sendAndAwait(ctx, t, connect(t, nodes[0], sender), blocker, sentAgain, again)
	sendAndAwait(ctx, t, first, blocker, "more", "more")
	saw("the device that came after the unblock", late, stores, "more")
	left.connect(ctx, t, func() *harness.Node { return nodes[1] })
	saw("the device that takes up where it was while the block lasted", left.client, stores, append(news, "more")...)
	if !stores {
		return
	}
	for _, device := range []*harness.Client{there, other, late, left.client} {
		device.Close()
	}
	asking := token(t, sender)
	harness.Until(ctx, t, "the blocker is offline", func() bool { return !isOnline(ctx, t, nodes[1].HTTP, asking, blocker) })
	sendAndAwait(ctx, t, connect(t, nodes[1], sender), blocker, sentAgain, again)
	sendAndAwait(ctx, t, first, blocker, "stored", "stored")
	saw("the device that gets what was stored", connect(t, nodes[1], blocker), true, "stored")
}

// sendAndAwait sends a named message, and waits for its echo.
func sendAndAwait(ctx context.Context, t *testing.T, client *harness.Client, to int, text, name string) {
	t.Helper()
	if err := client.SendNamed(to, text, name); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Find(ctx, 0, func(f harness.Frame) bool { return f.Name == name && f.ID != "" }); err != nil {
		t.Fatalf("%q is not echoed: %v", text, err)
	}
}
