package kafka

import (
	"bytes"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
)

// benchText has 64 bytes.
const benchText = "Shall we play a round of the new one tonight, as soon as I can?!"

// BenchmarkSendMessage is a message on its way from the use case to the appender: without traces, and in a trace that is recorded.
func BenchmarkSendMessage(b *testing.B) {
	for name, traces := range map[string]port.Traces{"untraced": {}, "traced": port.NewTraces(discardedSpans{})} {
		b.Run(name, func(b *testing.B) {
			log := &Conversations{appender: discarded{}, own: newOwnMessages(), Traces: traces}
			send := messaging.SendMessage{Log: log, Online: everybody{}, Now: time.Now, Traces: traces}
			command := messaging.ChatCommand{Sender: 9, Target: 10, Text: mustText(b, benchText), ClientMessageID: "0123456789abcdef", Trace: sentAs}
			done := func(err error) {
				if err != nil {
					b.Error(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				send.Execute(command, done)
			}
		})
	}
}

// discardedSpans records spans nowhere: what remains is what the server does for them.
type discardedSpans struct{}

func (d discardedSpans) Begin(port.SpanStart) port.Recording { return d }
func (discardedSpans) Parent() domain.TraceParent            { return sentAs }
func (discardedSpans) Rename(string)                         {}
func (discardedSpans) SetText(port.SpanKey, string)          {}
func (discardedSpans) SetNumber(port.SpanKey, int64)         {}
func (discardedSpans) End(string, bool)                      {}

// discarded is an appender that takes everything.
type discarded struct{ *appended }

func (discarded) AppendAs(appending.Owner, int, recordbatch.Record, func(error)) {}

// BenchmarkOpenRecord is what a node does with a record that has a receiver here, after reading it.
func BenchmarkOpenRecord(b *testing.B) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	own, err := EncodeEvent(domain.Event{
		ID: domain.DerivedID("test", "x"), Time: at, ClientMessageID: "0123456789abcdef",
		Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(b, benchText)},
	})
	if err != nil {
		b.Fatal(err)
	}
	const id = "a1b90ad2-b63b-4d23-9053-16d9a9e54230"
	foreign := `{"data": {"id": "` + id + `", "type": "chat_message", "from_id": 9, "to_id": 10, "message": "Shall we\nplay? \u00fc",` +
		` "time": "2026-11-23T12:45:19Z", "room": {"of": ["the", "game", 7]}}, "id": "` + id + `", "source": "/other",` +
		` "specversion": "1.0", "subject": "9", "time": "2026-11-23T12:45:19Z", "type": "chatting.chat_message.v1", "traceparent": "00-1-2-00"}`
	event, _, err := DecodeEvent(domain.Between(9, 10), own)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		messages := newOwnMessages()
		record := conversationRecord{
			record: &recordbatch.StoredRecord{Time: at, Key: []byte("9:10"), Value: bytes.Clone(own)}, conversation: domain.Between(9, 10), own: messages,
		}
		b.ReportAllocs()
		for b.Loop() {
			messages.note(event, own) // what the append costs more
			if _, _, err := record.Open(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, value := range map[string][]byte{"own": own, "foreign": []byte(foreign)} {
		b.Run(name, func(b *testing.B) {
			record := conversationRecord{record: &recordbatch.StoredRecord{Time: at, Key: []byte("9:10"), Value: value}, conversation: domain.Between(9, 10)}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := record.Open(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// everybody is online.
type everybody struct{}

func (everybody) Online(domain.UserID) bool { return true }
