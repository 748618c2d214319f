package server

import (
	"log/slog"
	"strings"
	"testing"
)

func TestFilesAreSharedOutSoThatTheyDoNotRunOut(t *testing.T) {
	for _, row := range []struct {
		files      uint64
		configured int
		want       places
	}{
		{0, 10000, places{8192, 64, 10000}},
		{1 << 20, 10000, places{8192, 64, 10000}},
		{1 << 20, 0, places{8192, 64, 909248}},
		{1 << 62, 0, places{8192, 64, 0}},
		{20000, 10000, places{7436, 64, 10000}},
		{1024, 10000, places{144, 48, 576}},
		{1024, 100, places{604, 64, 100}},
		{64, 10000, places{6, 2, 24}},
		{1, 1, places{1, 1, 1}},
	} {
		got := placesFor(row.files, row.configured)
		if got != row.want {
			t.Errorf("of %d files for %d connections: %+v, want %+v", row.files, row.configured, got, row.want)
		}
	}
}

func TestFewerConnectionsThanConfiguredAreWarnedOf(t *testing.T) {
	for connections, warned := range map[string]bool{"1": false, "1000000000": true} {
		var log strings.Builder
		newPlaces(configured(t, "CHATTING_LIMIT_CONNECTIONS="+connections), slog.New(slog.NewTextHandler(&log, nil)))
		if got := strings.Contains(log.String(), "fewer WebSocket connections than configured"); got != warned {
			t.Errorf("%s connections: warned: %t", connections, got)
		}
	}
}
