package application_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"chatting/application"
	"chatting/domain"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func quietNotices() *application.Notices { return application.NewNotices(quiet, time.Now) }

// fate is what becomes of an append.
type fate int

const (
	confirmed fate = iota // in the log, and the caller is told
	refused               // CodeUnavailable, and never in the log
	lost                  // CodeUnconfirmed, and never in the log
	late                  // CodeUnconfirmed; in the log once released
	delayed               // nothing yet; in the log and confirmed once released
)

var (
	errRefused     = domain.NewError(domain.CodeUnavailable, "refused")
	errUnconfirmed = domain.NewError(domain.CodeUnconfirmed, "unconfirmed")
)

// topic is an ordered log in memory. fate decides about each append; nil confirms all.
type topic[T any] struct {
	mu         sync.Mutex
	grown      *sync.Cond
	closed     bool
	partitions [][]T
	fate       func(T) fate
	waiting    []func() // what release does, under no lock
}

func newTopic[T any](partitions int) *topic[T] {
	t := &topic[T]{partitions: make([][]T, partitions)}
	t.grown = sync.NewCond(&t.mu)
	return t
}

// put appends as fate says. Callers may share no lock with done.
func (t *topic[T]) put(partition int, value T, done func(error)) {
	t.mu.Lock()
	what := confirmed
	if t.fate != nil {
		what = t.fate(value)
	}
	var outcome error
	switch what {
	case confirmed:
		t.add(partition, value)
	case refused:
		outcome = errRefused
	case lost:
		outcome = errUnconfirmed
	case late:
		outcome = errUnconfirmed
		t.waiting = append(t.waiting, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.add(partition, value)
		})
	case delayed:
		t.waiting = append(t.waiting, func() {
			t.mu.Lock()
			t.add(partition, value)
			t.mu.Unlock()
			done(nil)
		})
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	done(outcome)
}

func (t *topic[T]) add(partition int, value T) {
	t.partitions[partition] = append(t.partitions[partition], value)
	t.grown.Broadcast()
}

// decide sets the fate of appends from now on.
func (t *topic[T]) decide(fate func(T) fate) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fate = fate
}

// release puts what waits into the log, in its order, and confirms what is to be confirmed.
func (t *topic[T]) release() {
	t.mu.Lock()
	waiting := t.waiting
	t.waiting = nil
	t.mu.Unlock()
	for _, do := range waiting {
		do()
	}
}

// all returns a partition's records so far.
func (t *topic[T]) all(partition int) []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.partitions[partition])
}

// follow calls f with the records of every partition, in order, one goroutine in all, until the topic is closed or stop.
// The returned function waits for its end.
func (t *topic[T]) follow(f func(partition, offset int, value T)) (stop func()) {
	var stopped bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		next := make([]int, len(t.partitions))
		for {
			t.mu.Lock()
			partition := -1
			for partition < 0 {
				if stopped || t.closed {
					t.mu.Unlock()
					return
				}
				for p := range t.partitions {
					if next[p] < len(t.partitions[p]) {
						partition = p
						break
					}
				}
				if partition < 0 {
					t.grown.Wait()
				}
			}
			value := t.partitions[partition][next[partition]]
			t.mu.Unlock()
			f(partition, next[partition], value)
			next[partition]++
		}
	}()
	return func() {
		t.mu.Lock()
		stopped = true
		t.grown.Broadcast()
		t.mu.Unlock()
		<-done
	}
}

// conversations is a ConversationLog and its LogEnds.
type conversations struct{ *topic[domain.Event] }

func newConversations(partitions int) conversations {
	return conversations{newTopic[domain.Event](partitions)}
}

func (c conversations) partitionOf(conversation domain.Conversation) int {
	return int((conversation.Low() + 3*conversation.High()) % domain.UserID(len(c.partitions)))
}

func (c conversations) Append(event domain.Event, done func(error)) {
	c.put(c.partitionOf(event.Body.Conversation()), event, done)
}

func (c conversations) EndOffsets(context.Context) ([]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := make([]int64, len(c.partitions))
	for p := range c.partitions {
		ends[p] = int64(len(c.partitions[p]))
	}
	return ends, nil
}

// Seen and PartitionOf make it a SeenLog: this node has read everything.
func (c conversations) Seen() []int64 {
	ends, _ := c.EndOffsets(context.Background())
	return ends
}

func (c conversations) PartitionOf(conversation domain.Conversation) int {
	return c.partitionOf(conversation)
}

// record is a Record of conversations.
type record struct {
	at    application.Position
	event domain.Event
	err   error
}

func (r record) Position() application.Position    { return r.at }
func (r record) Conversation() domain.Conversation { return r.event.Body.Conversation() }

// Time is that of the event: the log is a moment later at most.
func (r record) Time() time.Time { return r.event.Time }

func (r record) ConcernsInvites() bool {
	switch r.event.Body.(type) {
	case domain.GameInvite, domain.BlockChanged:
		return true
	default:
		return false
	}
}

func (r record) Open() (domain.Event, []byte, error) {
	if _, hidden := r.event.Body.(domain.BlockChanged); hidden || r.err != nil {
		return r.event, nil, r.err
	}
	return r.event, frameOf(r.at), nil
}

// frameOf stands for a frame's bytes: they tell where its record is.
func frameOf(at application.Position) []byte {
	return fmt.Appendf(nil, "%d/%d", at.Partition, at.Offset)
}

// sessionEntry is a session record with the time of its append.
type sessionEntry struct {
	record domain.SessionRecord
	at     time.Time
}

// sessionTopic is a SessionLog. Stamps are its own clock's.
type sessionTopic struct {
	*topic[sessionEntry]
	now application.Clock
}

func newSessionTopic(partitions int, now application.Clock) *sessionTopic {
	return &sessionTopic{topic: newTopic[sessionEntry](partitions), now: now}
}

func (s *sessionTopic) Partitions() int                    { return len(s.partitions) }
func (s *sessionTopic) PartitionOf(user domain.UserID) int { return int(user) % len(s.partitions) }

func (s *sessionTopic) Append(record domain.SessionRecord, done func(error)) {
	partition := 0
	if record.Kind != domain.SessionBeat {
		partition = s.PartitionOf(record.User)
	}
	s.put(partition, sessionEntry{record, s.now()}, done)
}

func (s *sessionTopic) Bury(incarnation domain.Incarnation, done func(error)) {
	var mu sync.Mutex
	var first error
	left := len(s.partitions)
	for partition := range s.partitions {
		// The count, which a burial does not use, tells fates which partition it is for.
		entry := sessionEntry{domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation, Count: int64(partition)}, s.now()}
		s.put(partition, entry, func(err error) {
			mu.Lock()
			if first == nil {
				first = err
			}
			left--
			last := left == 0
			mu.Unlock()
			if last {
				done(first)
			}
		})
	}
}

// kinds returns the records of a user in the log, without beats and burials, in short: "up1 down1".
func (s *sessionTopic) kinds(user domain.UserID) string {
	text := ""
	for _, entry := range s.all(s.PartitionOf(user)) {
		switch entry.record.Kind {
		case domain.SessionUp, domain.SessionDown:
			if entry.record.User == user {
				text += fmt.Sprintf("%s%d ", entry.record.Kind, entry.record.Count)
			}
		}
	}
	if text == "" {
		return ""
	}
	return text[:len(text)-1]
}

// What a conn was given.
type (
	loggedIn struct {
		user   domain.UserID
		online []domain.UserID
	}
	status struct {
		to     domain.UserID
		user   domain.UserID
		online bool
	}
	delivered struct {
		frame  string
		echoOf domain.ClientMessageID
	}
	deliveredAt struct {
		frame string
		at    application.Position
	}
	replayed struct {
		frame string
		at    string // "" where nothing is confirmed with it
	}
	closed struct{ reason application.CloseReason }
)

// conn is a Connection that remembers what it was given.
type conn struct {
	feature application.Feature // that the client named, "" for none
	address string

	mu  sync.Mutex
	got []any
	// room, where set, is waited for by AwaitRoom.
	room func(ctx context.Context, bytes int) error
}

func (c *conn) add(what any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, what)
}

// Address implements application.Connection.
func (c *conn) Address() string { return c.address }

// Has implements application.Connection.
func (c *conn) Has(feature application.Feature) bool { return c.feature == feature }

func (c *conn) LoggedIn(user domain.UserID, online []domain.UserID, _ time.Time) {
	c.add(loggedIn{user, slices.Clone(online)})
}

func (c *conn) StatusChanged(to domain.UserID, change domain.Transition) {
	c.add(status{to, change.User, change.Online})
}

func (c *conn) Deliver(frame []byte, echoOf domain.ClientMessageID) {
	c.add(delivered{string(frame), echoOf})
}

func (c *conn) DeliverAt(frame []byte, at application.Position) {
	c.add(deliveredAt{string(frame), at})
}

func (c *conn) Replay(batch []application.Replayed) {
	for _, r := range batch {
		what := replayed{frame: string(r.Frame)}
		if r.At != nil {
			what.at = string(frameOf(*r.At))
		}
		c.add(what)
	}
}

func (c *conn) AwaitRoom(ctx context.Context, bytes int) error {
	if c.room != nil {
		return c.room(ctx, bytes)
	}
	return nil
}

func (c *conn) Close(reason application.CloseReason) { c.add(closed{reason}) }

func (c *conn) all() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// of returns what a conn was given of one kind, in order.
func of[T any](c *conn) []T {
	var of []T
	for _, what := range c.all() {
		if w, ok := what.(T); ok {
			of = append(of, w)
		}
	}
	return of
}

// counter makes ids that count.
func counter() application.IDs {
	var n atomic.Uint64
	return func() (id domain.EventID) {
		binary.BigEndian.PutUint64(id[8:], n.Add(1))
		return id
	}
}

// everybody is online, or nobody, or some.
type onlineSet map[domain.UserID]bool

func (o onlineSet) Online(user domain.UserID) bool { return o[user] }

// users is a KnownUsers.
type users struct {
	mu    sync.Mutex
	known map[domain.UserID]bool
	err   error
}

func (u *users) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func (u *users) Remember(_ context.Context, user domain.UserID) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return u.err
	}
	if u.known == nil {
		u.known = make(map[domain.UserID]bool)
	}
	u.known[user] = true
	return nil
}

func (u *users) Known(_ context.Context, user domain.UserID) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.known[user], u.err
}

// tokens takes a user's decimal id for its token.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (application.Identity, error) {
	user, err := domain.ParseUserID(token)
	if err != nil {
		return application.Identity{}, domain.WrapError(domain.CodeUnauthenticated, "bad token", err)
	}
	return application.Identity{User: user}, nil
}

// pair is a directed pair of users.
type pair struct{ blocker, target domain.UserID }

// blockStore is a BlockStore.
type blockStore struct {
	mu      sync.Mutex
	entries map[pair]application.BlockEntry
	outbox  []domain.Event
	err     error // of every call
	marking error // of MarkPublished
}

func newBlockStore() *blockStore { return &blockStore{entries: make(map[pair]application.BlockEntry)} }

func (s *blockStore) SetBlocked(_ context.Context, change application.BlockChange) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := pair{change.Blocker, change.Target}
	entry := s.entries[key]
	if s.err != nil || entry.Blocked == change.Blocked {
		return false, s.err
	}
	entry = application.BlockEntry{Target: change.Target, Blocked: change.Blocked, Version: entry.Version + 1}
	s.entries[key] = entry
	event := domain.Event{ID: domain.BlockEventID(nil, change.Blocker, change.Target, entry.Version), Time: change.At}
	event.Body = domain.BlockChanged{Blocker: change.Blocker, Target: change.Target, Blocked: change.Blocked, Version: entry.Version}
	s.outbox = append(s.outbox, event)
	return true, nil
}

func (s *blockStore) Blocks(_ context.Context, blocker domain.UserID) ([]application.BlockEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []application.BlockEntry
	for key, entry := range s.entries {
		if key.blocker == blocker {
			entry.Pending = slices.ContainsFunc(s.outbox, func(event domain.Event) bool {
				change := event.Body.(domain.BlockChanged)
				return change.Blocker == key.blocker && change.Target == key.target
			})
			entries = append(entries, entry)
		}
	}
	slices.SortFunc(entries, func(a, b application.BlockEntry) int { return int(a.Target - b.Target) })
	return entries, s.err
}

func (s *blockStore) IsBlocked(_ context.Context, blocker, target domain.UserID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[pair{blocker, target}].Blocked, s.err
}

func (s *blockStore) PendingOf(_ context.Context, blocker, target domain.UserID) ([]domain.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []domain.Event
	for _, event := range s.outbox {
		if change := event.Body.(domain.BlockChanged); change.Blocker == blocker && change.Target == target {
			events = append(events, event)
		}
	}
	return events, s.err
}

func (s *blockStore) Pending(_ context.Context, before time.Time, limit int) ([]domain.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var events []domain.Event
	for _, event := range s.outbox {
		if event.Time.Before(before) && len(events) < limit {
			events = append(events, event)
		}
	}
	return events, s.err
}

func (s *blockStore) MarkPublished(_ context.Context, ids []domain.EventID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marking != nil {
		return s.marking
	}
	s.outbox = slices.DeleteFunc(s.outbox, func(event domain.Event) bool { return slices.Contains(ids, event.ID) })
	return s.err
}

// friendStore is a FriendStore. before, where set, is called before each list is read.
type friendStore struct {
	mu     sync.Mutex
	lists  map[domain.UserID][]domain.UserID
	err    error
	before func(user domain.UserID)
}

func (s *friendStore) set(user domain.UserID, friends ...domain.UserID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lists == nil {
		s.lists = make(map[domain.UserID][]domain.UserID)
	}
	s.lists[user] = friends
}

func (s *friendStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *friendStore) Friends(_ context.Context, user domain.UserID) ([]domain.UserID, error) {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(user)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lists[user]), s.err
}

func (s *friendStore) AddFriend(_ context.Context, user, friend domain.UserID, limit int) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || slices.Contains(s.lists[user], friend) {
		return false, s.err
	}
	if len(s.lists[user]) >= limit {
		return false, domain.NewError(domain.CodeLimit, "full")
	}
	if s.lists == nil {
		s.lists = make(map[domain.UserID][]domain.UserID)
	}
	s.lists[user] = append(s.lists[user], friend)
	return true, nil
}

func (s *friendStore) RemoveFriend(_ context.Context, user, friend domain.UserID) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.lists[user], friend)
	if s.err != nil || i < 0 {
		return false, s.err
	}
	s.lists[user] = slices.Delete(slices.Clone(s.lists[user]), i, i+1)
	return true, nil
}

func words(t testing.TB, s string) domain.Text {
	t.Helper()
	text, err := domain.NewText(s)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wantCode(t *testing.T, what string, err error, want domain.Code) {
	t.Helper()
	if got := domain.CodeOf(err); got != want {
		t.Fatalf("%s: %v (code %q), want %q", what, err, got, want)
	}
}

var someTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// eventually polls until what holds, and fails after a deadline that is far beyond what it takes.
func eventually(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !what(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen in 30 s")
		}
		time.Sleep(time.Millisecond)
	}
}
