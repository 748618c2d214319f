package delivery_test

import (
	"fmt"
	"slices"
	"testing"

	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// device logs in a connection that names features.
func (s *stage) device(user domain.UserID, named ...port.Feature) *porttest.Conn {
	c, _ := s.Login(user)
	c.Features = named
	return c
}

// gets expects the marks that a connection got: "FRAME unread N" for those of its own user, "FRAME" for others.
func (s *stage) gets(what string, c *porttest.Conn, want ...string) {
	s.T.Helper()
	var got []string
	for _, frame := range c.All() {
		switch f := frame.(type) {
		case porttest.OwnMark:
			got = append(got, fmt.Sprintf("%s unread %d", f.Frame, f.Unread))
		case porttest.Delivered:
			got = append(got, f.Frame)
		}
	}
	if !slices.Equal(got, want) {
		s.T.Errorf("%s got %q, want %q", what, got, want)
	}
}

func TestAReadMarkReachesTheReadersDevicesAndThePartner(t *testing.T) {
	s := newStage(t, 4)
	const marks, receipts = port.FeatureReadMarks, port.FeatureReceipts
	own, both, old := s.device(201, marks), s.device(201, marks, receipts), s.device(201, receipts)
	partner, partnerOwn, other := s.device(202, receipts), s.device(202, marks), s.device(203, marks, receipts)
	frame := s.Mark(201, 202, "m", 3, true)
	s.Tail()
	s.gets("a device of the reader", own, frame+" unread 3")
	s.gets("a device with both features", both, frame+" unread 3")
	s.gets("a device that knows receipts only", old)
	s.gets("the partner", partner, frame)
	s.gets("a partner that knows its own marks only", partnerOwn)
	s.gets("a third user", other)
}

func TestAMarkWithoutAReceiptIsForTheReaderAlone(t *testing.T) {
	s := newStage(t, 4)
	own, partner := s.device(201, port.FeatureReadMarks), s.device(202, port.FeatureReceipts)
	frame := s.Mark(201, 202, "m", 0, false)
	s.Tail()
	s.gets("the reader", own, frame+" unread 0")
	s.gets("the partner", partner)
}

func TestWhatThePlatformSaidAndTheTalkToOneselfAreMarkedOnce(t *testing.T) {
	s := newStage(t, 4)
	own := s.device(201, port.FeatureReadMarks, port.FeatureReceipts)
	platform, self := s.Mark(201, domain.System, "m", 2, false), s.Mark(201, 201, "n", 0, true)
	s.Tail()
	got := porttest.Of[porttest.OwnMark](own)
	slices.SortFunc(got, func(a, b porttest.OwnMark) int { return b.Unread - a.Unread })
	if want := []porttest.OwnMark{{Frame: platform, Unread: 2}, {Frame: self}}; !slices.Equal(got, want) || len(porttest.Of[porttest.Delivered](own)) > 0 {
		t.Errorf("got %v, want %v", own.All(), want)
	}
}

// Invariant 3: a partner that blocks the reader sees nothing of the reader.
func TestAPartnerThatBlocksTheReaderIsNotToldWhatItReads(t *testing.T) {
	s := newStage(t, 4)
	own, partner := s.device(201, port.FeatureReadMarks), s.device(202, port.FeatureReceipts)
	before := s.Mark(201, 202, "a", 2, true)
	s.Block(202, 201)
	hidden := s.Mark(201, 202, "b", 1, true)
	s.Unblock(202, 201)
	after := s.Mark(201, 202, "c", 0, true)
	s.Tail()
	s.gets("the reader", own, before+" unread 2", hidden+" unread 1", after+" unread 0")
	s.gets("the partner", partner, before, after)
}

func TestAMarkThatIsAppendedAgainIsShownOnce(t *testing.T) {
	s := newStage(t, 4)
	own, partner := s.device(201, port.FeatureReadMarks), s.device(202, port.FeatureReceipts)
	frame := s.Mark(201, 202, "m", 1, true)
	s.Mark(201, 202, "m", 1, true)
	s.Tail()
	later := s.device(202, port.FeatureReceipts)
	again := s.Mark(201, 202, "m", 1, true)
	s.Tail()
	s.gets("the reader", own, frame+" unread 1")
	s.gets("the partner", partner, frame)
	s.gets("a device of the partner that came meanwhile", later, again)
}

func TestAMarkThatComesDuringALoginIsHandedOverAfterIt(t *testing.T) {
	s := newStage(t, 4)
	own, partner := &porttest.Conn{Features: []port.Feature{port.FeatureReadMarks}}, &porttest.Conn{Features: []port.Feature{port.FeatureReceipts}}
	ownPlace, partnerPlace := s.Delivery.Attach(201, own), s.Delivery.Attach(202, partner)
	ends := s.Ends()
	frame := s.Mark(201, 202, "m", 4, true)
	s.Tail()
	s.gets("the reader during its login", own)
	ownPlace.Activate(nil, ends)
	partnerPlace.Activate(nil, ends)
	ownPlace.Release()
	partnerPlace.Release()
	s.gets("the reader", own, frame+" unread 4")
	s.gets("the partner", partner, frame)
}
