package main

import (
	"go/format"
	"testing"
)

func TestTheTimesThatAreShortenedAreWhereTheyAreLookedFor(t *testing.T) {
	changed, err := shortened()
	if err != nil {
		t.Fatal(err)
	}
	for path, source := range changed {
		if _, err := format.Source([]byte(source)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
