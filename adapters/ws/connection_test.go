package ws

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"golang.org/x/time/rate"

	"chatting/adapters/network"
	"chatting/adapters/wire"
	"chatting/adapters/ws/frames"
	"chatting/adapters/ws/socket"
	"chatting/adapters/ws/throttle"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 60_000_000, time.UTC)

// mustGet wants the peer to get exactly these frames next.
func (s *stuck) mustGet(frames ...[]byte) {
	s.t.Helper()
	var want []byte
	for _, f := range frames {
		want = append(want, framed(f)...)
	}
	if got := s.gets(len(want)); !bytes.Equal(got, want) {
		s.t.Errorf("the peer got %q, want %q", got, want)
	}
}

// commands notes what use cases are asked for.
type commands struct {
	messages []messaging.ChatCommand
	invites  []invites.Command
}

type notedMessages struct{ *commands }

func (n notedMessages) Execute(command messaging.ChatCommand, done func(error)) {
	n.messages = append(n.messages, command)
	done(nil)
}

type notedInvites struct{ *commands }

func (n notedInvites) Execute(command invites.Command, done func(error)) {
	n.invites = append(n.invites, command)
	done(nil)
}

func TestWhatAClientSendsReachesItsUseCaseWhole(t *testing.T) {
	const room = "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11"
	s, got := newStuck(t, Options{}), &commands{}
	s.server.deps.Messages, s.server.deps.Invites = notedMessages{got}, notedInvites{got}
	s.features = frames.Features{port.FeatureInvites: {}}
	for _, sent := range []string{
		`{"target_id":8,"message":"m","client_msg_id":"n"}`,
		`{"target_id":9,"type":"invite_game","status":"accept","room_id":"` + room + `","client_msg_id":"o"}`,
		`{"target_id":10,"type":"invite_game","status":"invite"}`,
	} {
		if !s.handle([]byte(sent)) {
			t.Fatalf("%s ended the connection", sent)
		}
	}
	text, _ := domain.NewText("m")
	if want := []messaging.ChatCommand{{Sender: 7, Target: 8, Text: text, ClientMessageID: "n"}}; !slices.Equal(got.messages, want) {
		t.Errorf("messages: %+v", got.messages)
	}
	if want := []invites.Command{
		{Sender: 7, Target: 9, Status: "accept", Room: room, ClientMessageID: "o"}, {Sender: 7, Target: 10, Status: "invite"},
	}; !slices.Equal(got.invites, want) {
		t.Errorf("invites: %+v", got.invites)
	}
}

func TestAClientGetsWhatIsDeliveredToIt(t *testing.T) {
	s := newStuck(t, Options{})
	change := domain.Transition{User: 8, Online: true, At: someTime}
	s.LoggedIn(7, []domain.UserID{9, 8}, someTime)
	s.mustGet(wire.LoginFrame(7, []domain.UserID{9, 8}, someTime))
	s.StatusChanged(7, change)
	s.mustGet(wire.StatusFrame(7, change))
	s.Deliver([]byte(`{"a":1}`), "")
	s.Deliver([]byte(`{"a":2}`), `n"`)
	s.mustGet([]byte(`{"a":1}`), []byte(`{"a":2,"client_msg_id":"n\""}`))
	s.DeliverAt([]byte(`{"a":3}`), at(1, 1))
	s.mustGet([]byte(`{"a":3}`))
	s.DeliverOwnMark([]byte(`{"a":4}`), 17)
	s.mustGet([]byte(`{"a":4,"unread":17}`))
	s.Stamp("token")
	s.DeliverOwnMark([]byte(`{"a":5}`), 0)
	s.mustGet([]byte(`{"a":5,"unread":0,"resume":"token"}`))
	if s.owner.Load() != 7 || len(s.receipts.open.noted) != 1 {
		t.Errorf("owner %d, receipts %+v", s.owner.Load(), s.receipts.open)
	}
}

func TestAClientThatAskedForItGetsIDsAsStringsInEveryFrame(t *testing.T) {
	s := newStuck(t, Options{})
	s.out.stringIDs = true
	s.LoggedIn(7, []domain.UserID{9, 8}, someTime)
	s.mustGet(wire.AppendWithStringIDs(nil, wire.LoginFrame(7, []domain.UserID{9, 8}, someTime)))
	s.Deliver([]byte(`{"from_id":7,"to_id":8}`), "n")
	s.mustGet([]byte(`{"from_id":"7","to_id":"8","client_msg_id":"n"}`))
	s.DeliverOwnMark([]byte(`{"from_id":7,"to_id":8}`), 1)
	s.mustGet([]byte(`{"from_id":"7","to_id":"8","unread":1}`))
	s.DeliverAt([]byte(`{"to_id":7}`), at(1, 1))
	s.mustGet([]byte(`{"to_id":"7"}`))
	long := `"x":"` + strings.Repeat("x", 2000) + `"` // the buffer grows between two frames
	s.Replay([]delivery.Replayed{{Frame: []byte(`{"to_id":7}`)}, {Frame: []byte(`{"to_id":8,` + long + `}`)}})
	s.mustGet([]byte(`{"to_id":"7","replayed":true}`), []byte(`{"to_id":"8",`+long+`,"replayed":true}`))
}

func TestAConnectionNamesItsFeaturesAndItsNetwork(t *testing.T) {
	c := &connection{feed: feed{features: frames.Features{port.FeatureInvites: {}}}}
	if !c.Has(port.FeatureInvites) || c.Has("other") || (&connection{}).Has(port.FeatureInvites) {
		t.Error("it has other features than those of its login")
	}
	for address, want := range map[string]string{"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::"} {
		if got := (&connection{address: netip.MustParseAddr(address)}).Address(); got != want {
			t.Errorf("%s is %s", address, got)
		}
	}
	if got := c.Address(); got != "" {
		t.Errorf("no address is %s", got)
	}
}

func TestARefusalSaysWhatTheUseCaseSaidAndNothingOfAFault(t *testing.T) {
	for name, row := range map[string]struct {
		err      error
		code     domain.Code
		sentence string
		retry    string
	}{
		"offline":      {domain.NewError(domain.CodeNoUserOrOffline, "Away."), domain.CodeNoUserOrOffline, "No User or Offline", ""},
		"refused":      {fmt.Errorf("outside: %w", domain.WrapError(domain.CodeTooLong, "Too long.", errors.New("secret"))), domain.CodeTooLong, "Too long.", ""},
		"rate":         {domain.NewRateLimited("Later.", 1500*time.Microsecond), domain.CodeRateLimited, "Later.", `,"retry_after_ms":2`},
		"unclassified": {errors.New("secret"), domain.CodeUnconfirmed, "The server failed.", ""},
		"internal":     {domain.NewError(domain.CodeInternal, "secret"), domain.CodeUnconfirmed, "The server failed.", ""},
	} {
		logs := &logBuffer{}
		s := newStuck(t, Options{})
		s.keepTime(func() time.Time { return someTime })
		s.server.deps.Notices = notice.NewLog(slog.New(slog.NewTextHandler(logs, nil)), time.Now)
		s.refuse(frames.Request{SentTarget: []byte(`"8"`), Name: "n"}, row.err)
		want := wire.ErrorFrame(7, row.code, row.sentence, []byte(`"8"`), "n", someTime)
		s.mustGet([]byte(strings.TrimSuffix(string(want), "}") + row.retry + "}"))
		if fault := row.sentence == "The server failed."; fault != strings.Contains(logs.text(), "level=ERROR") {
			t.Errorf("%s: log is %s", name, logs.text())
		}
	}
}

// The keeper's times are an hour each, so that what is due does not depend on the test's own time.
func TestTheKeeperDoesWhatIsDue(t *testing.T) {
	const before, after = 59 * time.Minute, 61 * time.Minute
	ping := appendFrame(nil, opPing, nil)
	for name, row := range map[string]struct {
		named        bool
		began, heard time.Duration // ago
		pinged       time.Duration // ago; 0 for never
		expires      time.Time     // zero for never
		busy         bool
		want         []byte
	}{
		"no first frame yet":         {began: before},
		"no first frame":             {began: after, want: closeFrame(closeNoLogin)},
		"a first frame":              {named: true, began: after},
		"a token for a while":        {named: true, expires: someTime.Add(1)},
		"an expired token":           {named: true, expires: someTime.Add(-1), want: closeFrame(closeExpired)},
		"a token that expires now":   {named: true, expires: someTime, want: closeFrame(closeExpired)},
		"silent for a while":         {named: true, heard: before},
		"silent":                     {named: true, heard: after, want: ping},
		"silent and busy":            {named: true, heard: after, busy: true},
		"silent since an older ping": {named: true, heard: after, pinged: 2 * after, want: ping},
		"silent since a ping":        {named: true, heard: 2 * after, pinged: before},
		"dead":                       {named: true, heard: 2 * after, pinged: after, want: closeFrame(closeGone)},
		"dead and busy":              {named: true, heard: 2 * after, pinged: after, busy: true},
	} {
		s := newStuck(t, Options{Times: Times{FirstFrame: time.Hour, Silence: time.Hour, Pong: time.Hour}})
		now := s.sock.LastHeard() + row.heard
		s.keepTime(func() time.Time { return someTime })
		s.named.Store(row.named)
		if s.began = now - row.began; row.busy {
			s.reading.Pause(func() {})
		}
		if row.pinged > 0 {
			s.pinged = now - row.pinged
		}
		s.TokenExpires(row.expires)
		s.keep(now)
		if does := s.out.State().Writing; does != (row.want != nil) {
			t.Errorf("%s: it does something: %t", name, does)
			continue
		}
		if got := s.gets(len(row.want)); !bytes.Equal(got, row.want) {
			t.Errorf("%s: the peer got %q, want %q", name, got, row.want)
		}
		if bytes.Equal(row.want, ping) && s.pinged < now {
			t.Errorf("%s: the ping is not noted", name)
		}
	}
}

// undying is a connection whose deadlines fail.
type undying struct{ net.Conn }

func (undying) SetReadDeadline(time.Time) error  { return errors.New("refused") }
func (undying) SetWriteDeadline(time.Time) error { return errors.New("refused") }

func TestTheKeeperCutsWhatDoesNotEnd(t *testing.T) {
	for name, row := range map[string]struct {
		over time.Duration // since all was to be written
		cut  bool
	}{"in its time": {3*time.Hour - time.Minute, false}, "over it": {3*time.Hour + time.Minute, true}} {
		s := newStuck(t, Options{Times: Times{Close: -row.over, Drain: time.Hour, Scan: time.Hour}})
		s.sock.Conn = undying{s.sock.Conn}
		s.out.Close(closeGone, "")
		s.keep(socket.Elapsed())
		if cut := s.out.State().Dropped; cut != row.cut {
			t.Errorf("%s: cut: %t", name, cut)
		}
	}
}

// notedRate notes what is taken of it.
type notedRate struct {
	taken []int
	wait  time.Duration
}

func (r *notedRate) Take(user domain.UserID, n int) time.Duration {
	if user != 7 {
		n = -1
	}
	r.taken = append(r.taken, n)
	return r.wait
}

func TestAFrameCostsOneAndAnotherForEachFourKiB(t *testing.T) {
	s, r := newStuck(t, Options{}), &notedRate{wait: 5}
	s.server.deps.Rates.Frames = r
	for _, size := range []int{0, 4095, 4096, 8191, 8192, 65536} {
		if wait := s.throttle.Message(time.Now(), 7, size); wait != 5 {
			t.Errorf("%d bytes wait for %v", size, wait)
		}
	}
	if want := []int{1, 1, 2, 2, 3, 17}; !slices.Equal(r.taken, want) {
		t.Errorf("they cost %v, want %v", r.taken, want)
	}
	// A connection's own rate: never more than may be sent at once, and the user's is not asked beyond it.
	r.taken, r.wait = nil, 0
	s.throttle.Frames = rate.NewLimiter(rate.Every(time.Hour), 4)
	if wait := s.throttle.Message(time.Now(), 7, 8<<10); wait != 0 {
		t.Errorf("the first waits for %v", wait)
	}
	for size, hours := range map[int]time.Duration{8 << 10: 2, 64 << 10: 3} {
		if wait := s.throttle.Message(time.Now(), 7, size); wait > hours*time.Hour || wait < hours*time.Hour-10*time.Minute {
			t.Errorf("%d bytes wait for %v, want %d h", size, wait, hours)
		}
	}
	if want := []int{3}; !slices.Equal(r.taken, want) {
		t.Errorf("they cost the user %v, want %v", r.taken, want)
	}
}

func TestAFewFramesMayBeRefusedInNeedAndAThousandOtherwise(t *testing.T) {
	for name, row := range map[string]struct {
		rate throttle.UserRate
		want int
	}{
		"alone": {nil, 1000}, "its user has more": {&notedRate{}, 1000}, "its user has no more": {&notedRate{wait: 1}, 20},
	} {
		s := newStuck(t, Options{})
		s.server.deps.Rates.Refusals = row.rate
		began, refused := time.Now(), 0
		for s.throttle.MayRefuse(7) {
			refused++
		}
		if more := 10*int(time.Since(began)/time.Second) + 10; refused < row.want || refused > row.want+more {
			t.Errorf("%s: %d are refused, want %d", name, refused, row.want)
		}
	}
}

func TestTheDefaultTimesAreThoseThatAreDocumented(t *testing.T) {
	want := Times{Login: 10 * time.Second, Close: 5 * time.Second, Drain: 2 * time.Second, Receipt: 5 * time.Second, Scan: time.Second}
	if got := (Times{}).withDefaults(); got != want {
		t.Errorf("they are %+v", got)
	}
	if got := (Times{Close: 7}).withDefaults(); got.Close != 7 || got.Scan != time.Second {
		t.Errorf("what was given became %+v", got)
	}
	server, err := New(Options{}, partsOf(newChat(), slog.Default()))
	if err != nil || server.options.Times != want {
		t.Errorf("those of a server are %+v, %v", server.options.Times, err)
	}
}

func TestAServerNeedsItsPartsAndLimitsThatAreNotNegative(t *testing.T) {
	full := partsOf(newChat(), slog.New(slog.DiscardHandler))
	if _, err := New(Options{}, full); err != nil {
		t.Fatal(err)
	}
	for name, without := range map[string]func(*Deps){
		"login": func(d *Deps) { d.Login = nil }, "messages": func(d *Deps) { d.Messages = nil }, "invites": func(d *Deps) { d.Invites = nil },
		"clock": func(d *Deps) { d.Now = nil }, "logger": func(d *Deps) { d.Logger = nil }, "notices": func(d *Deps) { d.Notices = nil }, "ledger": func(d *Deps) { d.Bytes = nil },
	} {
		deps := full
		without(&deps)
		if _, err := New(Options{}, deps); err == nil {
			t.Errorf("it is made without a %s", name)
		}
	}
	for _, options := range []Options{{MaxConnections: -1}, {MaxPerAddress: -1}, {FramesPerSecond: -1}, {MaxFrame: -1}, {QueueBytes: -1}} {
		if _, err := New(options, full); err == nil {
			t.Errorf("it is made with %+v", options)
		}
	}
}

func TestARosterHasDrainedWhenAllHaveLeft(t *testing.T) {
	none, some := newRoster(0, 0), newRoster(0, 0)
	<-none.drain()
	<-none.drain()
	if _, err := none.admit(netip.Addr{}); !errors.Is(err, errDraining) {
		t.Errorf("one comes after the end: %v", err)
	}
	admit := func() (release func()) {
		t.Helper()
		release, err := some.admit(netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	first, second := admit(), admit()
	first()
	third := admit()
	ended := some.drain()
	if _, err := some.admit(netip.Addr{}); !errors.Is(err, errDraining) {
		t.Errorf("one comes after the end: %v", err)
	}
	second()
	select {
	case <-ended:
		t.Error("it ended before the last one")
	default:
	}
	third()
	<-ended
	<-some.drain()
}

func TestUpgradesThatLeaveBytesBehindAreNotBare(t *testing.T) {
	for head, want := range map[string]bool{
		"Host: x\r\n": true, "": true, "Content-Length: 0\r\n": true, "content-length:\t0 \r\n": true, "X-Trailer: a\r\n": true, "TE: trailers\r\n": true,
		"Trailer: X-A\r\n": false, "trailer:\r\n": false, "TRAILER : a\r\n": false, "Expect: 100-continue\r\n": false, "Transfer-Encoding: chunked\r\n": false, "transfer-encoding:\r\n": false,
		"Content-Length: 1\r\n": false, "Content-Length: 00\r\n": false, "Content-Length:\r\n": false, "A: b\r\n c\r\n": false, "A: b\r\n\tc\r\n": false,
	} {
		if got := bare([]byte("A: b\r\n" + head)); got != want {
			t.Errorf("%q: %t", head, got)
		}
	}
}

func TestAnUpgradeWithATrailerIsRefused(t *testing.T) {
	f := serve(t, Options{}, newChat())
	if got := statusOfRequest(t, f, upgradeHead+"Trailer: X-A\r\n\r\n"); got != 400 {
		t.Errorf("answered with %d", got)
	}
}

func TestAddressesOfOneIPv6NetworkOf64BitsAreOne(t *testing.T) {
	of := func(text string) netip.Addr { return network.Of(netip.MustParseAddr(text)) }
	if of("2001:db8:0:1:8000::1") != of("2001:db8:0:1::2") || of("2001:db8:0:1::1") == of("2001:db8:0:3::1") || of("192.0.2.1") != netip.MustParseAddr("192.0.2.1") {
		t.Error("they are not")
	}
}

func TestAServerIsMountedOnceAndNotAfterItsShutdown(t *testing.T) {
	app := func(strict bool) *fiber.App {
		return fiber.New(fiber.Config{ReduceMemoryUsage: true, StrictRouting: strict, DisableStartupMessage: true})
	}
	s := newStuck(t, Options{}).server
	if s.Mount(app(true)) == nil {
		t.Error("mounted on an app that tells /ws/chatting from /ws/chatting/")
	}
	if err := s.Mount(app(false)); err != nil {
		t.Fatal(err)
	}
	if s.Mount(app(false)) == nil {
		t.Error("mounted twice")
	}
	late := newStuck(t, Options{}).server
	for _, server := range []*Server{s, late} {
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if late.Mount(app(false)) == nil {
		t.Error("mounted after the shutdown")
	}
	if _, err := s.admit(netip.Addr{}); !errors.Is(err, errDraining) {
		t.Errorf("a server that was shut down admits: %v", err)
	}
}

func TestAPlaceIsTakenOnceAndGivenBackOnce(t *testing.T) {
	s := newStuck(t, Options{MaxConnections: 3, MaxPerAddress: 2}).server
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	admit := func(address netip.Addr) func() {
		t.Helper()
		release, err := s.admit(address)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	refused := func(address netip.Addr) {
		t.Helper()
		if _, err := s.admit(address); !errors.As(err, new(fullError)) {
			t.Errorf("%v: %v", address, err)
		}
	}
	first := admit(a)
	admit(a)
	refused(a)
	third := admit(b)
	refused(b)
	first()
	first()
	if n := s.Connections(); n != 2 {
		t.Errorf("%d are counted", n)
	}
	admit(a)
	refused(b)
	third()
	if len(s.roster.perAddress) != 1 {
		t.Errorf("addresses without connections are kept: %v", s.roster.perAddress)
	}
}

func TestTheLimitsAreThoseThatAreDocumented(t *testing.T) {
	if maxBadJSON != 10 || throttle.MaxRefusals != 1000 || throttle.RefusalsPerSecond != 10 {
		t.Errorf("%d frames without JSON, %d refused ones and %d a second", maxBadJSON, throttle.MaxRefusals, throttle.RefusalsPerSecond)
	}
	if frames := newStuck(t, Options{FramesPerSecond: 4}).throttle.Frames; frames.Limit() != 4 || frames.Burst() != 8 {
		t.Errorf("%v frames a second, %d at once", frames.Limit(), frames.Burst())
	}
	if frames := newStuck(t, Options{}).throttle.Frames; frames != nil {
		t.Error("there is a limit that nobody set")
	}
}

func TestAReasonThatIsNotKnownIsAFaultOfTheServer(t *testing.T) {
	if got := causeOfReason("unheard"); got != closeInternal {
		t.Errorf("it closes with %d", got.Code())
	}
}
