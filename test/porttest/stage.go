package porttest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"chatting/application/blocks"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/domain"
)

// Stage is one node's delivery beside a log and a table of blocks, driven step by step.
type Stage struct {
	T        testing.TB
	Delivery *delivery.Delivery
	Log      Conversations
	Next     []int // the record of each partition that Step applies next
	Blocks   map[domain.UserID]map[domain.UserID]blocks.Entry
	events   uint64
	Versions *StageVersions          // nil: the log is believed
	Forged   map[domain.EventID]bool // what nobody committed
}

// StageVersions tells what was committed, when the test lets it.
type StageVersions struct {
	Gate  chan struct{} // nil: at once
	Early func() bool   // whether the answer is older than its permission; nil: no

	Mu    sync.Mutex // guards what is below
	Asked int        // how often
	Err   error
	given map[Pair]blocks.GivenVersions
}

func (v *StageVersions) gave(change domain.BlockChanged, id domain.EventID) {
	v.Mu.Lock()
	defer v.Mu.Unlock()
	if v.given == nil {
		v.given = make(map[Pair]blocks.GivenVersions)
	}
	v.given[Pair{Blocker: change.Blocker, Target: change.Target}] = blocks.GivenVersions{
		Newest: change.Version, Events: map[int64]domain.EventID{change.Version: id},
	}
}

// Versions implements delivery.BlockVersions.
func (v *StageVersions) Versions(ctx context.Context, p blocks.Pair) (blocks.GivenVersions, error) {
	read := func() (blocks.GivenVersions, error) {
		v.Mu.Lock()
		defer v.Mu.Unlock()
		return v.given[Pair{Blocker: p.Blocker, Target: p.Target}], v.Err
	}
	given, err := read()
	v.Mu.Lock()
	v.Asked++
	early := v.Early != nil && v.Early()
	v.Mu.Unlock()
	if v.Gate != nil {
		select {
		case <-v.Gate:
		case <-ctx.Done():
			return given, ctx.Err()
		}
	}
	if early {
		return given, err
	}
	return read()
}

// Checks has the stage's delivery ask whether changes of blocks are real, until the test ends.
func (s *Stage) Checks(versions *StageVersions) {
	s.Versions, s.Forged = versions, make(map[domain.EventID]bool)
	s.Delivery.Versions = versions
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Delivery.Run(ctx)
	}()
	s.T.Cleanup(func() {
		cancel()
		<-done
	})
}

// Forge appends a change that nobody committed.
func (s *Stage) Forge(blocker, target domain.UserID, blocked bool, version int64) domain.Place {
	s.events++
	id := domain.DerivedID("forged", fmt.Sprint(s.events))
	s.Forged[id] = true
	return s.Append(domain.Event{ID: id, Body: domain.BlockChanged{Blocker: blocker, Target: target, Blocked: blocked, Version: version}})
}

// NewStage returns a stage with an empty log, whose changes of blocks are all believed.
func NewStage(t testing.TB, partitions int) *Stage {
	return &Stage{
		T: t, Delivery: delivery.NewDelivery(&Readings{}, invites.NewRegister(), QuietNotices()),
		Log: NewConversations(partitions), Next: make([]int, partitions),
		Blocks: make(map[domain.UserID]map[domain.UserID]blocks.Entry),
	}
}

// Append puts an event in the log and returns where it stands.
func (s *Stage) Append(event domain.Event) domain.Place {
	if event.ID == (domain.EventID{}) {
		s.events++
		event.ID = domain.DerivedID("test", fmt.Sprint(s.events))
	}
	partition := s.Log.PartitionOf(event.Body.Conversation())
	at := domain.Place{Partition: partition, Offset: int64(len(s.Log.Records[partition]))}
	s.Log.Append(event, func(error) {})
	return at
}

// Chat appends a chat message.
func (s *Stage) Chat(from, to domain.UserID) domain.Place {
	return s.Append(domain.Event{Body: domain.ChatMessage{From: from, To: to}})
}

// Named appends a chat message that its sender named.
func (s *Stage) Named(from, to domain.UserID, name domain.ClientMessageID) domain.Place {
	return s.Append(domain.Event{
		ID: domain.MessageID(from, to, name), Body: domain.ChatMessage{From: from, To: to}, ClientMessageID: name,
	})
}

// Commit writes a change of a pair to the table, and returns the event that reports it.
func (s *Stage) Commit(blocker, target domain.UserID, blocked bool) domain.Event {
	if s.Blocks[blocker] == nil {
		s.Blocks[blocker] = make(map[domain.UserID]blocks.Entry)
	}
	entry := blocks.Entry{Target: target, Blocked: blocked, Version: s.Blocks[blocker][target].Version + 1}
	s.Blocks[blocker][target] = entry
	change := domain.BlockChanged{Blocker: blocker, Target: target, Blocked: blocked, Version: entry.Version}
	s.events++
	event := domain.Event{ID: domain.DerivedID("change", fmt.Sprint(s.events)), Body: change}
	if s.Versions != nil {
		s.Versions.gave(change, event.ID)
	}
	return event
}

// Block appends a block that the database gave out.
func (s *Stage) Block(blocker, target domain.UserID) { s.Append(s.Commit(blocker, target, true)) }

// Unblock appends the end of a block.
func (s *Stage) Unblock(blocker, target domain.UserID) { s.Append(s.Commit(blocker, target, false)) }

// Load returns the user's blocks as the database holds them.
func (s *Stage) Load(user domain.UserID) []blocks.Entry {
	var entries []blocks.Entry
	for _, entry := range s.Blocks[user] {
		entries = append(entries, entry)
	}
	return entries
}

// Ends returns where the log ends.
func (s *Stage) Ends() []int64 {
	ends, err := s.Log.EndOffsets(s.T.Context())
	if err != nil {
		s.T.Fatal(err)
	}
	return ends
}

// Step applies the next record of a partition, if there is one.
func (s *Stage) Step(partition int) {
	if offset := s.Next[partition]; offset < len(s.Log.Records[partition]) {
		s.Next[partition]++
		at := domain.Place{Partition: partition, Offset: int64(offset)}
		s.Delivery.Apply(Record{At: at, Event: s.Log.Records[partition][offset]})
	}
}

// Tail applies the whole log.
func (s *Stage) Tail() {
	for partition := range s.Next {
		for s.Next[partition] < len(s.Log.Records[partition]) {
			s.Step(partition)
		}
	}
}

// Login attaches a connection and goes through the steps of a login.
func (s *Stage) Login(user domain.UserID) (*Conn, *delivery.Attachment) {
	c := &Conn{}
	a := s.Delivery.Attach(user, c)
	a.Activate(s.Load(user), s.Ends())
	c.LoggedIn(user, nil, SomeTime)
	a.Release()
	return c, a
}

// Shown expects exactly the records at these places, in this order.
func (s *Stage) Shown(what string, c *Conn, want ...domain.Place) {
	s.T.Helper()
	var frames []string
	for _, d := range Of[Delivered](c) {
		frames = append(frames, d.Frame)
	}
	var wanted []string
	for _, at := range want {
		wanted = append(wanted, string(FrameOf(at)))
	}
	if !slices.Equal(frames, wanted) {
		s.T.Fatalf("%s: shown %v, want %v", what, frames, wanted)
	}
}

// Mark appends a read mark, and returns its frame.
func (s *Stage) Mark(reader, partner domain.UserID, message string, unread int, receipt bool) string {
	id := domain.DerivedID("message", message)
	at := s.Append(domain.Event{ID: domain.ReadMarkID(reader, partner, id), Body: domain.ReadMark{
		Reader: reader, Partner: partner, Message: id, Unread: unread, Receipt: receipt,
	}})
	return string(FrameOf(at))
}
