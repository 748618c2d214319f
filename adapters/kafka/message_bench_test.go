package kafka

import (
	"bytes"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
)

// benchText has 64 bytes.
const benchText = "Shall we play a round of the new one tonight, as soon as I can?!"

// BenchmarkSendMessage is a message on its way from the use case into the appender's queue.
func BenchmarkSendMessage(b *testing.B) {
	const most = 1000
	l := newLane(nil, AppenderOptions{Deadline: time.Hour, QueueBytes: 64 << 20, Logger: testLogger(b)}, 0)
	log := NewConversations(nil, &Appender{options: AppenderOptions{Now: now}, numbers: partitionNumbers(1), lanes: []*lane{l}})
	send := application.SendMessage{Log: log, Online: everybody{}, Now: now}
	command := application.ChatCommand{Sender: 9, Target: 10, Text: mustText(b, benchText), ClientMessageID: "0123456789abcdef"}
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		send.Execute(command, done)
		if i%most == most-1 {
			if batch, _ := l.take(); batch != nil {
				l.finish(batch, nil)
			}
		}
	}
}

// BenchmarkOpenRecord is what a node does with a record that has a receiver here, after reading it.
func BenchmarkOpenRecord(b *testing.B) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	own, err := encodeEvent(domain.Event{
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
	event, _, err := decodeEvent(domain.Between(9, 10), own)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("remembered", func(b *testing.B) {
		messages := newOwnMessages()
		record := conversationRecord{
			record: &TailRecord{Time: at, Key: []byte("9:10"), Value: bytes.Clone(own)}, conversation: domain.Between(9, 10), own: messages,
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
			record := conversationRecord{record: &TailRecord{Time: at, Key: []byte("9:10"), Value: value}, conversation: domain.Between(9, 10)}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := record.Open(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
