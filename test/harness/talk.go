package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// view is what one user's client has shown.
type view struct {
	Seen   []string
	Gaps   []bool   // whether each was filled
	Closes []string // why connections ended
}

// check holds a view against what both users have said: each text of both, once.
func (v view) check(t *testing.T, user, each int) {
	t.Helper()
	times := make(map[string]int)
	for _, text := range v.Seen {
		times[text]++
	}
	for from := 1; from <= 2; from++ {
		for i := range each {
			if text := fmt.Sprintf("%d %d", from, i); times[text] != 1 {
				t.Errorf("user %d has seen %q %d times", user, text, times[text])
			}
		}
	}
	if slices.Contains(v.Gaps, false) {
		t.Errorf("a gap of user %d was not filled", user)
	}
	t.Logf("user %d: %d gaps, connections ended with %q", user, len(v.Gaps), v.Closes)
}

// TalkThrough lets two JavaScript clients, with the tokens of users 1 and 2, talk through a door. After so many echoes it carries
// out what happens then. In all, so many connections have to end at least. Both users have to see the same, each message once.
func TalkThrough(t *testing.T, door *Door, tokens [2]string, losses int, happens map[int]func()) {
	t.Helper()
	const each = 150
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var pauses []string
	for _, echoes := range slices.Sorted(maps.Keys(happens)) {
		pauses = append(pauses, strconv.Itoa(echoes))
	}
	script := StartScript(ctx, t, JavaScriptClient(t), "node",
		"talk.mjs", door.Addr, tokens[0], tokens[1], strconv.Itoa(each), strings.Join(pauses, ","))
	for echoed := 1; script.Line() != "all is said"; echoed++ {
		if then := happens[echoed]; then != nil {
			then()
			script.Tell("go on")
		}
	}
	var views [2]view
	if err := json.Unmarshal([]byte(script.Line()), &views); err != nil {
		t.Fatal(err)
	}
	script.Ends()
	ended := 0
	for user, view := range views {
		view.check(t, user+1, each)
		ended += len(view.Closes)
	}
	if ended < losses {
		t.Errorf("only %d connections ended", ended)
	}
	one, two := views[0].Seen, views[1].Seen
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			around := func(seen []string) []string { return seen[max(0, i-10):min(len(seen), i+10)] }
			t.Fatalf("the two users have seen different orders:\n%q\n%q", around(one), around(two))
		}
	}
}
