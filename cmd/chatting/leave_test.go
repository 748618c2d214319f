package main

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
)

func TestASignalDuringTheStartIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	code := run(ctx, []string{"serve"}, surroundings{in: strings.NewReader(""), out: io.Discard, err: &stderr, environ: []string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
	}})
	if code != 0 || strings.Contains(stderr.String(), "cancel") || strings.Contains(stderr.String(), "before everything was done") {
		t.Errorf("code %d: %s", code, stderr.String())
	}
}

// Anybody can leave a request unfinished.
func TestAnUnfinishedRequestDoesNotSpoilTheEnd(t *testing.T) {
	var s *inProcess
	t.Cleanup(func() { // after the server has ended
		if s != nil && s.hurried {
			t.Error("the server left before everything was done")
		}
	})
	s = serveInProcess(t)
	for _, said := range []string{"", "GET / HT", "POST /api/chatting/friends/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"} {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
	}
}
