package kafka

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/domain"
	"chatting/test/brokertest"
)

// saidBy9 is a chat message from 9 to 10, and its value.
func saidBy9(t testing.TB, text string) (domain.Event, []byte) {
	t.Helper()
	event := domain.Event{
		ID: domain.DerivedID("test", text), Time: referenceTime, ClientMessageID: `"data":`,
		Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, text)},
	}
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	return event, value
}

func TestAnOwnMessageThatComesBackSaysWhatItSaid(t *testing.T) {
	own := newOwnMessages()
	for _, text := range []string{"", "hi", `"data":{`, "<ü>\u2028", strings.Repeat("x", 1000)} {
		event, value := saidBy9(t, text)
		own.note(event, value)
		want, wantFrame, err := DecodeEvent(referenceKey, value)
		if err != nil {
			t.Fatal(err)
		}
		got, frame, ok := own.take(referenceKey, bytes.Clone(value))
		if !ok || got != want || !bytes.Equal(frame, wantFrame) {
			t.Errorf("%q: %t, %+v, %s", text, ok, got, frame)
		}
		if _, _, again := own.take(referenceKey, value); again {
			t.Errorf("%q is remembered after it was found", text)
		}
	}
}

func TestAnOwnReadMarkIsRememberedToo(t *testing.T) {
	own := newOwnMessages()
	event := domain.Event{ID: referenceID, Time: referenceTime, Body: domain.ReadMark{
		Reader: 10, Partner: 9, Message: domain.DerivedID("test", "m"), Unread: 7, Receipt: true,
	}}
	value, err := EncodeEvent(event)
	if err != nil {
		t.Fatal(err)
	}
	own.note(event, value)
	_, wantFrame, err := DecodeEvent(referenceKey, value)
	if err != nil {
		t.Fatal(err)
	}
	if got, frame, ok := own.take(referenceKey, bytes.Clone(value)); !ok || got != event || !bytes.Equal(frame, wantFrame) {
		t.Errorf("%t, %+v, %s", ok, got, frame)
	}
}

// Whatever is not just what this node appended is read.
func TestOnlyTheVeryBytesInTheirConversationAreOwn(t *testing.T) {
	own := newOwnMessages()
	event, value := saidBy9(t, "hi")
	own.note(event, value)
	for i := range value {
		other := bytes.Clone(value)
		other[i] ^= 1
		if got, _, ok := own.take(referenceKey, other); ok {
			t.Fatalf("%s is taken for %+v", other, got)
		}
		if _, _, ok := own.take(referenceKey, value[:i]); ok {
			t.Fatalf("%s is own", value[:i])
		}
	}
	if _, _, ok := own.take(domain.Between(9, 11), value); ok {
		t.Error("it is own under another key")
	}
	other := domain.Event{ID: event.ID, Time: event.Time, Body: domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 1}}
	block, err := EncodeEvent(other)
	if err != nil {
		t.Fatal(err)
	}
	own.note(other, block)
	if _, _, ok := own.take(referenceKey, block); ok {
		t.Error("a block is remembered")
	}
	if _, _, ok := own.take(referenceKey, value); !ok {
		t.Error("the message itself is not own")
	}
}

// Two appends of the same bytes are one for the memory: the second record is read.
func TestARecordThatComesTwiceIsReadTheSecondTime(t *testing.T) {
	own := newOwnMessages()
	event, value := saidBy9(t, "hi")
	own.note(event, value)
	own.note(event, bytes.Clone(value))
	record := conversationRecord{record: &recordbatch.StoredRecord{Value: value}, conversation: referenceKey, own: own}
	for round := range 3 {
		if got, frame, err := record.Open(); err != nil || got != event || !bytes.Contains(value, frame) || len(frame) == 0 {
			t.Errorf("round %d: %+v, %s, %v", round, got, frame, err)
		}
	}
}

// The table has a bound in messages and in bytes, so nothing has to be told that an append failed.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	own := newOwnMessages()
	for _, excess := range []int{0, 1} {
		_, empty := saidBy9(t, "")
		event, value := saidBy9(t, strings.Repeat("x", maxOwnValue+excess-len(empty)))
		own.note(event, value)
		if held := own.place(value).Load() != nil; held != (excess == 0) {
			t.Errorf("%d bytes are held: %t", len(value), held)
		}
		if _, _, ok := own.take(referenceKey, value); ok != (excess == 0) {
			t.Errorf("%d bytes are remembered: %t", len(value), ok)
		}
	}
	const most = 3 * ownPlaces
	values := make([][]byte, most)
	for i := range values {
		event, value := saidBy9(t, strconv.Itoa(i))
		own.note(event, value)
		values[i] = value
	}
	remembered := 0
	for _, value := range values {
		if _, _, ok := own.take(referenceKey, value); ok {
			remembered++
		}
	}
	if remembered == 0 || remembered > ownPlaces {
		t.Errorf("%d of %d are remembered", remembered, most)
	}
}

func TestTheTailKnowsWhatThisNodeAppended(t *testing.T) {
	appended := &appended{}
	log := NewConversations(nil, appended)
	event, value := saidBy9(t, "hi")
	log.Append(event, func(error) {})
	if len(appended.values) != 1 || !bytes.Equal(appended.values[0], value) {
		t.Fatal("it is not appended")
	}
	if log.own.place(value).Load() == nil {
		t.Error("what is appended is not own")
	}
	var delivered readings
	delivery := delivery.NewDelivery(&delivered, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now))
	delivery.Attach(10, &attached{})
	tail := &ConversationTail{Delivery: delivery, Log: log, Logger: brokertest.Logger(t)}
	tail.Record(&recordbatch.StoredRecord{Time: referenceTime, Key: []byte("9:10"), Value: bytes.Clone(value)})
	if left := log.own.place(value).Load(); delivered != 1 || left != nil {
		t.Errorf("%d records are delivered; it is still remembered: %t", delivered, left != nil)
	}
}

// Appends and the tail are on goroutines of their own.
func TestOwnMessagesAreNotedAndTakenAtOnce(t *testing.T) {
	own := newOwnMessages()
	event, value := saidBy9(t, "hi")
	var others atomic.Int64
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for range 1000 {
				own.note(event, value)
				if got, _, ok := own.take(referenceKey, value); ok && got != event {
					others.Add(1)
				}
			}
		})
	}
	done.Wait()
	if n := others.Load(); n > 0 {
		t.Errorf("%d times it was another event", n)
	}
}
