package kafka

import (
	"bytes"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/porttest"
)

const sentAs = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

func saidInTrace(t *testing.T, trace domain.TraceParent) domain.Event {
	t.Helper()
	return domain.Event{
		ID: domain.DerivedID("test", "x"), Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), ClientMessageID: "m", Trace: trace,
		Body: domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "hi")},
	}
}

// Without traces the log gets the bytes that it always got, whatever an event says.
func TestWithoutTracesARecordSaysNothingOfThem(t *testing.T) {
	const want = `{"specversion":"1.0","id":"39d13b5c-e9b5-5e1e-bc56-d1a4a7a6b5b6","source":"/chatting","type":"chatting.chat_message.v1",` +
		`"subject":"9","time":"2026-11-23T12:00:00.000Z","clientmsgid":"m","datacontenttype":"application/json","data":`
	for what, traces := range map[string]port.Traces{"off": {}, "on": port.NewTraces(&porttest.Tracer{})} {
		for _, trace := range []domain.TraceParent{"", sentAs} {
			log := &appended{}
			conversations := &Conversations{appender: log, own: newOwnMessages(), Traces: traces}
			conversations.Append(saidInTrace(t, trace), func(error) {})
			head, _, _ := bytes.Cut(log.values[0], []byte(`{"type"`))
			_, plain, _ := strings.Cut(want, `","source"`)
			_, got, _ := strings.Cut(string(head), `","source"`)
			if same := got == plain; same != (what == "off" || trace == "") {
				t.Errorf("with traces %s, and an event in %q, a record begins with %s", what, trace, head)
			}
		}
	}
}

func TestAnAppendAndItsDeliveryArePartOfTheTrace(t *testing.T) {
	tracer := &porttest.Tracer{}
	log := &kept{}
	conversations := &Conversations{appender: log, own: newOwnMessages(), Traces: port.NewTraces(tracer)}
	told := 0
	conversations.Append(saidInTrace(t, sentAs), func(error) { told++ })
	conversations.Append(saidInTrace(t, sentAs), func(error) { told++ })
	log.done[0](nil)
	log.done[1](domain.NewError(domain.CodeUnconfirmed, "unknown"))
	if want := []string{"…/append", "…/append failed: unconfirmed"}; !slices.Equal(tracer.Told(), want) || told != 2 {
		t.Fatalf("recorded %q, want %q; %d were told", tracer.Told(), want, told)
	}
	span := tracer.Find("append")
	if span.Start.Parent != sentAs || span.Attributes[port.KeyEvent] != domain.DerivedID("test", "x").String() ||
		span.Attributes[port.KeyTopic] != "topic" || span.Attributes[port.KeyPartition] != "0" {
		t.Errorf("an append says %+v", span)
	}
	record := log.values[0]
	if !bytes.Contains(record, []byte(`"traceparent":"`+string(span.Parent())+`"`)) {
		t.Fatalf("the record is %s", record)
	}

	ofOthers, err := EncodeEvent(domain.Event{
		ID: domain.DerivedID("test", "invite"), Time: time.Now(), Trace: sentAs, Body: domain.GameInvite{From: 8, To: 11, Status: domain.InviteCancelled},
	})
	if err != nil {
		t.Fatal(err)
	}

	// Once as the node's own, and once as that of another node, to whom it is a record like any other.
	for what, reads := range map[string]*Conversations{"own": conversations, "another's": {appender: log, own: newOwnMessages()}} {
		tracer := &porttest.Tracer{}
		var delivered readings
		delivery := delivery.NewDelivery(&delivered, invites.NewRegister(), notice.NewLog(brokertest.Logger(t), time.Now))
		conn := &gathering{}
		attachment := delivery.Attach(10, conn)
		attachment.Activate(nil, []int64{0})
		attachment.Release()
		tail := &ConversationTail{Delivery: delivery, Log: reads, From: map[int]int64{}, Logger: brokertest.Logger(t), Traces: port.NewTraces(tracer)}
		reads.seen = make([]atomic.Int64, 1)
		tail.Record(&recordbatch.StoredRecord{Offset: 7, Time: time.Now(), Key: []byte("9:10"), Value: record})
		tail.Record(&recordbatch.StoredRecord{Offset: 8, Time: time.Now(), Key: []byte("8:11"), Value: ofOthers})
		if want := []string{"…/deliver ended 0 times"}; !slices.Equal(tracer.Told(), want) {
			t.Errorf("%s: before its frames are written there are %q, want %q", what, tracer.Told(), want)
		}
		tail.BatchEnd(0, 9)
		tail.BatchEnd(0, 9)
		if want := []string{"…/deliver"}; !slices.Equal(tracer.Told(), want) || len(conn.told) == 0 || len(tail.traced) > 0 {
			t.Errorf("%s: recorded %q, want %q", what, tracer.Told(), want)
		}
		deliver := tracer.Find("deliver")
		if deliver.Start.Parent != span.Parent() || deliver.Attributes[port.KeyOffset] != "7" || deliver.Attributes[port.KeyTopic] != "topic" ||
			deliver.Attributes[port.KeyEvent] != domain.DerivedID("test", "x").String() || deliver.Start.At.IsZero() {
			t.Errorf("%s: a delivery says %+v", what, deliver)
		}
	}
}

// Whoever may write the topic can write anything there. The message is what it is all the same.
func TestATraceparentThatIsNoneIsIgnored(t *testing.T) {
	plain, err := EncodeEvent(saidInTrace(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		attribute string
		want      domain.TraceParent
	}{
		"a good one":      {`"` + string(sentAs) + `"`, sentAs},
		"escaped":         {`"\u0030` + string(sentAs[1:]) + `"`, sentAs},
		"not recorded":    {`"` + string(sentAs[:53]) + `00"`, ""},
		"null":            {`null`, ""},
		"a number":        {`7`, ""},
		"an object":       {`{"a":["` + string(sentAs) + `"]}`, ""},
		"too short":       {`"00-1-2-01"`, ""},
		"very long":       {`"01` + string(sentAs[2:]) + `-` + strings.Repeat("x", 100<<10) + `"`, ""},
		"longer, allowed": {`"01` + string(sentAs[2:]) + `-x"`, sentAs},
	} {
		value := bytes.Replace(plain, []byte(`,"clientmsgid"`), []byte(`,"traceparent":`+c.attribute+`,"clientmsgid"`), 1)
		event, frame, err := DecodeEvent(domain.Between(9, 10), value)
		if err != nil || event.Trace != c.want || event.ClientMessageID != "m" || len(frame) == 0 {
			t.Errorf("%s: %+v, %v", what, event, err)
		}
	}
}

// kept is an appender that keeps what is to be called.
type kept struct {
	appended

	done []func(error)
}

func (k *kept) AppendAs(owner appending.Owner, partition int, r recordbatch.Record, done func(error)) {
	k.appended.AppendAs(owner, partition, r, done)
	k.done = append(k.done, done)
}
