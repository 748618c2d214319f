package rfc6455

import (
	"bytes"
	"testing"
)

func TestFramesOfAllLengthsAreCutAtTheirEnds(t *testing.T) {
	var all []byte
	var ends []int
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 200_000, 3, 20_000, 20_000} {
		all = Append(all, Text, make([]byte, n))
		ends = append(ends, len(all))
	}
	at, cuts := 0, 0
	for rest := all; len(rest) > 0; cuts++ {
		n := Fit(rest, 32<<10)
		at += n
		rest = rest[n:]
		found := false
		for _, end := range ends {
			found = found || end == at
		}
		if !found {
			t.Fatalf("cut at %d, which is inside a frame", at)
		}
	}
	if cuts < 4 {
		t.Errorf("%d cuts", cuts)
	}
}

func TestTheRestOfAFrameEndsAtItsBoundary(t *testing.T) {
	frames := Append(Append(Append(nil, Text, bytes.Repeat([]byte("a"), 10)), Text, bytes.Repeat([]byte("b"), 300)), Text, []byte("c"))
	for n, want := range map[int]int{0: 0, 1: 11, 12: 0, 13: 303, 315: 1, 316: 0, 317: 2, 319: 0} {
		if got := len(Rest(frames, n)); got != want {
			t.Errorf("after %d bytes %d are left, want %d", n, got, want)
		}
	}
	for _, size := range []int{0, 125, 126, 1<<16 - 1, 1 << 16} {
		if got := len(Append(nil, Text, make([]byte, size))) - size; got != Length(size)-size {
			t.Errorf("the header of %d bytes has %d", size, got)
		}
	}
}
