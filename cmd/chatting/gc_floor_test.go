package main

import "testing"

func TestTheHeapMayGrowToTheFloorAndALargeOneByHalf(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1: 400, 12 << 20: 400, 16 << 20: 300, 32 << 20: 100, 40 << 20: 60, 48 << 20: 50, 64 << 20: 50, 1 << 40: 50,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("with %d bytes in use: %d %%, want %d", live, got, want)
		}
	}
}
