package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/cmd/chatting/exit"
)

// deadLetterWorld is a broker with the topics of an installation, and nobody who reads them.
type deadLetterWorld struct {
	t       *testing.T
	broker  string
	environ []string
	names   kafka.TopicNames
}

func newDeadLetterWorld(t *testing.T) *deadLetterWorld {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	broker, err := embedded.Start(t.Context(), embedded.Options{Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: []string{broker.Addr()}})
	t.Cleanup(cluster.Close)
	names := kafka.NamesFor("chatting")
	if err := (kafka.TopicSetup{Names: names, Partitions: 4, Logger: logger}).Ensure(t.Context(), cluster); err != nil {
		t.Fatal(err)
	}
	return &deadLetterWorld{t, broker.Addr(), []string{"CHATTING_EMBEDDED_KAFKA_ADDR=" + broker.Addr()}, names}
}

// bury writes a dead letter to partition 0, as the server does.
func (w *deadLetterWorld) bury(code, value string, count int, headers ...kafkago.Header) {
	w.t.Helper()
	header := func(key, value string) kafkago.Header { return kafkago.Header{Key: key, Value: []byte(value)} }
	writer := kafkago.Writer{
		Addr: kafkago.TCP(w.broker), Topic: w.names.DeadLetters, BatchTimeout: time.Millisecond, RequiredAcks: kafkago.RequireAll,
		Balancer: kafkago.BalancerFunc(func(kafkago.Message, ...int) int { return 0 }),
	}
	defer writer.Close()
	message := kafkago.Message{Key: []byte("key"), Value: []byte(value), Headers: append(headers,
		header("kafka_dlt-original-topic", w.names.SystemMessages), header("kafka_dlt-original-partition", "2"),
		header("kafka_dlt-original-offset", "5"), header("kafka_dlt-original-timestamp", "1767323045678"),
		header("kafka_dlt-exception-fqcn", code), header("kafka_dlt-exception-message", "A reason."),
		header("chatting_dlt-count", fmt.Sprint(count)))}
	if err := writer.WriteMessages(w.t.Context(), message); err != nil {
		w.t.Fatal(err)
	}
}

// replayed returns what is in partition 2 of the topic of system messages, once it has so many records.
func (w *deadLetterWorld) replayed(count int) []kafkago.Message {
	w.t.Helper()
	reader := kafkago.NewReader(kafkago.ReaderConfig{
		Brokers: []string{w.broker}, Topic: w.names.SystemMessages, Partition: 2, MaxWait: 100 * time.Millisecond,
	})
	defer reader.Close()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	messages := make([]kafkago.Message, count)
	for i := range messages {
		var err error
		if messages[i], err = reader.ReadMessage(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
	return messages
}

func (w *deadLetterWorld) run(args ...string) outcome {
	w.t.Helper()
	return command(w.t, w.environ, append([]string{"dlt"}, args...)...)
}

// lines runs a command that must succeed.
func (w *deadLetterWorld) lines(args ...string) []string {
	w.t.Helper()
	o := w.run(args...)
	if o.code != 0 || o.err != "" {
		w.t.Fatalf("%v: %+v", args, o)
	}
	return strings.Split(strings.TrimRight(o.out, "\n"), "\n")
}

func TestDeadLettersAreListedWithoutWhatTheySay(t *testing.T) {
	w := newDeadLetterWorld(t)
	if got := w.lines("list"); len(got) != 1 {
		t.Errorf("of none it lists %q", got)
	}
	w.bury("chatting.invalid_json", `{"target_id":7,"message":"quite secret"`, 1)
	w.bury("chatting.no_user_or_offline", `{"target_id":7,"message":"quite secret"}`, 2)
	w.bury("chatting.\x1b[2J", `{"target_id":8,"message":"quite secret"}`, 1)
	all := w.lines("list")
	for i, want := range []string{
		`^PLACE +TIME +CODE +TIMES +TARGET +BYTES +WRITTEN AT$`,
		`^0/0 +20\S+Z +chatting\.invalid_json +1 +nobody known +39 +chatting\.system-messages 2/5$`,
		`^0/1 +20\S+Z +chatting\.no_user_or_offline +2 +user 7 +40 +chatting\.system-messages 2/5$`,
		`^0/2 +20\S+Z +chatting\.\\x1b\[2J +1 +user 8 +40 +chatting\.system-messages 2/5$`,
	} {
		if i >= len(all) || !regexp.MustCompile(want).MatchString(all[i]) {
			t.Errorf("line %d of %q does not match %s", i, all, want)
		}
	}
	if strings.Contains(strings.Join(all, "\n"), "secret") {
		t.Error("it shows what is said")
	}
	for filter, want := range map[string]string{
		"--code invalid_json": "0/0", "--code chatting.no_user_or_offline": "0/1", "--target 8": "0/2", "--target 9": "",
		"--limit 2": "0/0 0/1", "--partition 0 --offset 1": "0/1", "--partition 0 --offset 9": "", "--partition 1": "",
		"--since 1h": "0/0 0/1 0/2", "--since 2100-01-01T00:00:00Z": "",
	} {
		var places []string
		for _, line := range w.lines(append([]string{"list"}, strings.Fields(filter)...)...)[1:] {
			places = append(places, strings.Fields(line)[0])
		}
		if got := strings.Join(places, " "); got != want {
			t.Errorf("%s: it lists %q, not %q", filter, got, want)
		}
	}
}

func TestADeadLetterIsShownWholeAndHarmless(t *testing.T) {
	w := newDeadLetterWorld(t)
	w.bury("chatting.invalid_json", "{\"target_id\":7,\n\"message\":\"hello \x1b[2J\"", 1, kafkago.Header{Key: "trace", Value: []byte("\x00")})
	shown := strings.Join(w.lines("show"), "\n")
	for _, want := range []string{
		"0/0, 20", "code     chatting.invalid_json", "reason   A reason.", "times    1", "written  chatting.system-messages 2/5, 2026-01-02T03:04:05.678Z",
		"key      key", `header   trace: \x00`, "header   chatting_dlt-count: 1", `"message":"hello \u001b[2J"`,
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	if strings.ContainsAny(shown, "\x1b\x00") {
		t.Error("it steers the terminal")
	}
	if got := w.run("show", "--raw", "--partition", "0", "--offset", "0"); got.out != "{\"target_id\":7,\n\"message\":\"hello \x1b[2J\"" {
		t.Errorf("raw it is %+v", got)
	}
	w.bury("chatting.invalid_json", "{", 1)
	if got := strings.Join(w.lines("show", "--limit", "1"), "\n"); !strings.Contains(got, "0/0, ") || strings.Contains(got, "0/1, ") {
		t.Errorf("of one letter it shows %s", got)
	}
	w.run("show", "--raw").complains(t, "--raw is for exactly one dead letter, not for 2")
}

func TestReplayWritesTheLetterAgainUnderItsFirstPlace(t *testing.T) {
	w := newDeadLetterWorld(t)
	w.bury("chatting.no_user_or_offline", `{"target_id":7,"message":"a"}`, 3, kafkago.Header{Key: "ce_id", Value: []byte("1")})
	w.bury("chatting.invalid_json", `{"target_id":7,`, 1)
	if got := w.lines("replay", "--all", "--dry-run"); !slices.Equal(got, []string{
		"would replay 0/0 (chatting.no_user_or_offline, for user 7)", "would replay 0/1 (chatting.invalid_json, for nobody known)", "would replay 2",
	}) {
		t.Errorf("the rehearsal says %q", got)
	}
	if got := w.lines("replay", "--target", "7"); !slices.Equal(got, []string{"replayed 0/0 (chatting.no_user_or_offline, for user 7)", "replayed 1"}) {
		t.Errorf("it says %q", got)
	}
	mended := filepath.Join(t.TempDir(), "value.json")
	if err := os.WriteFile(mended, []byte(`{"target_id":7,"message":"mended"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run("replay", "--all", "--value", mended).complains(t, "--value is for exactly one dead letter, not for 2")
	w.lines("replay", "--code", "invalid_json", "--value", mended)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := w.lines("replay", "--all", "--limit", "1", "--value", empty); len(got) != 2 {
		t.Errorf("of one letter it replays %q", got)
	}
	messages := w.replayed(3)
	for i, want := range []string{`{"target_id":7,"message":"a"}`, `{"target_id":7,"message":"mended"}`, ""} {
		if string(messages[i].Value) != want || string(messages[i].Key) != "key" {
			t.Errorf("record %d is %s: %s, not %s", i, messages[i].Key, messages[i].Value, want)
		}
	}
	var headers []string
	for _, h := range messages[0].Headers {
		headers = append(headers, h.Key+"="+string(h.Value))
	}
	if got, want := strings.Join(headers, " "), "kafka_dlt-original-topic=chatting.system-messages kafka_dlt-original-partition=2 "+
		"kafka_dlt-original-offset=5 kafka_dlt-original-timestamp=1767323045678 chatting_dlt-count=3 ce_id=1"; got != want {
		t.Errorf("its headers are %s, not %s", got, want)
	}
}

func TestALetterWithoutItsValueIsReplayedOnlyWithAnother(t *testing.T) {
	w := newDeadLetterWorld(t)
	w.bury("chatting.too_large", "", 1, kafkago.Header{Key: "chatting_dlt-value-left-out", Value: []byte("9000000")})
	w.bury("chatting.no_user_or_offline", `{"target_id":7,"message":"a"}`, 1)
	o := w.run("replay", "--all")
	if o.code != int(exit.Findings) || !strings.Contains(o.out, "left out 0/0: its value is not in the dead letter") ||
		!strings.Contains(o.out, "replayed 0/1") || o.err != "chatting: 1 were left out\n" {
		t.Errorf("it says %+v", o)
	}
	w.run("show", "--raw", "--offset", "0", "--partition", "0").complains(t, "its value is not in the dead letter")
	if got := strings.Join(w.lines("show", "--code", "too_large"), "\n"); !strings.Contains(got, "9000000 bytes, which are only where it was first written") {
		t.Errorf("it shows %s", got)
	}
}

func TestMistakesWithDeadLettersAreOneLine(t *testing.T) {
	for _, row := range []struct{ line, want string }{
		{"dlt lst", `unknown command "lst": did you mean list? (see chatting dlt --help)`},
		{"dlt list 7", `chatting dlt list takes no argument such as "7"`},
		{"dlt list --code x", "the codes are chatting.empty, "},
		{"dlt list --target x", `--target "x": a user id is a positive integer`},
		{"dlt list --since yesterday", `--since "yesterday": write 90m or 24h`},
		{"dlt list --since -1h", `--since "-1h": write 90m or 24h`},
		{"dlt list --offset 1", "of which partition?"},
		{"dlt list --partition -1", `--partition "-1": it is a number from 0 on`},
		{"dlt list --limit 0", "from 1 on"},
		{"dlt replay", "which ones?"},
		{"dlt replay --limit 1 --value /nowhere/x", "--value: open /nowhere/x"},
	} {
		command(t, nil, strings.Fields(row.line)...).complains(t, row.want)
	}
	w := newDeadLetterWorld(t)
	if got := w.lines("list", "--partition", "0", "--offset", "3000000000"); len(got) != 1 {
		t.Errorf("at an offset that there is not yet it lists %q", got)
	}
	w.run("list", "--partition", "4").complains(t, "has the partitions 0 to 3")
	w.run("list", "--topic-prefix", "other").complains(t, "there is no topic other.system-messages")
	command(t, []string{"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:1"}, "dlt", "list").complains(t, "is the server running?")
}

func TestDeadLettersAreJSONLines(t *testing.T) {
	w := newDeadLetterWorld(t)
	w.bury("chatting.invalid_json", "{\"target_id\":7,\"message\":\"quite \x1b secret\"", 1)
	w.bury("chatting.no_user_or_offline", `{"target_id":7,"message":"quite secret"}`, 2)
	objects := func(args ...string) (all []map[string]any) {
		t.Helper()
		for _, line := range w.lines(append(args, "--json")...) {
			var object map[string]any
			if err := json.Unmarshal([]byte(line), &object); err != nil {
				t.Fatalf("%v: %s: %v", args, line, err)
			}
			all = append(all, object)
		}
		return all
	}
	listed := objects("list")
	if len(listed) != 2 || listed[1]["code"] != "chatting.no_user_or_offline" || listed[1]["target_id"] != 7.0 || listed[1]["times"] != 2.0 ||
		listed[1]["partition"] != 0.0 || listed[1]["offset"] != 1.0 || listed[1]["bytes"] != 40.0 || listed[1]["first_offset"] != 5.0 {
		t.Errorf("%v", listed)
	}
	if _, known := listed[0]["target_id"]; known || strings.Contains(fmt.Sprint(listed), "secret") {
		t.Errorf("%v", listed)
	}
	shown := objects("show", "--offset", "0", "--partition", "0")
	if len(shown) != 1 || shown[0]["value"] != "{\"target_id\":7,\"message\":\"quite \x1b secret\"" || shown[0]["key"] != "key" || shown[0]["headers"] == nil {
		t.Errorf("%v", shown)
	}
	would := objects("replay", "--all", "--dry-run")
	if len(would) != 3 || would[0]["outcome"] != "would_replay" || would[2]["would_replay"] != 2.0 {
		t.Errorf("%v", would)
	}
	replayed := objects("replay", "--code", "no_user_or_offline")
	if len(replayed) != 2 || replayed[0]["outcome"] != "replayed" || replayed[0]["offset"] != 1.0 || replayed[1]["replayed"] != 1.0 || replayed[1]["left_out"] != 0.0 {
		t.Errorf("%v", replayed)
	}
	w.replayed(1)
}
