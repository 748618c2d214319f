package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/test/harness"
)

func TestASignalDuringTheStartIsNoFailure(t *testing.T) {
	verifyNoLeak(t, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")) // ends some seconds later
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stderr strings.Builder
	code := serve(ctx, []string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
	}, &stderr)
	if code != 0 || strings.Contains(stderr.String(), "cancel") || strings.Contains(stderr.String(), "before everything was done") {
		t.Errorf("code %d: %s", code, stderr.String())
	}
}

// Anybody can leave a request unfinished.
func TestAnUnfinishedRequestDoesNotSpoilTheEnd(t *testing.T) {
	var s *inProcess
	var conns []net.Conn
	t.Cleanup(func() { // after the server has ended
		for _, conn := range conns {
			_ = conn.Close()
		}
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
		conns = append(conns, conn)
		if _, err := io.WriteString(conn, said); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALongBodyThatIsRefusedIsAnswered(t *testing.T) {
	s := serveInProcess(t, "CHATTING_LIMIT_INBOUND_BYTES=2MiB")
	// The client reads nothing before it has written all, as many do.
	post := func(bytes int) int {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(harness.CanaryWait))
		const head = "POST /api/chatting/friends/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
		if _, err := fmt.Fprintf(conn, head, bytes); err != nil {
			t.Fatal(err)
		}
		answer := bufio.NewReader(conn)
		piece := make([]byte, 64<<10)
		for left := bytes; left > 0; left -= len(piece) {
			if _, err := conn.Write(piece[:min(left, len(piece))]); err != nil {
				t.Fatal(err)
			}
			if refused := bytes > 1<<20; refused && left == bytes {
				_, _ = answer.Peek(1) // it is answered by then
			}
		}
		response, err := http.ReadResponse(answer, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if got := post(2 << 20); got != http.StatusRequestEntityTooLarge {
		t.Errorf("a body above http.body_limit: %d", got)
	}
	refused := 0
	for range 8 {
		if post(900<<10) == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused == 0 {
		t.Error("limit.inbound_bytes refuses nothing")
	}
}

// What takes too long to end leaves time for what comes after it.
func TestAShareOfTheTimeLeavesSome(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := within(1, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("it ended with %v, and all of the time with %v", err, ctx.Err())
	}
}
