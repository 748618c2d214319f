package documents

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/kafka/ingest"
	"chatting/test/harness"
)

// produce writes records to the topic of system messages.
func (s *server) produce(topic string, records ...*kgo.Record) {
	s.t.Helper()
	for _, r := range records {
		r.Topic = topic
	}
	if err := harness.Dial(s.t, s.Kafka).ProduceSync(s.t.Context(), records...).FirstErr(); err != nil {
		s.t.Fatal(err)
	}
}

func TestTheExamplesOfWhatProgramsSayAreDelivered(t *testing.T) {
	d := readAsyncAPI(t)
	s := startServer(t)
	bob, _ := s.login(202)
	topic := d.Channels["systemMessages"].Address
	inStructure := kgo.RecordHeader{Key: "content-type", Value: []byte("application/cloudevents+json")}
	for _, c := range []struct {
		message string
		headers []kgo.RecordHeader
	}{{"producedMessage", nil}, {"producedEvent", []kgo.RecordHeader{inStructure}}} {
		for _, example := range d.examples(t, c.message) {
			s.produce(topic, &kgo.Record{Value: example, Headers: c.headers})
			got := s.next(bob)
			if err := d.Check("systemMessage", got); err != nil {
				t.Errorf("%s comes to %s: %v", example, got, err)
			}
		}
	}
	// Without the header it is the same event, which is not shown again: what comes next is the last one.
	for _, example := range d.examples(t, "producedEvent") {
		s.produce(topic, &kgo.Record{Key: []byte("k"), Value: example})
	}
	s.produce(topic, &kgo.Record{Key: []byte("k"), Value: []byte(`{"target_id":202,"message":"the last one"}`)})
	if got := s.next(bob); !bytes.Contains(got, []byte("the last one")) {
		t.Errorf("an event without its header is shown again: %s", got)
	}
	if letters := harness.ReadTopic(t.Context(), t, s.Kafka, d.Channels["deadLetters"].Address); len(letters) > 0 {
		t.Errorf("%d of the examples became dead letters", len(letters))
	}
}

func TestADeadLetterHasTheDocumentedHeadersAndNoOthers(t *testing.T) {
	d := readAsyncAPI(t)
	s := startServer(t)
	for _, example := range d.examples(t, "deadLetter") {
		s.produce(d.Channels["systemMessages"].Address, &kgo.Record{Value: example})
		ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
		var letters []*kgo.Record
		harness.Until(ctx, t, "the dead letter", func() bool {
			letters = harness.ReadTopic(ctx, t, s.Kafka, d.Channels["deadLetters"].Address)
			return len(letters) > 0
		})
		cancel()
		headers := map[string]any{}
		for _, h := range letters[0].Headers {
			headers[h.Key] = string(h.Value)
		}
		if err := d.DeadLetterHeaders.Validate(headers); err != nil {
			t.Errorf("%v: %v", headers, err)
		}
		for name := range headers {
			if _, known := d.DeadLetterHeaders.Properties[name]; !known {
				t.Errorf("%s is not documented", name)
			}
		}
		if string(letters[0].Value) != string(example) {
			t.Errorf("it is %s, not %s", letters[0].Value, example)
		}
	}
}

func TestTheDocumentedCodesOfDeadLettersAreThoseThatThereAre(t *testing.T) {
	d := readAsyncAPI(t)
	code := d.DeadLetterHeaders.Properties["kafka_dlt-exception-fqcn"]
	var documented []string
	for _, value := range code.Enum.Values {
		text, _ := value.(string)
		documented = append(documented, text)
	}
	if actual := ingest.DeadLetterCodes(); !slices.Equal(slices.Sorted(slices.Values(documented)), slices.Sorted(slices.Values(actual))) {
		t.Errorf("documented are %q, there are %q", documented, actual)
	}
}
