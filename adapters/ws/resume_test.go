package ws

import (
	"testing"
	"time"

	"chatting/adapters/wire"
	"chatting/application/delivery"
)

func TestFramesHaveTheTokensThatTheyAreStampedWith(t *testing.T) {
	s := newStuck(t, Options{})
	s.Stamp("T1")
	s.Deliver([]byte(`{"a":1}`), "")
	s.Deliver([]byte(`{"a":2}`), "") // a stamp is for one frame
	s.Stamp("T3")
	s.Deliver([]byte(`{"a":3}`), `n"`)
	s.Deliver([]byte(`{"a":4}`), `n`)
	s.mustGet([]byte(`{"a":1,"resume":"T1"}`), []byte(`{"a":2}`), []byte(`{"a":3,"client_msg_id":"n\"","resume":"T3"}`), []byte(`{"a":4,"client_msg_id":"n"}`))
	s.Stamp("T5")
	s.DeliverAt([]byte(`{"a":5}`), at(1, 1))
	s.mustGet([]byte(`{"a":5,"resume":"T5"}`))
	if len(s.receipts.open.noted) != 1 {
		t.Errorf("receipts %+v", s.receipts.open)
	}
	s.Replay([]delivery.Replayed{{Frame: []byte(`{"a":6}`), EchoOf: "n", Resume: "T6"}, {Frame: []byte(`{"a":7}`), Resume: "T7"}})
	s.mustGet([]byte(`{"a":6,"client_msg_id":"n","replayed":true,"resume":"T6"}`), []byte(`{"a":7,"replayed":true,"resume":"T7"}`))
}

func TestTheAnswerToALoginSaysWhatIsRecovered(t *testing.T) {
	login := wire.LoginFrame(7, nil, someTime)
	for what, test := range map[string]struct {
		told *delivery.ResumeAnswer
		want []byte
	}{
		"without the feature": {nil, login},
		"without a token":     {&delivery.ResumeAnswer{Token: "T"}, wire.AppendWithResume(nil, login, "T")},
		"recovered": {
			&delivery.ResumeAnswer{Token: "T", Named: true, Recovered: true},
			wire.AppendWithResume(nil, wire.WithRecovered(login, true, someTime), "T"),
		},
		"not recovered": {
			&delivery.ResumeAnswer{Token: "T", Named: true, From: someTime},
			wire.AppendWithResume(nil, wire.WithRecovered(login, false, someTime), "T"),
		},
	} {
		s := newStuck(t, Options{})
		if test.told != nil {
			s.Resumed(*test.told)
		}
		s.LoggedIn(7, nil, someTime)
		t.Log(what)
		s.mustGet(test.want)
	}
}

func TestAPingIsAnsweredWithATokenByTheSession(t *testing.T) {
	s := newStuck(t, Options{})
	s.keepTime(func() time.Time { return someTime })
	s.handle([]byte(`{"type":"ping"}`))
	s.mustGet(wire.PongFrame(someTime))
	s.got.pong = func() { s.Pong("T") }
	s.handle([]byte(`{"type":"ping"}`))
	s.mustGet(wire.AppendWithResume(nil, wire.PongFrame(someTime), "T"))
}
