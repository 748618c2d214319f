package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"chatting/application/ledger"
)

// newMessages returns a reader of messages, by itself.
func newMessages(bytesHeld *ledger.ByteLedger) *MessageReader {
	m := &MessageReader{}
	m.Init(nil, nil, bytesHeld.Open(m.Cut))
	return m
}

func TestALongMessageIsCountedWhileItIsReceivedAndCarriedOut(t *testing.T) {
	for size, want := range map[int]int{10: 0, uncounted - 1: 0, uncounted: 2 * uncounted, 2 * uncounted: 2 * uncounted, 3*uncounted - 1: 2 * uncounted, 3 * uncounted: 6 * uncounted, 7 * uncounted: 14 * uncounted} {
		bytesHeld := ledger.NewByteLedger(0, 0, time.Now)
		m := newMessages(bytesHeld)
		data := new(bytes.Buffer)
		if err := m.receive(data, bytes.NewReader(xs(size))); err != nil || !bytes.Equal(data.Bytes(), xs(size)) {
			t.Fatalf("%d bytes became %d, %v", size, data.Len(), err)
		}
		if held := bytesHeld.Held(); held != want {
			t.Errorf("for %d bytes %d are held, want %d", size, held, want)
		}
		m.Free(data)
		if held := bytesHeld.Held(); held != 0 {
			t.Errorf("after a message of %d bytes %d are held", size, held)
		}
	}
	m := newMessages(ledger.NewByteLedger(0, 0, time.Now))
	m.Held().Close()
	if err := m.receive(new(bytes.Buffer), bytes.NewReader(xs(2*uncounted))); !errors.Is(err, ErrNoRoom) {
		t.Errorf("without room: %v", err)
	}
	if err := m.receive(new(bytes.Buffer), bytes.NewReader(xs(uncounted-1))); err != nil {
		t.Errorf("a short one without room: %v", err)
	}
	if err := m.receive(new(bytes.Buffer), io.MultiReader(bytes.NewReader(xs(10)), failing{})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a message that breaks off: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAReaderThatIsCutOffReadsNoMore(t *testing.T) {
	own, peer := net.Pipe()
	defer func() { _, _ = own.Close(), peer.Close() }()
	bytesHeld := ledger.NewByteLedger(4*uncounted, 0, time.Now)
	m := &MessageReader{}
	m.Init(nil, &Conn{Conn: own}, bytesHeld.Open(m.Cut))
	if err := m.receive(new(bytes.Buffer), bytes.NewReader(xs(uncounted))); err != nil || m.IsCutOff() {
		t.Fatalf("it has no room: %v", err)
	}
	if !bytesHeld.Open(func() {}).Hold(3*uncounted) || !m.IsCutOff() {
		t.Error("it does not make room")
	}
	m.Drain() // ends at once
}
