package check

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// stage makes a sound run by hand: what is appended reaches all who are to see it, at once.
type stage struct {
	run     Run
	offsets int64
	ids     int
	blocked map[Side]bool
	version map[Side]int64
	clock   time.Time
}

func newStage(users ...int64) *stage {
	s := &stage{
		run: Run{
			BlockLists: map[int64][]int64{}, History: map[Side][]Event{}, Pending: map[int64][]string{}, Marks: map[Side][]string{},
			Online: map[int64]bool{}, Partitions: stagePartitions,
		},
		blocked: map[Side]bool{}, version: map[Side]int64{}, clock: time.Unix(1_000_000, 0),
	}
	for _, user := range users {
		s.run.Devices = append(s.run.Devices, Device{User: user, Number: 1}, Device{User: user, Number: 2})
		s.run.Online[user] = true
		s.run.Pending[user] = nil
	}
	return s
}

func (s *stage) now() time.Time {
	s.clock = s.clock.Add(time.Second)
	return s.clock
}

// append gives an event its id and its place, and shows it.
func (s *stage) append(e Event) Event {
	s.ids++
	e.ID, e.Offset, e.Partition = fmt.Sprint("id", s.ids), s.offsets, int32(e.From+e.To)
	e.Written, e.Login = s.clock, s.newest()
	s.offsets++
	s.run.Log = append(s.run.Log, e)
	frame := e
	frame.Connection = 1
	if e.Type == Blocked || e.Type == Unblocked {
		return e
	}
	for i := range s.run.Devices {
		d := &s.run.Devices[i]
		if d.User == e.From || d.User == e.To && !s.blocked[Side{e.To, e.From}] && (e.Type != ReadMark || e.Receipt) {
			seen := frame
			if d.User != e.From {
				seen.Name = ""
			}
			d.Frames = append(d.Frames, seen)
		}
	}
	if e.Type == Chat {
		s.run.History[Side{e.From, e.To}] = append(s.run.History[Side{e.From, e.To}], e)
		if !s.blocked[Side{e.To, e.From}] {
			s.run.History[Side{e.To, e.From}] = append(s.run.History[Side{e.To, e.From}], e)
		}
	}
	return e
}

func (s *stage) device(user int64, number int) *Device {
	for i := range s.run.Devices {
		if s.run.Devices[i].User == user && s.run.Devices[i].Number == number {
			return &s.run.Devices[i]
		}
	}
	panic("no such device")
}

// send sends an event from a user's first device.
func (s *stage) send(e Event) Event {
	r := Request{Type: e.Type, Target: e.To, Text: e.Text, Status: e.Status, Room: e.Room, Name: e.Name, First: s.now()}
	e = s.append(e)
	r.Answered, r.Answer, r.ID = s.now(), Echoed, e.ID
	d := s.device(e.From, 1)
	d.Requests = append(d.Requests, r)
	return e
}

func (s *stage) say(from, to int64, name string) Event {
	return s.send(Event{Type: Chat, From: from, To: to, Text: "text " + name, Name: name})
}

func (s *stage) invite(from, to int64, status, room string) Event {
	return s.send(Event{Type: Invite, From: from, To: to, Status: status, Room: room, Name: status + room})
}

func (s *stage) block(by, target int64, block bool) {
	side := Side{by, target}
	asked := s.now()
	s.version[side]++
	kind := map[bool]string{true: Blocked, false: Unblocked}[block]
	s.append(Event{Type: kind, From: by, To: target, Version: s.version[side]})
	s.blocked[side] = block
	s.run.Blocks = append(s.run.Blocks, BlockChange{By: by, Target: target, Block: block, Asked: asked, Confirmed: s.now()})
}

// stagePartitions is how many partitions the conversations of three users have: each is the sum of its two users.
const stagePartitions = 5

// act does something to a user: the record is in the audit and in all partitions.
func (s *stage) act(kind string, user int64) Act {
	s.ids++
	asked := s.now()
	act := Act{ID: fmt.Sprint("act", s.ids), Kind: kind, User: user, Version: s.newest() + 1, Time: asked}
	s.run.Audit = append(s.run.Audit, act)
	for partition := range int32(stagePartitions) {
		act.Partition, act.Offset = partition+2, s.offsets
		s.offsets++
		s.run.Acts = append(s.run.Acts, act)
	}
	s.run.ActRequests = append(s.run.ActRequests, ActRequest{Kind: kind, User: user, Asked: asked, Confirmed: s.now(), ID: act.ID})
	return act
}

// newest is the version of the newest act.
func (s *stage) newest() (version int64) {
	for _, act := range s.run.Audit {
		version = max(version, act.Version)
	}
	return version
}

// sayInVain has a message come to the log that an act keeps back. Its sender gets an error.
func (s *stage) sayInVain(from, to int64, name, code string, login int64) Event {
	s.ids++
	e := Event{
		Type: Chat, From: from, To: to, Text: "text " + name, Name: name, ID: fmt.Sprint("id", s.ids), Partition: int32(from + to),
		Offset: s.offsets, Written: s.now(), Login: login,
	}
	s.offsets++
	s.run.Log = append(s.run.Log, e)
	d := s.device(from, 1)
	d.Requests = append(d.Requests, Request{Type: Chat, Target: to, Text: e.Text, Name: name, First: s.now(), Answered: s.now(), Answer: code})
	return e
}

// login has a user's first device log in.
func (s *stage) login(user int64) {
	d := s.device(user, 1)
	d.Logins = append(d.Logins, Login{Began: s.now(), Answered: s.now()})
}

func (s *stage) mark(user, partner int64, message Event) Event {
	e := s.append(Event{Type: ReadMark, From: user, To: partner, Marked: message.ID, Receipt: !s.blocked[Side{user, partner}]})
	s.run.Marks[Side{user, partner}] = append(s.run.Marks[Side{user, partner}], message.ID)
	return e
}

// sound is a run with everything in it.
func sound() *stage {
	s := newStage(1, 2, 3)
	for i := range 5 {
		s.say(1, 2, fmt.Sprint("a", i))
		s.say(2, 1, fmt.Sprint("b", i))
		s.say(3, 1, fmt.Sprint("c", i))
	}
	s.mark(1, 2, s.run.Log[4])
	s.block(1, 3, true)
	s.say(3, 1, "hidden")
	s.say(1, 3, "not hidden")
	s.block(1, 3, false)
	s.say(3, 1, "shown again")
	s.block(2, 3, true)
	s.invite(1, 2, "invite", "room1")
	s.invite(2, 1, "accept", "room1")
	s.append(Event{Type: Invite, From: 1, To: 2, Status: "invite", Room: "room2"})
	s.append(Event{Type: Invite, From: 1, To: 2, Status: "expired", Room: "room2"})
	s.act(Mute, 3)
	s.sayInVain(3, 1, "muted", "muted", s.newest())
	s.invite(3, 1, "invite", "room4")
	s.invite(1, 3, "decline", "room4")
	s.act(Unmute, 3)
	s.say(3, 1, "again")
	s.login(3)
	before := s.newest()
	s.act(Ban, 3)
	s.sayInVain(3, 1, "banned", "banned", s.newest())
	s.act(Unban, 3)
	s.login(3)
	s.sayInVain(3, 1, "from a connection that has ended", "unavailable", before)
	s.say(3, 1, "back")
	s.act(End, 3)
	s.run.BlockLists = map[int64][]int64{1: nil, 2: {3}, 3: nil}
	s.run.Seen = []Seen{{By: 1, Where: "device 1", Of: 2, Online: true}, {By: 3, Where: "device 1", Of: 2, Online: false}}
	return s
}

func TestASoundRunBreaksNoRule(t *testing.T) {
	s := sound()
	if found := s.run.Violations(); len(found) > 0 {
		t.Errorf("a sound run: %v", found)
	}
	// What a program may get more often than once.
	s.run.Log = append(s.run.Log, s.run.Log[0])
	again := s.device(1, 1).Frames[0]
	again.Connection = 2
	s.device(1, 1).Frames = append(s.device(1, 1).Frames, again)
	// The end of an invite that came too late is in the log. Its sender is told so, and nobody sees it.
	s.run.Log = append(s.run.Log, Event{
		ID: "late", Type: Invite, From: 1, To: 2, Status: "cancel", Room: "room1", Name: "late", Partition: 3, Offset: 1000,
	})
	s.device(1, 1).Requests = append(s.device(1, 1).Requests, Request{
		Type: Invite, Target: 2, Status: "cancel", Room: "room1", Name: "late", First: s.now(), Answered: s.now(), Answer: "invite_ended",
	})
	if found := s.run.Violations(); len(found) > 0 {
		t.Errorf("with what is allowed: %v", found)
	}
}

// A message whose sender had no answer may be in the log or not, and one that was refused for good may not.
func TestWhatWasRefusedIsNotInTheLog(t *testing.T) {
	s := sound()
	for i := range s.device(1, 1).Requests {
		r := &s.device(1, 1).Requests[i]
		r.Answer, r.ID, r.Doubt = "unconfirmed", "", true
	}
	if found := s.run.Violations(); len(found) > 0 {
		t.Errorf("requests in doubt: %v", found)
	}
	s.device(1, 1).Requests[0].Doubt = false
	mustBreak(t, s, RuleEcho)
}

// mustBreak looks whether the run breaks these rules and no others.
func mustBreak(t *testing.T, s *stage, wanted ...Rule) {
	t.Helper()
	found := s.run.Violations()
	var rules []Rule
	for _, v := range found {
		if !slices.Contains(rules, v.Rule) {
			rules = append(rules, v.Rule)
		}
	}
	slices.Sort(wanted)
	if !slices.Equal(rules, wanted) {
		t.Errorf("the run breaks %v, not %v: %v", rules, wanted, found)
	}
}

// without returns events without those of an id.
func without(events []Event, id string) []Event {
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool { return e.ID == id })
}

// insertBefore puts an event before the one with a text of this name.
func insertBefore(events []Event, name string, e Event) []Event {
	i := slices.IndexFunc(events, func(f Event) bool { return f.Text == "text "+name })
	return slices.Insert(slices.Clone(events), i, e)
}

// request returns the device's request of a name.
func (d *Device) request(name string) *Request {
	return &d.Requests[slices.IndexFunc(d.Requests, func(r Request) bool { return r.Name == name })]
}

func swap(events []Event, a, b string) {
	i := slices.IndexFunc(events, func(e Event) bool { return e.ID == a })
	j := slices.IndexFunc(events, func(e Event) bool { return e.ID == b })
	events[i], events[j] = events[j], events[i]
}

// named returns the record of a client_msg_id.
func (s *stage) named(name string) Event {
	return s.run.Log[slices.IndexFunc(s.run.Log, func(e Event) bool { return e.Name == name })]
}

// Each run is sound but for one thing.
func TestEachFaultIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(*stage)
		broken []Rule
	}{
		"one device lost a message": {func(s *stage) {
			s.device(2, 2).Frames = without(s.device(2, 2).Frames, s.named("a1").ID)
		}, []Rule{RuleDelivered}},
		"the sender's other device lost a message": {func(s *stage) {
			s.device(1, 2).Frames = without(s.device(1, 2).Frames, s.named("a1").ID)
		}, []Rule{RuleDelivered}},
		"the log lost an echoed message": {func(s *stage) {
			s.run.Log = without(s.run.Log, s.named("a1").ID)
		}, []Rule{RuleEcho, RuleInvented}},
		"a message is in the log under two ids": {func(s *stage) {
			double := s.named("a1")
			double.ID, double.Offset = "another", 1000
			s.run.Log = append(s.run.Log, double)
		}, []Rule{RuleOnce, RuleDelivered, RuleHistory}},
		"an id names two messages": {func(s *stage) {
			double := s.named("a1")
			double.Text = "another"
			s.run.Log = append(s.run.Log, double)
		}, []Rule{RuleOnce}},
		"a connection got a message twice": {func(s *stage) {
			d := s.device(1, 1)
			d.Frames = append(d.Frames, d.Frames[0])
		}, []Rule{RuleOnce}},
		"a device shows two messages in another order": {func(s *stage) {
			swap(s.device(2, 1).Frames, s.named("a1").ID, s.named("b1").ID)
		}, []Rule{RuleOrder}},
		"the history has two messages in another order": {func(s *stage) {
			swap(s.run.History[Side{1, 2}], s.named("a1").ID, s.named("b1").ID)
		}, []Rule{RuleOrder}},
		"a conversation is in two partitions": {func(s *stage) { s.run.Log[6].Partition = 99 }, []Rule{RuleOrder}},
		"a blocked user's message is shown": {func(s *stage) {
			d := s.device(1, 1)
			e := s.named("hidden")
			e.Connection, e.Name = 1, ""
			d.Frames = append(d.Frames, e)
		}, []Rule{RuleBlock}},
		"a blocked user's message is in the history": {func(s *stage) {
			s.run.History[Side{1, 3}] = append(s.run.History[Side{1, 3}], s.named("hidden"))
		}, []Rule{RuleBlock}},
		"a confirmed block is not in the log, and what it should hide is shown": {func(s *stage) {
			s.run.Log = slices.DeleteFunc(s.run.Log, func(e Event) bool { return e.To == 3 && (e.Type == Blocked || e.Type == Unblocked) && e.From == 1 })
			e := s.named("hidden")
			e.Connection, e.Name = 1, ""
			for n := 1; n <= 2; n++ {
				d := s.device(1, n)
				d.Frames = slices.Insert(slices.Clone(d.Frames), slices.IndexFunc(d.Frames, func(f Event) bool { return f.Text == "text not hidden" }), e)
			}
			h := s.run.History[Side{1, 3}]
			s.run.History[Side{1, 3}] = slices.Insert(slices.Clone(h), slices.IndexFunc(h, func(f Event) bool { return f.Text == "text not hidden" }), e)
		}, []Rule{RuleBlock}},
		"a list lacks a block":          {func(s *stage) { s.run.BlockLists[2] = nil }, []Rule{RuleBlock}},
		"a list has a block that ended": {func(s *stage) { s.run.BlockLists[1] = []int64{3} }, []Rule{RuleBlock}},
		"the history lacks a message": {func(s *stage) {
			s.run.History[Side{2, 1}] = without(s.run.History[Side{2, 1}], s.named("b2").ID)
		}, []Rule{RuleHistory}},
		"the history has a message twice": {func(s *stage) {
			s.run.History[Side{2, 1}] = append(s.run.History[Side{2, 1}], s.run.History[Side{2, 1}][0])
		}, []Rule{RuleOnce}},
		"a message has no answer": {func(s *stage) { s.device(1, 1).Requests[0].Answer = "" }, []Rule{RuleAnswered}},
		"an echo has another id":  {func(s *stage) { s.device(1, 1).Requests[0].ID = "another" }, []Rule{RuleEcho}},
		"a message came with another text": {func(s *stage) { s.device(2, 1).Frames[0].Text = "another" },
			[]Rule{RuleInvented, RuleDelivered}},
		"a message of others is shown": {func(s *stage) {
			e := s.named("c1")
			e.Connection, e.Name = 1, ""
			s.device(2, 1).Frames = append(s.device(2, 1).Frames, e)
		}, []Rule{RuleInvented}},
		"nobody sent what is in the log": {func(s *stage) { s.append(Event{Type: Chat, From: 1, To: 2, Text: "x", Name: "x"}) },
			[]Rule{RuleInvented}},
		"a device is not told how an invite ended": {func(s *stage) {
			s.device(1, 2).Frames = without(s.device(1, 2).Frames, s.named("acceptroom1").ID)
		}, []Rule{RuleInvite}},
		"a device is told of an end that came too late": {func(s *stage) {
			s.invite(1, 2, "cancel", "room1")
		}, []Rule{RuleInvented}},
		"an invite has no end":                   {func(s *stage) { s.invite(1, 2, "invite", "room3") }, []Rule{RuleInvite}},
		"an ended invite is told as pending":     {func(s *stage) { s.run.Pending[1] = []string{"room1"} }, []Rule{RuleInvite}},
		"presence stays wrong":                   {func(s *stage) { s.run.Seen[0].Online = false }, []Rule{RulePresence}},
		"a blocked user sees the blocker online": {func(s *stage) { s.run.Seen[1].Online = true }, []Rule{RulePresence}},
		"a partner is not told of a mark": {func(s *stage) {
			d := s.device(2, 1)
			d.Frames = slices.DeleteFunc(slices.Clone(d.Frames), func(e Event) bool { return e.Type == ReadMark })
		}, []Rule{RuleMark}},
		"a muted user's message is shown": {func(s *stage) {
			e := s.named("muted")
			e.Connection, e.Name = 1, ""
			s.device(1, 1).Frames = append(s.device(1, 1).Frames, e)
		}, []Rule{RuleAct}},
		"a muted user's message is echoed": {func(s *stage) {
			e := s.named("muted")
			e.Connection = 1
			d := s.device(3, 1)
			d.Frames = append(d.Frames, e)
			r := d.request("muted")
			r.Answer, r.ID = Echoed, e.ID
		}, []Rule{RuleAct}},
		"a banned user's message is in the history": {func(s *stage) {
			s.run.History[Side{1, 3}] = append(s.run.History[Side{1, 3}], s.named("banned"))
		}, []Rule{RuleAct}},
		"a message from a connection that a ban has ended is shown": {func(s *stage) {
			e := s.named("from a connection that has ended")
			e.Connection, e.Name = 1, ""
			s.device(1, 2).Frames = append(s.device(1, 2).Frames, e)
		}, []Rule{RuleAct}},
		"a message of a user who is muted no more is shown to nobody": {func(s *stage) {
			for i := range s.run.Devices {
				s.run.Devices[i].Frames = without(s.run.Devices[i].Frames, s.named("again").ID)
			}
		}, []Rule{RuleDelivered}},
		"a confirmed mute stands behind what was said after it": {func(s *stage) {
			e := s.named("muted")
			for i := range s.run.Acts {
				if act := &s.run.Acts[i]; act.ID == s.run.ActRequests[0].ID {
					act.Offset = e.Offset
				}
			}
			e.Connection = 1
			s.run.History[Side{1, 3}] = insertBefore(s.run.History[Side{1, 3}], "again", e)
			s.run.History[Side{3, 1}] = insertBefore(s.run.History[Side{3, 1}], "again", e)
			for i := range s.run.Devices {
				if d := &s.run.Devices[i]; d.User != 2 {
					d.Frames = insertBefore(d.Frames, "again", e)
				}
			}
			r := s.device(3, 1).request("muted")
			r.Answer, r.ID = Echoed, e.ID
		}, []Rule{RuleAct}},
		"a confirmed act is not in one partition": {func(s *stage) { s.run.Acts = s.run.Acts[:len(s.run.Acts)-1] }, []Rule{RuleAct}},
		"an act is not in the audit":              {func(s *stage) { s.run.Audit = s.run.Audit[:len(s.run.Audit)-1] }, []Rule{RuleAct}},
		"the audit has another act":               {func(s *stage) { s.run.Audit[0].Version++ }, []Rule{RuleAct}},
		"an id names two acts": {func(s *stage) {
			double := s.run.Audit[0]
			double.User = 2
			s.run.Audit = slices.Insert(s.run.Audit, 0, double)
			s.run.ActRequests = append(s.run.ActRequests, ActRequest{Kind: Mute, User: 2})
		}, []Rule{RuleAct}},
		"nobody asked for an act": {func(s *stage) {
			s.act(End, 1)
			s.run.ActRequests = s.run.ActRequests[:len(s.run.ActRequests)-1]
		}, []Rule{RuleAct}},
		"a banned user has logged in": {func(s *stage) {
			s.act(Ban, 2)
			s.login(2)
		}, []Rule{RuleAct}},
		"a banned user is connected": {func(s *stage) {
			s.act(Ban, 2)
			s.device(2, 2).Connected = true
		}, []Rule{RuleBan}},
		"a confirmed mark is not in the log": {func(s *stage) {
			s.run.Marks[Side{2, 1}] = []string{s.named("a1").ID}
		}, []Rule{RuleMark}},
	} {
		t.Run(name, func(t *testing.T) {
			s := sound()
			c.spoil(s)
			mustBreak(t, s, c.broken...)
		})
	}
}
