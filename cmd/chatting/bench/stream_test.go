package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAStreamTellsLossRepetitionAndOrder(t *testing.T) {
	for _, row := range []struct {
		saw              []uint32
		sent             uint32
		missing          []span
		doubled, swapped int64
	}{
		{nil, 0, nil, 0, 0},
		{nil, 3, []span{{0, 3}}, 0, 0},
		{[]uint32{0, 1, 2}, 3, nil, 0, 0},
		{[]uint32{0, 1}, 4, []span{{2, 4}}, 0, 0},
		{[]uint32{0, 2}, 3, []span{{1, 2}}, 0, 0},
		{[]uint32{0, 5}, 8, []span{{1, 5}, {6, 8}}, 0, 0},
		{[]uint32{0, 2, 1}, 3, nil, 0, 1},
		{[]uint32{0, 5, 2}, 6, []span{{1, 2}, {3, 5}}, 0, 1},
		{[]uint32{0, 5, 1, 4}, 6, []span{{2, 4}}, 0, 2},
		{[]uint32{0, 0}, 1, nil, 1, 0},
		{[]uint32{0, 3, 1, 1}, 4, []span{{2, 3}}, 1, 1},
		{[]uint32{0, 9, 4, 7, 4}, 10, []span{{1, 4}, {5, 7}, {8, 9}}, 1, 2},
	} {
		t.Run(fmt.Sprint(row.saw, row.sent), func(t *testing.T) {
			var s stream
			for i, number := range row.saw {
				if first := !slices.Contains(row.saw[:i], number); s.saw(number) != first {
					t.Errorf("message %d as number %d: new is %t, want %t", number, i, !first, first)
				}
			}
			if got := s.missing(row.sent); !slices.Equal(got, row.missing) || s.doubled != row.doubled || s.swapped != row.swapped {
				t.Errorf("missing %v, doubled %d, swapped %d; want %v, %d, %d", got, s.doubled, s.swapped, row.missing, row.doubled, row.swapped)
			}
		})
	}
}

// TestAStreamIsAsExactAsASet: whatever comes in whatever order, a stream misses what a plain set of numbers misses.
func TestAStreamIsAsExactAsASet(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var s stream
		seen := map[uint32]bool{}
		var doubled int64
		for range random.IntN(40) {
			number := random.Uint32N(30)
			if seen[number] {
				doubled++
			}
			if s.saw(number) == seen[number] {
				t.Fatalf("message %d", number)
			}
			seen[number] = true
		}
		var missing []uint32
		for number := range uint32(30) {
			if !seen[number] {
				missing = append(missing, number)
			}
		}
		var got []uint32
		for _, gap := range s.missing(30) {
			for number := gap.first; number < gap.end; number++ {
				got = append(got, number)
			}
		}
		if !slices.Equal(got, missing) || s.doubled != doubled || size(s.missing(30)) != int64(len(missing)) {
			t.Fatalf("missing %v, want %v; doubled %d, want %d", got, missing, s.doubled, doubled)
		}
	}
}

func TestSpansInCommon(t *testing.T) {
	for _, row := range []struct {
		a, b []span
		want int64
	}{
		{nil, []span{{0, 9}}, 0},
		{[]span{{0, 5}}, []span{{3, 9}}, 2},
		{[]span{{0, 2}, {4, 6}, {8, 9}}, []span{{1, 5}, {8, 12}}, 3},
		{[]span{{0, 10}}, []span{{1, 2}, {3, 4}, {9, 11}}, 3},
	} {
		if got := common(row.a, row.b); got != row.want {
			t.Errorf("%v and %v have %d in common, want %d", row.a, row.b, got, row.want)
		}
		if got := common(row.b, row.a); got != row.want {
			t.Errorf("%v and %v have %d in common, want %d", row.b, row.a, got, row.want)
		}
	}
}

func TestAStampIsFoundWhereverTheTextIs(t *testing.T) {
	mark := markOf(0xbeef)
	m := newMessage(7, mark, 64)
	want := stamp{sender: 3, number: 1 << 20, at: 123456789}
	want.put(m.digits)
	text := m.frame[len(`{"target_id":7,"message":"`) : len(m.frame)-len(`"}`)]
	if len(text) != 64 || string(m.frame[:26]) != `{"target_id":7,"message":"` {
		t.Errorf("%s", m.frame)
	}
	for _, frame := range []string{string(m.frame), string(text), `{"x":1,"message":"` + string(text)} {
		if got, ok := findStamp([]byte(frame), mark); !ok || got != want {
			t.Errorf("%+v, %t in %s", got, ok, frame)
		}
	}
	for what, frame := range map[string]string{
		"of another run": string(newMessage(7, markOf(0xbeee), 64).frame),
		"cut off":        string(m.frame[:len(m.frame)-30]),
		"no digits":      string(mark) + "................................................",
		"no text":        `{"type":"send_status"}`,
	} {
		if got, ok := findStamp([]byte(frame), mark); ok {
			t.Errorf("%s: found %+v in %s", what, got, frame)
		}
	}
	if got := len(newMessage(7, mark, 1).frame) - len(`{"target_id":7,"message":""}`); got != MinTextBytes {
		t.Errorf("the shortest text has %d bytes, want %d", got, MinTextBytes)
	}
}
