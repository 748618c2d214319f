package documents

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/kafka"
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
	for message, headers := range map[string][]kgo.RecordHeader{"producedMessage": nil, "producedEvent": {inStructure}} {
		for _, example := range d.examples(t, message) {
			s.produce(topic, &kgo.Record{Value: example, Headers: headers})
			got := s.next(bob)
			if err := d.check("systemMessage", got); err != nil {
				t.Errorf("%s comes to %s: %v", example, got, err)
			}
		}
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
		if err := d.letter.Validate(headers); err != nil {
			t.Errorf("%v: %v", headers, err)
		}
		for name := range headers {
			if _, known := d.letter.Properties[name]; !known {
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
	code := d.letter.Properties["kafka_dlt-exception-fqcn"]
	var documented []string
	for _, value := range code.Enum.Values {
		text, _ := value.(string)
		documented = append(documented, text)
	}
	if actual := kafka.DeadLetterCodes(); !slices.Equal(slices.Sorted(slices.Values(documented)), slices.Sorted(slices.Values(actual))) {
		t.Errorf("documented are %q, there are %q", documented, actual)
	}
}
