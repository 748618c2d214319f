package groups

import (
	"testing"
	"time"
)

// Each bound was chosen with regard to another one: changed alone, it breaks what the other promises.
func TestBoundsFitEachOther(t *testing.T) {
	for what, holds := range map[string]bool{
		"the coordinator's answer is awaited for less than a session": groupTimeout < 6*time.Second,
		"members that were killed have left before they count":        otherPatience > MaxSession,
	} {
		if !holds {
			t.Error("no longer: ", what)
		}
	}
}
