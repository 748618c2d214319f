package ws

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/socket"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/ledger"
	"chatting/application/notice"
	"chatting/domain"
)

// benchText has 64 bytes.
const benchText = "Shall we play a round of the new one tonight, as soon as I can?!"

// BenchmarkParseFrame reads a frame of a client.
func BenchmarkParseFrame(b *testing.B) {
	for name, data := range map[string]string{
		"message": `{"target_id":10,"message":"` + benchText + `","client_msg_id":"0123456789abcdef"}`,
		"escapes": `{"target_id": "10", "message": "\"\ud83d\ude00\"\n", "type": "chat_message", "x": {"y": [1, 2.5e3, null]}}`,
		"invite":  `{"target_id":10,"type":"invite_game","status":"invite","client_msg_id":"0123456789abcdef"}`,
	} {
		b.Run(name, func(b *testing.B) {
			frame := []byte(data)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := frames.Parse(frame, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDeliverToTwoSockets delivers records of the log to the sockets of both users, which cost nothing here.
func BenchmarkDeliverToTwoSockets(b *testing.B) {
	const burst = 8
	notices := notice.NewLog(slog.New(slog.DiscardHandler), time.Now)
	delivery := delivery.NewDelivery(readAll{}, invites.NewRegister(), notices)
	chat := newChat()
	chat.bytes = ledger.NewByteLedger(1<<30, 1<<20, time.Now)
	s, err := New(withDefaults(Options{}), partsOf(chat, slog.New(slog.DiscardHandler)))
	if err != nil {
		b.Fatal(err)
	}
	var connections []*connection
	for _, user := range []domain.UserID{9, 10} {
		c := &connection{}
		c.init(s, &socket.Conn{Conn: nowhere{}}, netip.Addr{})
		c.out.Held().Of(user)
		connections = append(connections, c)
		attachment := delivery.Attach(user, c)
		attachment.Activate(nil, []int64{0})
		attachment.Release()
	}
	text, err := domain.NewText(benchText)
	if err != nil {
		b.Fatal(err)
	}
	record := openedRecord{event: domain.Event{
		Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ClientMessageID: "0123456789abcdef",
		Body: domain.ChatMessage{From: 9, To: 10, Text: text},
	}}
	if record.frame, err = wire.EncodeEvent(record.event); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for range burst {
			record.at.Offset++
			record.event.ID[0], record.event.ID[1], record.event.ID[2] = byte(record.at.Offset), byte(record.at.Offset>>8), byte(record.at.Offset>>16)
			delivery.Apply(&record)
		}
		for _, c := range connections {
			c.out.awaitWriter()
			if c.out.isClosing() {
				b.Fatal("the connection is closing")
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/burst, "ns/record")
}

// readAll is an delivery.RecordReader.
type readAll struct{}

func (readAll) Read(domain.EventID, error) {}

// openedRecord is a port.Record.
type openedRecord struct {
	at    domain.Place
	event domain.Event
	frame []byte
}

func (r *openedRecord) Place() domain.Place                 { return r.at }
func (r *openedRecord) Time() time.Time                     { return r.event.Time }
func (r *openedRecord) Conversation() domain.Conversation   { return r.event.Body.Conversation() }
func (r *openedRecord) ConcernsInvites() bool               { return false }
func (r *openedRecord) Open() (domain.Event, []byte, error) { return r.event, r.frame, nil }

// nowhere is a connection that takes everything at once.
type nowhere struct{ net.Conn }

func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
func (nowhere) Close() error                     { return nil }
