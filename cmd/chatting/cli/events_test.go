package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded"
	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// eventLog is an installation's topics on one of the two brokers.
type eventLog struct {
	t       *testing.T
	client  *kgo.Client
	prefix  string
	environ []string
}

// eachLog runs a suite on the topics of an embedded broker and, where CHATTING_TEST_KAFKA names one, of a real one.
func eachLog(t *testing.T, suite func(t *testing.T, log *eventLog)) {
	t.Run("embedded", func(t *testing.T) {
		broker, err := embedded.Start(t.Context(), embedded.Options{
			Addr: "127.0.0.1:0", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = broker.Close() })
		suite(t, newEventLog(t, broker.Addr(), "CHATTING_EMBEDDED_KAFKA_ADDR="+broker.Addr()))
	})
	t.Run("kafka", func(t *testing.T) {
		brokers := os.Getenv("CHATTING_TEST_KAFKA")
		if brokers == "" {
			t.Skip("CHATTING_TEST_KAFKA names no real Kafka")
		}
		log := newEventLog(t, brokers, "CHATTING_KAFKA_BROKERS="+brokers)
		t.Cleanup(log.deleteTopics)
		suite(t, log)
	})
}

func newEventLog(t *testing.T, brokers, setting string) *eventLog {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := &eventLog{t: t, prefix: "events-" + strings.ToLower(rand.Text()[:8])}
	log.environ = []string{setting, "CHATTING_TOPIC_PREFIX=" + log.prefix}
	cluster := kafka.NewCluster(logclient.ClusterOptions{Brokers: strings.Split(brokers, ",")})
	defer cluster.Close()
	setup := kafka.TopicSetup{Names: kafka.NamesFor(log.prefix), Partitions: 2, Logger: slog.New(slog.DiscardHandler)}
	if err := setup.Ensure(ctx, cluster); err != nil {
		t.Fatal(err)
	}
	var err error
	log.client, err = kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.client.Close)
	return log
}

func (l *eventLog) deleteTopics() {
	l.t.Helper()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = 10_000
	for _, topic := range kafka.NamesFor(l.prefix).All() {
		named := kmsg.NewDeleteTopicsRequestTopic()
		named.Topic = &topic
		request.Topics = append(request.Topics, named)
		request.TopicNames = append(request.TopicNames, topic)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := request.RequestWith(ctx, l.client); err != nil {
		l.t.Error(err)
	}
}

// write appends a record to partition 0 of a topic, by its short name.
func (l *eventLog) write(topic, key, value string, headers ...kgo.RecordHeader) {
	l.t.Helper()
	l.append(&kgo.Record{Topic: l.prefix + "." + topic, Key: []byte(key), Value: []byte(value), Headers: headers, Timestamp: time.Now()})
}

func (l *eventLog) append(r *kgo.Record) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	if err := l.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
}

// tail runs chatting events tail.
func (l *eventLog) tail(args ...string) outcome {
	l.t.Helper()
	return command(l.t, l.environ, append([]string{"events", "tail"}, args...)...)
}

// shown returns the lines of a tail that ends, without the time before each, in alphabetical order.
func (l *eventLog) shown(args ...string) []string {
	l.t.Helper()
	o := l.tail(append(args, "--end")...)
	if o.code != 0 || o.err != "" {
		l.t.Fatalf("%v: %+v", args, o)
	}
	var lines []string
	for line := range strings.Lines(o.out) {
		at, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			l.t.Errorf("%q begins with no time", line)
		}
		lines = append(lines, rest)
	}
	slices.Sort(lines)
	return lines
}

// event returns an event as the server writes it.
func event(kind, subject, data string) string {
	return `{"specversion":"1.0","id":"3f0c1e9e-6a57-4f0e-9d0a-0f2b6c1d7e21","source":"/chatting","type":"chatting.` + kind + `","subject":"` + subject +
		`","time":"2026-01-02T03:04:05.678Z","datacontenttype":"application/json","data":` + data + `}`
}

const (
	chatData   = `{"type":"chat_message","message":"hello <there>","from_id":201,"to_id":202}`
	inviteData = `{"type":"invite_game","from_id":202,"to_id":201,"status":"invite","room_id":"r1"}`
)

// writeEvents writes one event of each type, and returns how each is shown.
func (l *eventLog) writeEvents() []string {
	l.t.Helper()
	l.write("conversations", "201:202", event("chat_message.v1", "201", chatData))
	l.write("conversations", "201:202", event("invite_game.v1", "202", inviteData))
	l.write("conversations", "0:202", event("system_message.v1", "0", `{"type":"system_message","from":"admin","message":"round 2","to_id":202,"opponent_id":9}`))
	l.write("conversations", "201:202", event("user_blocked.v1", "202", `{"type":"user_blocked","from_id":202,"to_id":201,"version":1}`))
	l.write("conversations", "201:202", event("user_unblocked.v1", "202", `{"type":"user_unblocked","from_id":202,"to_id":201,"version":2}`))
	l.write("presence", "203", event("presence_changed.v1", "203", `{"user_id":203,"status":"online"}`))
	return []string{
		"conversations 0:0 chat_message 201 -> 202 hello <there>",
		"conversations 0:1 invite_game 202 -> 201 invite (room r1)",
		"conversations 0:2 system_message admin -> 202 round 2",
		"conversations 0:3 user_blocked 202 -> 201",
		"conversations 0:4 user_unblocked 202 -> 201",
		"presence 0:0 presence_changed 203 online",
	}
}

func TestEventsAreShownALineEach(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		want := log.writeEvents()
		if got := log.shown(); !slices.Equal(got, want) {
			t.Errorf("%q\nwant %q", got, want)
		}
	})
}

func TestFiltersAreAllToMatch(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		all := log.writeEvents()
		for _, row := range []struct {
			args string
			want []int
		}{
			{"--user 202", []int{0, 1, 2, 3, 4}},
			{"--user 203", []int{5}},
			{"--user 9", []int{2}},
			{"--user 20", nil},
			{"--type chat_message", []int{0}},
			{"--type user_blocked,chatting.user_unblocked.v1", []int{3, 4}},
			{"--type chatting.chat_message.v2", nil},
			{"--topic presence", []int{5}},
			{"--topic " + log.prefix + ".conversations", []int{0, 1, 2, 3, 4}},
			{"--topic presence,presence", []int{5}},
			{"--topic system-messages", nil},
			{"--user 201 --type invite_game,system_message", []int{1}},
			{"--user 203 --type chat_message", nil},
			{"--user 202 --topic presence", nil},
			{"--since 1h", []int{0, 1, 2, 3, 4, 5}},
			{"--since 1h --user 203 --topic presence --type presence_changed", []int{5}},
		} {
			var want []string
			for _, i := range row.want {
				want = append(want, all[i])
			}
			if got := log.shown(strings.Fields(row.args)...); !slices.Equal(got, want) {
				t.Errorf("%s: %q\nwant %q", row.args, got, want)
			}
		}
	})
}

func TestSinceLeavesOutWhatIsOlder(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		now := time.Now()
		for _, age := range []time.Duration{15 * time.Minute, 5 * time.Minute, 20 * time.Minute, time.Minute} { // not in the order of time
			data := `{"from_id":1,"to_id":2,"message":"` + age.String() + `"}`
			log.append(&kgo.Record{Topic: log.prefix + ".conversations", Key: []byte("1:2"), Timestamp: now.Add(-age),
				Value: []byte(event("chat_message.v1", "1", data))})
		}
		for since, want := range map[string]string{
			"25m": "15m0s 5m0s 20m0s 1m0s", "10m": "5m0s 1m0s", "10s": "", now.Add(-10 * time.Minute).Format(time.RFC3339): "5m0s 1m0s",
		} {
			var got []string
			for _, line := range log.shown("--since", since) {
				words := strings.Fields(line)
				got = append(got, words[len(words)-1])
			}
			if strings.Join(got, " ") != want {
				t.Errorf("--since %s: %q, want %q", since, got, want)
			}
		}
	})
}

func TestWhatIsNoEventIsShownAsSuch(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		topic := log.prefix + ".conversations"
		for _, value := range [][]byte{
			nil, {}, []byte("plain \x1b[2J\n\u202etext"), []byte("\xff\xfe"), []byte("null"), []byte("[1]"), []byte(`{"target_id":7,"message":"x"}`),
			[]byte(`{"specversion":"1.0","message":"x"}`),
			[]byte(event("system_message.v1", "0", `{"from":"admin","message":"round 2","to_id":7,"room_id":"r1"}`)),
			[]byte(`{"specversion":"1.0","type":"chatting.chat_message.v1","data":7}`),
			[]byte(event("chat_message.v1", "1", `{"from_id":"x","to_id":[],"message":{}}`)),
			[]byte(event("later.v3", "1", `{"\u001b":1}`)),
			[]byte(event("chat_message.v1", "1", `{"from_id":1,"to_id":2,"message":"\u001b[31m\n\u202ered"}`)),
			[]byte(strings.Repeat("long ", 1000)),
		} {
			log.append(&kgo.Record{Topic: topic, Key: []byte(strings.Repeat("k", 1000)), Value: value, Timestamp: time.Now()})
		}
		log.append(&kgo.Record{Topic: topic, Value: []byte("{"), Timestamp: time.Now()})
		o := log.tail("--end", "--topic", "conversations")
		var got []string
		for line := range strings.Lines(o.out) {
			_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " conversations 0:")
			_, rest, _ = strings.Cut(rest, " ")
			got = append(got, rest)
		}
		want := []string{
			"(no value)", "(no JSON object) ", `(no JSON object) plain \u001b[2J\u000a\u202etext`, "(no JSON object) \ufffd\ufffd", "(no JSON object) null",
			"(no JSON object) [1]", `(no CloudEvent) {"target_id":7,"message":"x"}`, `(no CloudEvent) {"specversion":"1.0","message":"x"}`,
			`system_message admin -> 7 round 2 (room r1)`,
			`chat_message {"specversion":"1.0","type":"chatting.chat_message.v1","data":7}`,
			"chat_message 0 -> 0",
			"chatting.later.v3 " + event("later.v3", "1", `{"\u001b":1}`), // escaped by whoever wrote it
			`chat_message 1 -> 2 \u001b[31m\u000a\u202ered`,
			"(no JSON object) " + strings.Repeat("long ", 60) + "… (5000 bytes)", "(no JSON object) {",
		}
		if o.code != 0 || !slices.Equal(got, want) {
			t.Errorf("code %d, %s\n%s\nwant\n%s", o.code, o.err, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := log.shown("--user", "7"); len(got) != 2 || !strings.Contains(got[0], "target_id") {
			t.Errorf("%q", got)
		}
	})
}

func TestJSONLinesHoldTheWholeRecord(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		chat := event("chat_message.v1", "201", chatData)
		log.write("conversations", "201:202", chat, kgo.RecordHeader{Key: "content-type", Value: []byte("application/cloudevents+json")})
		log.write("conversations", "201:202", "no \x1b event", kgo.RecordHeader{Key: "h", Value: []byte("v")})
		log.append(&kgo.Record{Topic: log.prefix + ".conversations", Key: []byte("\xff"), Value: []byte("\xfe"), Timestamp: time.Now()})
		log.append(&kgo.Record{Topic: log.prefix + ".conversations", Timestamp: time.Now()})
		o := log.tail("--end", "--topic", "conversations", "--format", "json")
		lines := strings.Split(strings.TrimSuffix(o.out, "\n"), "\n")
		at := `"topic":"` + log.prefix + `.conversations","partition":0,"offset":`
		want := []string{
			`{` + at + `0,"timestamp":"T","key":"201:202","event":` + chat + `}`,
			`{` + at + `1,"timestamp":"T","key":"201:202","event":null,"value":"no \u001b event","headers":[["h","v"]]}`,
			`{` + at + `2,"timestamp":"T","key":null,"key_base64":"/w==","event":null,"value_base64":"/g=="}`,
			`{` + at + `3,"timestamp":"T","key":null,"event":null}`,
		}
		if o.code != 0 || o.err != "" || len(lines) != len(want) {
			t.Fatalf("%+v", o)
		}
		for i, line := range lines {
			var stamped struct{ Timestamp string }
			if err := json.Unmarshal([]byte(line), &stamped); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if got := strings.Replace(line, stamped.Timestamp, "T", 1); got != want[i] {
				t.Errorf("%s\nwant %s", got, want[i])
			}
		}
	})
}

func TestATailFollowsUntilItIsInterrupted(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		log.writeEvents()
		for _, since := range []string{"", "1h"} {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			out, in := io.Pipe()
			var stderr bytes.Buffer
			args := []string{"events", "tail", "--topic", "presence"}
			if since != "" {
				args = append(args, "--since", since)
			}
			ended := make(chan int, 1)
			go func() {
				ended <- Run(ctx, args, Process{Out: in, Err: &stderr, Environ: log.environ})
				in.Close()
			}()
			// Whether it has begun nobody can see from here: events are logged until one is shown.
			seen := make(chan string)
			go func() {
				defer close(seen)
				for lines := bufio.NewScanner(out); lines.Scan(); {
					seen <- lines.Text()
				}
			}()
			deadline := time.After(time.Minute)
			for came := false; !came; {
				log.write("presence", "204", event("presence_changed.v1", "204", `{"user_id":204,"status":"offline"}`))
				select {
				case line := <-seen:
					old := strings.Contains(line, " 203 online")
					if old && since == "" {
						t.Errorf("what was there before is shown: %s", line)
					}
					came = strings.Contains(line, " presence_changed 204 offline")
				case <-time.After(100 * time.Millisecond):
				case <-deadline:
					t.Fatal("nothing is shown")
				}
			}
			interrupt()
			for range seen { // what was on its way
			}
			if code := <-ended; code != 0 || stderr.Len() > 0 {
				t.Errorf("code %d, %s", code, stderr.String())
			}
		}
	})
}

func TestTopicsThatAreNotThereAreOneClearLine(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		environ := append(slices.Clone(log.environ), "CHATTING_TOPIC_PREFIX=nobodys-"+log.prefix)
		for _, args := range [][]string{{"--end"}, nil} {
			command(t, environ, append([]string{"events", "tail", "--topic", "presence"}, args...)...).complains(t, "there is no topic nobodys-"+log.prefix+".presence")
		}
	})
}

func TestATailWithoutABrokerIsOneClearLine(t *testing.T) {
	command(t, []string{"CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:1"}, "events", "tail").complains(t, "no Kafka broker answers at 127.0.0.1:1")
}

func TestBadFiltersAreExplained(t *testing.T) {
	for _, row := range []struct{ args, want string }{
		{"--topic rooms", `--topic "rooms": the topics are conversations, presence, sessions,`},
		{"--topic presence,", `--topic "presence,": the topics are`},
		{"--user x", `--user "x": a user id is a positive integer`},
		{"--user 0", `--user "0": `},
		{"--type chat", `--type "chat": the types are chat_message, `},
		{"--since yesterday", `--since "yesterday": write 90m or 24h`},
		{"--since -1h", `--since "-1h": write 90m or 24h`},
		{"--since 2999-01-01T00:00:00Z", `--since "2999-01-01T00:00:00Z": that is in the future`},
		{"--format xml", `--format "xml": it is text or json`},
		{"presence", "takes no argument"},
	} {
		command(t, nil, append([]string{"events", "tail"}, strings.Fields(row.args)...)...).complains(t, row.want)
	}
}

func TestARecordConcernsTheUsersThatItNames(t *testing.T) {
	for _, field := range []string{"from_id", "to_id", "user_id", "target_id", "opponent_id", "user"} {
		for _, value := range []string{"7", `"7"`, `" 7 "`} {
			r := see("t", &recordbatch.StoredRecord{Value: []byte(`{"` + field + `":` + value + `}`)})
			if !r.concerns(7) || r.concerns(8) {
				t.Errorf("%s: %s is not for 7 alone", field, value)
			}
		}
	}
	if r := see("t", &recordbatch.StoredRecord{WholeKey: []byte("7:70")}); !r.concerns(7) || !r.concerns(70) || r.concerns(77) {
		t.Error("the key 7:70 is not for 7 and 70 alone")
	}
}

// A tail whose reader has gone ends.
func TestATailThatCannotWriteSaysSo(t *testing.T) {
	eachLog(t, func(t *testing.T, log *eventLog) {
		log.write("presence", "203", event("presence_changed.v1", "203", `{"user_id":203,"status":"online"}`)) // the other topic has none
		out, in := io.Pipe()
		out.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		var stderr bytes.Buffer
		code := Run(ctx, []string{"events", "tail", "--since", "1h"}, Process{Out: in, Err: &stderr, Environ: log.environ})
		if code != 1 || !strings.Contains(stderr.String(), "closed pipe") || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("code %d, %s", code, stderr.String())
		}
	})
}

// Each type of our events has a schema; so has send_system_message, which is no event but what others ask for.
func TestEveryTypeOfOurEventsHasAShortName(t *testing.T) {
	schemas, err := filepath.Glob("../../../docs/schemas/*.v1.json")
	if err != nil || len(schemas) == 0 {
		t.Fatalf("%d schemas, %v", len(schemas), err)
	}
	var types []string
	for _, schema := range schemas {
		if name := strings.TrimSuffix(filepath.Base(schema), ".v1.json"); name != "send_system_message" {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	if short := slices.Sorted(slices.Values(shortTypes)); !slices.Equal(short, types) {
		t.Errorf("the short names are %v, and the types with a schema %v", short, types)
	}
}
