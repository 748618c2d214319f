package logclient

import (
	"slices"
	"testing"
)

func TestTheStatesOfGroupsAreTheirOwn(t *testing.T) {
	var c Cluster
	for _, group := range []string{"a", "b", "a"} {
		c.ChangeGroup(group, func(s *GroupState) { s.Foreign++ })
	}
	got := c.Groups()
	if !slices.Equal(got, []GroupState{{Group: "a", Foreign: 2}, {Group: "b", Foreign: 1}}) {
		t.Errorf("they are %+v", got)
	}
	got[0].Foreign = 100
	if c.Groups()[0].Foreign != 2 {
		t.Error("who asks for them can change them")
	}
}
