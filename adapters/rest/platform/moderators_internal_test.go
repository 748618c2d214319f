package platform

import (
	"encoding/json"
	"slices"
	"testing"

	"chatting/application/moderation"
)

func TestWhatIsNotKnownOfAUserIsLeftOut(t *testing.T) {
	for _, known := range []bool{true, false} {
		encoded, err := json.Marshal(activityOf(201, moderation.Activity{HasFriends: known, HasHistory: known}))
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(encoded, &fields); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"friends", "lately", "events"} {
			if _, told := fields[field]; told != known {
				t.Errorf("known %t: %s is told %t", known, field, told)
			}
		}
		if list := string(fields["events"]); known && list != "[]" {
			t.Errorf("no events are %s", list)
		}
		for _, always := range []string{"blocks", "acts", "next"} {
			if !slices.Contains([]string{"0", "[]", "null"}, string(fields[always])) {
				t.Errorf("known %t: %s is %s", known, always, fields[always])
			}
		}
	}
}
