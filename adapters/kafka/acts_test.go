package kafka

import (
	"context"
	"slices"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient/appending"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/moderation"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/brokertest"
)

var actKey = []byte("the key of this test")

// storedActs is a moderation.Loaded.
type storedActs struct{ acts []domain.PlacedAct }

func (*storedActs) Key(context.Context) ([]byte, error) { return actKey, nil }

func (s *storedActs) Acts(context.Context, time.Time) ([]domain.PlacedAct, error) {
	return slices.Clone(s.acts), nil
}

// moderated is a tail whose register has what a store has.
func moderated(t *testing.T, store *storedActs) *ConversationTail {
	t.Helper()
	register := moderation.NewRegister(1, time.Now)
	if err := register.Load(t.Context(), store, time.Now()); err != nil {
		t.Fatal(err)
	}
	notices := notice.NewLog(brokertest.Logger(t), time.Now)
	d := delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notices)
	d.Acts = register
	return &ConversationTail{Delivery: d, From: map[int]int64{0: 0}, Acts: register, Notices: notices, Logger: brokertest.Logger(t)}
}

// muteOf9 is a mute as a store gave it out.
func muteOf9(version int64, at time.Time) domain.Act {
	act := domain.Act{User: 9, Kind: domain.ActMute, Version: version, Time: at}
	act.ID = domain.ActID(actKey, act)
	return act
}

func judgedAt(tail *ConversationTail, offset int64) domain.Code {
	said := domain.Event{Body: domain.ChatMessage{From: 9, To: 10}}
	return domain.CodeOf(tail.Acts.Judge(said, domain.Place{Offset: offset}, time.Now()))
}

// A topic that was deleted and made anew while the node ran has none of the acts, and what they say still counts.
func TestAnActFromBeforeTheFirstRecordCountsFromTheBeginning(t *testing.T) {
	now := time.Now()
	tail := moderated(t, &storedActs{[]domain.PlacedAct{{Act: muteOf9(1, now.Add(-time.Hour)), Places: []int64{70}}}})
	if got := judgedAt(tail, 0); got != "" {
		t.Fatalf("before the first record was read, what is said is %q", got)
	}
	_, value := saidBy9(t, "hi")
	tail.Record(&recordbatch.StoredRecord{Offset: 0, Time: now, Key: []byte("9:10"), Value: value})
	if got := judgedAt(tail, 0); got != domain.CodeMuted {
		t.Errorf("what is said in the first record is %q", got)
	}
}

// placed is an appender to three partitions that takes down to which it is told to append.
type placed struct {
	appended

	partitions []int
}

func (p *placed) AppendAs(_ appending.Owner, partition int, _ recordbatch.Record, done func(error)) {
	p.partitions = append(p.partitions, partition)
	done(nil)
}
func (p *placed) Partitions() int { return 3 }

func TestAnActIsAppendedWhereItHasNoPlace(t *testing.T) {
	act := domain.Act{User: 201, Kind: domain.ActMute, Version: 1}
	for what, c := range map[string]struct {
		places []int64
		want   []int
	}{
		"new":                    {nil, []int{0, 1, 2}},
		"in some":                {[]int64{domain.ActNowhere, 7, domain.ActNowhere}, []int{0, 2}},
		"in all":                 {[]int64{0, 7, domain.ActAlways}, nil},
		"from fewer partitions":  {[]int64{0, 7}, []int{2}},
		"from another, all lack": {[]int64{domain.ActNowhere}, []int{0, 1, 2}},
	} {
		conversations, audit := &placed{}, &placed{}
		outcomes := 0
		NewActs(conversations, audit).AppendAct(act, c.places, func(err error) {
			if outcomes++; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		if !slices.Equal(conversations.partitions, c.want) || len(audit.partitions) != 0 || outcomes != 1 {
			t.Errorf("%s: appended to %v and the audit's %v, %d outcomes", what, conversations.partitions, audit.partitions, outcomes)
		}
	}
}

func TestTheAuditGetsAnActOnce(t *testing.T) {
	conversations, audit := &placed{}, &placed{}
	outcomes := 0
	NewActs(conversations, audit).AppendToAudit(domain.Act{User: 201}, func(error) { outcomes++ })
	if len(conversations.partitions) != 0 || len(audit.partitions) != 1 || outcomes != 1 {
		t.Errorf("appended to %v and the audit's %v, %d outcomes", conversations.partitions, audit.partitions, outcomes)
	}
}

// As docs/events.md says of an id that comes again.
func TestAMessageThatWasKeptBackIsShownWhenItComesAgain(t *testing.T) {
	now := time.Now()
	unmute := domain.Act{User: 9, Kind: domain.ActUnmute, Version: 2, Time: now}
	unmute.ID = domain.ActID(actKey, unmute)
	tail := moderated(t, &storedActs{})
	conn := &gathering{}
	attachment := tail.Delivery.Attach(10, conn)
	attachment.Activate(nil, []int64{0})
	attachment.Release()
	_, value := saidBy9(t, "hi")
	say := func(offset int64) {
		tail.Record(&recordbatch.StoredRecord{Offset: offset, Time: now, Key: []byte("9:10"), Value: value})
	}
	tail.Record(&recordbatch.StoredRecord{Offset: 0, Time: now, Key: []byte("9"), Value: EncodeAct(muteOf9(1, now))})
	say(1)
	if slices.Contains(conn.told, "deliver") {
		t.Fatal("it is shown behind the mute")
	}
	tail.Record(&recordbatch.StoredRecord{Offset: 2, Time: now, Key: []byte("9"), Value: EncodeAct(unmute)})
	say(3)
	say(4)
	shown := slices.DeleteFunc(conn.told, func(told string) bool { return told != "deliver" })
	if len(shown) != 1 {
		t.Errorf("it is shown %d times", len(shown))
	}
}

// What stood in a hole was read by the node that published it.
func TestAnActThatStoodInAHoleCountsBehindIt(t *testing.T) {
	store := &storedActs{}
	tail := moderated(t, store)
	store.acts = []domain.PlacedAct{{Act: muteOf9(1, time.Now()), Places: []int64{115}}}
	early, late := &attached{}, &attached{}
	tail.Delivery.Attach(10, early)
	tail.Reload = func() {
		if len(early.closed) == 0 {
			t.Error("connections stay open until the acts are loaded")
		}
		tail.Delivery.Attach(10, late)
		if err := tail.Acts.Load(t.Context(), store, time.Now()); err != nil {
			t.Error(err)
		}
	}
	tail.Hole(0, 110, 120)
	if judgedAt(tail, 114) != "" || judgedAt(tail, 120) != domain.CodeMuted {
		t.Error("the act does not count where it stands")
	}
	if !slices.Equal(late.closed, []port.CloseReason{port.CloseHole}) {
		t.Errorf("a connection that came meanwhile is closed with %v", late.closed)
	}
}
