package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/application/blocks"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
	"chatting/test/harness"
)

// TestAnInviteIsAnsweredAfterARestart: the node reads back what the log has of invites.
func TestAnInviteIsAnsweredAfterARestart(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	connect := func(s *onClock, user int) *harness.Client {
		t.Helper()
		s.until(t, "readiness", s.isReady(t))
		client, err := harness.ConnectWith(s.addr, map[string]any{"token": s.token(t, user), "features": []string{"invites"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	send := func(from *harness.Client, frame map[string]any) {
		t.Helper()
		frame["type"] = "invite_game"
		if err := from.SendFrame(frame); err != nil {
			t.Fatal(err)
		}
	}
	seen := func(client *harness.Client) harness.Frame { // what comes behind the answer to the login
		t.Helper()
		frame, err := client.At(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	s, end := serveOnClock(t, dir, 0, "CHATTING_INVITE_EXPIRES_AFTER=10m")
	one, two := connect(s, 1), connect(s, 2)
	send(one, map[string]any{"target_id": 2, "status": "invite"})
	invite := seen(two)
	// What is read back is counted from the time that the database knows: from a later one on there is no invite.
	at := time.Now()
	s.until(t, "a later time in the database", func() bool {
		known, _, err := s.store.Clock.ReferenceTime(ctx)
		return err == nil && known.After(at)
	})
	end()

	s, _ = serveOnClock(t, dir, 0, "CHATTING_INVITE_EXPIRES_AFTER=10m")
	one, two = connect(s, 1), connect(s, 2)
	send(two, map[string]any{"target_id": 1, "status": "accept", "room_id": invite.Room})
	if answer := seen(two); answer.Status != "accept" || answer.Room == "" || answer.Room != invite.Room {
		t.Errorf("the answer to %+v comes to %+v", invite, answer)
	}
	if answer := seen(one); answer.Status != "accept" {
		t.Errorf("who invited sees %+v", answer)
	}
}

// TestAChangeOfThePartitionsIsRefusedWithBothNumbers: keys would move.
func TestAChangeOfThePartitionsIsRefusedWithBothNumbers(t *testing.T) {
	dir := t.TempDir()
	s, end := serveOnClock(t, dir, 0)
	s.until(t, "readiness", s.isReady(t))
	end()
	code, log := serveUntilItEnds(t, "CHATTING_DATA_DIR="+dir, "CHATTING_KAFKA_PARTITIONS=3")
	if code != 1 || !strings.Contains(log, "kafka.partitions is 3, but the database was used with 2 partitions") {
		t.Errorf("code %d: %s", code, log)
	}
	if err := os.RemoveAll(filepath.Join(dir, "kafka")); err != nil { // the database knows, too
		t.Fatal(err)
	}
	code, log = serveUntilItEnds(t, "CHATTING_DATA_DIR="+dir, "CHATTING_KAFKA_PARTITIONS=3")
	if code != 1 || !strings.Contains(log, "set kafka.partitions to 2") {
		t.Errorf("on topics that were to be made anew, code %d: %s", code, log)
	}
	s, end = serveOnClock(t, dir, 0) // no topics were made that stand in the way of the right number
	s.until(t, "readiness", s.isReady(t))
	end()
	if err := os.Remove(filepath.Join(dir, "chatting.db")); err != nil { // the topics know, too
		t.Fatal(err)
	}
	code, log = serveUntilItEnds(t, "CHATTING_DATA_DIR="+dir, "CHATTING_KAFKA_PARTITIONS=3")
	if code != 1 || !strings.Contains(log, "has 2 partitions, not 3") {
		t.Errorf("without the database, code %d: %s", code, log)
	}
}

// TestTopicsKeepTheirPartitionsWhereNoNumberIsConfigured, whatever the default is; and adopt asks before it changes.
func TestTopicsKeepTheirPartitionsWhereNoNumberIsConfigured(t *testing.T) {
	dir := t.TempDir()
	byDefault := configured(t, "CHATTING_DATA_DIR="+dir)
	if cfg := installation.WithPartitions(byDefault); cfg.Kafka.Partitions != byDefault.Kafka.Partitions {
		t.Errorf("without topics: %d", cfg.Kafka.Partitions)
	}
	s, end := serveOnClock(t, dir, 0)
	s.until(t, "readiness", s.isReady(t))
	end()
	if cfg := installation.WithPartitions(byDefault); cfg.Kafka.Partitions != 2 {
		t.Errorf("with topics of 2 partitions: %d", cfg.Kafka.Partitions)
	}
	for environ, want := range map[string]int{
		"CHATTING_KAFKA_PARTITIONS=3":   3,
		"CHATTING_KAFKA_BROKERS=k:1":    16,
		"CHATTING_TOPIC_PREFIX=another": byDefault.Kafka.Partitions,
	} {
		if cfg := installation.WithPartitions(configured(t, "CHATTING_DATA_DIR="+dir, environ)); cfg.Kafka.Partitions != want {
			t.Errorf("%s: %d", environ, cfg.Kafka.Partitions)
		}
	}
	moving := []string{"CHATTING_DATA_DIR=" + dir, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_TOPIC_PREFIX=another"}
	const want = "the database was used with 2 partitions, and 4 are the default here: set kafka.partitions, " +
		"to 2 if what is stored for offline users is to be delivered"
	if said, err := installation.Adopt(t.Context(), configured(t, moving...), slog.New(slog.DiscardHandler)); err == nil || err.Error() != want {
		t.Errorf("%s, %v; want %s", said, err, want)
	}
	moving = append(moving, "CHATTING_KAFKA_PARTITIONS=4")
	if _, err := installation.Adopt(t.Context(), configured(t, moving...), slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

// serve runs a server as the command does, and returns the exit code.
func serve(ctx context.Context, environ []string, stderr io.Writer) int {
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err == nil {
		err = Run(ctx, cfg, "of a test", stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "chatting:", err)
		return 1
	}
	return 0
}

// configured loads a configuration from variables alone.
func configured(t *testing.T, environ ...string) configs.Config {
	t.Helper()
	cfg, err := configs.Load(configs.Sources{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// verifyNoLeak checks at the end of a test that every goroutine has ended.
func verifyNoLeak(t *testing.T, but ...goleak.Option) {
	t.Helper()
	but = append(but, goleak.IgnoreCurrent())
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, but...)
	})
}

// serveUntilItEnds runs a server that cannot go on, and returns its exit code and its log.
func serveUntilItEnds(t *testing.T, environ ...string) (code int, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.FrameWait)
	defer cancel()
	var stderr lockedLog
	code = serve(ctx, append([]string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0",
	}, environ...), &stderr)
	if ctx.Err() != nil {
		t.Error("the server went on")
	}
	return code, stderr.text.String()
}

// exchange sends a request as it is, and returns the answer.
func exchange(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(harness.FrameWait))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer
}

// TestPagesOfCORSOriginsMayReadEveryAnswer: also one that the connection gives before a request reaches the API.
func TestPagesOfCORSOriginsMayReadEveryAnswer(t *testing.T) {
	s := serveInProcess(t, "CHATTING_HTTP_CORS_ORIGINS=https://cors.example", "CHATTING_HTTP_CORS_HEADERS=X-One")
	for name, request := range map[string]string{
		"of the API":        "GET /api/chatting/friends/ HTTP/1.1\r\nHost: x\r\nOrigin: https://cors.example\r\nConnection: close\r\n\r\n",
		"of the connection": "GET /api/chatting/friends/ HTTP/1.1\r\nHost: x\r\nOrigin: https://cors.example\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n",
		"of a preflight": "OPTIONS /api/chatting/friends/ HTTP/1.1\r\nHost: x\r\nOrigin: https://cors.example\r\nAccess-Control-Request-Method: POST\r\n" +
			"Access-Control-Request-Headers: x-one\r\nConnection: close\r\n\r\n",
	} {
		answer := exchange(t, s.addr, request)
		if got := answer.Header.Get("Access-Control-Allow-Origin"); got != "https://cors.example" {
			t.Errorf("%s: %s for %q", name, answer.Status, got)
		}
	}
}

// TestATrustedProxyHasNoCapOfConnections: it brings those of many clients.
func TestATrustedProxyHasNoCapOfConnections(t *testing.T) {
	s := serveInProcess(t, "CHATTING_HTTP_TRUSTED_PROXIES=127.0.0.1", "CHATTING_LIMIT_ADDRESS_HTTP_CONNECTIONS=2")
	for range 5 {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if answer := exchange(t, s.addr, "GET /api/chatting/friends/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("it is answered %s", answer.Status)
	}
}

// TestTheRatesOfFramesAndOfWritesAreTwo has each of them stand for itself.
func TestTheRatesOfFramesAndOfWritesAreTwo(t *testing.T) {
	t.Run("frames", func(t *testing.T) {
		s := serveInProcess(t, "CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_FRAMES_PER_SECOND=1", "CHATTING_LIMIT_USER_WRITES_PER_SECOND=0")
		client, err := harness.Connect(s.addr, s.token(t, 7))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
		defer cancel()
		for i := 1; ; i++ {
			if err := client.SendFrame(map[string]any{"type": "ping"}); err != nil {
				t.Fatal(err)
			}
			answer, err := client.At(ctx, i)
			if err != nil || i == 300 {
				t.Fatalf("no frame of %d is refused, %v", i, err)
			}
			if answer.Code == "rate_limited" {
				return
			}
		}
	})
	t.Run("writes", func(t *testing.T) {
		s := serveInProcess(t, "CHATTING_LIMIT_USER_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_USER_WRITES_PER_SECOND=1")
		request := "DELETE /api/chatting/blockedusers/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.token(t, 7) +
			"\r\nContent-Type: application/json\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"target_id\":8}"
		for i := range 300 {
			if exchange(t, s.addr, request).StatusCode == http.StatusTooManyRequests {
				if i < 2 {
					t.Errorf("request %d is refused already", i)
				}
				return
			}
		}
		t.Error("no write is refused")
	})
}

// TestABlockThatACrashLeftIsPublished: it is in the database, and its request has ended without a word.
func TestABlockThatACrashLeftIsPublished(t *testing.T) {
	s, _ := serveOnClock(t, t.TempDir(), 0)
	s.until(t, "readiness", s.isReady(t))
	s.says(t) // both are known then
	change := blocks.Change{Blocker: 1, Target: 2, Blocked: true, At: time.Now().Add(-time.Hour)}
	if changed, err := s.store.Blocks.SetBlocked(t.Context(), change); err != nil || !changed {
		t.Fatal(changed, err)
	}
	s.until(t, "the block in the log", func() bool {
		pending, err := s.store.Blocks.PendingOf(t.Context(), 1, 2)
		return err == nil && len(pending) == 0
	})
}

// TestAServerOfAnotherPrefixMakesNoTopics: its database is that of another log.
func TestAServerOfAnotherPrefixMakesNoTopics(t *testing.T) {
	dir := t.TempDir()
	s, end := serveOnClock(t, dir, 0)
	s.until(t, "readiness", s.isReady(t))
	end()
	code, log := serveUntilItEnds(t, "CHATTING_DATA_DIR="+dir, "CHATTING_TOPIC_PREFIX=other")
	if code != 1 || !strings.Contains(log, "chatting adopt") {
		t.Errorf("code %d: %s", code, log)
	}
	broker, err := embedded.Start(t.Context(), embedded.Options{
		Addr: "127.0.0.1:0", Dir: filepath.Join(dir, "kafka"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	cfg := configured(t, "CHATTING_EMBEDDED_KAFKA_ADDR="+broker.Addr())
	for _, topic := range kafka.NamesFor("other").All() {
		cluster, err := installation.Dial(t.Context(), cfg, topic)
		if err != nil {
			t.Fatal(err)
		}
		if partitions, err := cluster.Partitions(t.Context(), topic); err == nil || !strings.Contains(err.Error(), "there is no topic "+topic) {
			t.Errorf("%s has %d partitions, %v", topic, partitions, err)
		}
		cluster.Close()
	}
}

func TestTheLineAboutReadinessSaysWhatIsEmbeddedAndWhoNeedsNoToken(t *testing.T) {
	for _, row := range []struct {
		settings []string
		want     bool
	}{{nil, true}, {[]string{"CHATTING_S2S_TRUST_LOOPBACK=false"}, false}} {
		s, end := serveOnClock(t, t.TempDir(), 0, append([]string{"CHATTING_JWT_SECRET="}, row.settings...)...)
		s.until(t, "the line", func() bool { return s.log.has("ready, on embedded parts") })
		if got := s.log.has("programs on this machine need no token"); got != row.want || !s.log.has("page=http://127.0.0.1:") || !s.log.has("embedded_kafka=127.0.0.1:") || !s.log.has("embedded_sqlite=") {
			t.Errorf("%v: the log says %s", row.settings, s.log.text.String())
		}
		end()
	}
}
