package replay_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/application/port"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

// resumeStage is a stage on which clients take up where they stopped.
type resumeStage struct {
	*porttest.PastStage
	replays replay.Replays
	told    *toldMissed
	clock   time.Time
	// witness saw everything, of each user.
	witness map[domain.UserID]*porttest.Conn

	held     int // bytes from the history
	heldRoom int // 0 for no bound
}

// hold implements replay.ResumeOptions.Hold.
func (s *resumeStage) hold(_ domain.UserID, bytes int, _ func()) (release func(), ok bool) {
	if s.heldRoom > 0 && s.held+bytes > s.heldRoom {
		return nil, false
	}
	s.held += bytes
	return sync.OnceFunc(func() { s.held -= bytes }), true
}

// resumeKey is that of the log of every stage.
var resumeKey = domain.ResumeKey{1, 2, 3}

// newResumeStage has a witness for each of users. change may change what the resumption is made of.
func newResumeStage(t testing.TB, partitions int, change func(*replay.ResumeOptions), users ...domain.UserID) *resumeStage {
	s := &resumeStage{
		PastStage: porttest.NewPastStage(t, partitions), witness: make(map[domain.UserID]*porttest.Conn), clock: porttest.SomeTime,
		replays: replay.Replays{Notices: porttest.QuietNotices()},
	}
	s.told = &toldMissed{stage: s}
	s.Delivery.Tokens = delivery.NewResumeTokens(partitions, func() time.Time { return s.clock })
	s.Delivery.Tokens.SealWith(resumeKey)
	options := replay.ResumeOptions{
		Tokens: s.Delivery.Tokens, Past: s.Past, Missed: s.told, Retention: 24 * time.Hour, Readable: s.Log,
		Bounds: replay.ResumeBounds{Events: 1000, Bytes: 1 << 20, Age: time.Hour}, Now: func() time.Time { return s.clock },
		Notices: porttest.QuietNotices(), Hold: s.hold,
		History: history.NewProgress(history.FollowedLog{Projected: s.told, Ends: s.Log, Partitions: partitions}),
	}
	if change != nil {
		change(&options)
	}
	for _, user := range users {
		c := &porttest.Conn{Feature: port.FeatureInvites}
		a := s.Delivery.Attach(user, c)
		a.Activate(nil, make([]int64, partitions))
		a.Release()
		s.witness[user] = c
	}
	s.replays.Resumption = replay.NewResumption(options)
	return s
}

// stores has messages be stored, in a history that is as far as behind says.
func (s *resumeStage) stores(behind map[int]int64) *porttest.Projection {
	projection := porttest.NewProjection(s.Log)
	projection.Generation, projection.Behind = 3, behind
	s.replays.Stored = replay.NewStoredMessages(projection, projection, projection.Followed(), porttest.Quiet)
	s.replays.Stored.Past = s.Past
	if err := s.replays.Stored.Begin(s.T.Context()); err != nil {
		s.T.Fatal(err)
	}
	return projection
}

// toldMissed is the history of a stage: what its witnesses saw, as far as it is projected.
type toldMissed struct {
	stage *resumeStage

	mu        sync.Mutex
	projected []int64 // nil: everything
	err       error   // of Missed
	notKnown  error   // of Projected
	asked     int
	forgotten func(frame string) bool // nil: nothing is
}

func (h *toldMissed) Projected(_ context.Context, partitions int) ([]domain.Place, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	places := make([]domain.Place, partitions)
	for p := range places {
		places[p] = domain.Place{Generation: 3, Partition: p, Offset: h.next(p)}
	}
	return places, h.notKnown
}

func (h *toldMissed) next(partition int) int64 {
	if h.projected != nil {
		return h.projected[partition]
	}
	return int64(len(h.stage.Log.All(partition)))
}

func (h *toldMissed) Missed(
	_ context.Context, user domain.UserID, from, to []domain.Place, bounds history.PageBounds, hold func(entries, bytes int) bool,
) (entries []past.Entry, whole bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	for _, frame := range framesOf(h.stage.witness[user]) {
		at := porttest.PositionOf(frame)
		if at.Offset < from[at.Partition].Offset || at.Offset >= to[at.Partition].Offset {
			continue
		}
		if from[at.Partition].Generation != 3 || to[at.Partition].Generation != 3 || at.Offset >= h.next(at.Partition) {
			return nil, false, errors.New("the history does not have that")
		}
		if h.forgotten != nil && h.forgotten(frame) {
			continue
		}
		event := h.stage.Log.All(at.Partition)[at.Offset]
		event.ClientMessageID = ""
		entries = append(entries, past.Entry{Place: at, Event: event, Frame: []byte(frame)})
	}
	slices.SortStableFunc(entries, func(a, b past.Entry) int { return a.Place.Partition - b.Place.Partition })
	bytes := 0
	for _, e := range entries {
		bytes += len(e.Frame)
	}
	return entries, len(entries) <= bounds.Entries && hold(len(entries), bytes), h.err
}

// framesOf returns the frames of events that a connection was given, in order.
func framesOf(c *porttest.Conn) []string { return framesIn(c.All()) }

func framesIn(given []any) (frames []string) {
	for _, what := range given {
		switch w := what.(type) {
		case porttest.Delivered:
			frames = append(frames, w.Frame)
		case porttest.OwnMark:
			frames = append(frames, w.Frame)
		case porttest.DeliveredAt:
			frames = append(frames, w.Frame)
		case porttest.Replayed:
			if w.Frame != "" {
				frames = append(frames, w.Frame)
			}
		}
	}
	return frames
}

// device is a client of a user, which logs in again and again.
type device struct {
	s        *resumeStage
	user     domain.UserID
	features []port.Feature
	since    time.Time                        // when its user was first seen
	room     func(context.Context, int) error // what its connections wait for; nil for nothing

	conn       *porttest.Conn
	attachment *delivery.Attachment
	replay     *replay.Replay
	token      *string  // the last one that it saw
	saw        []string // the frames, on all its connections
}

func (s *resumeStage) device(user domain.UserID, features ...port.Feature) *device {
	return &device{s: s, user: user, features: append(features, port.FeatureResume)}
}

// login begins a login and completes it up to the answer. meanwhile, if set, is called between the steps before Prepare.
func (d *device) login(meanwhile func()) {
	d.s.T.Helper()
	if meanwhile == nil {
		meanwhile = func() {}
	}
	d.conn = &porttest.Conn{Features: d.features, Resume: d.token, Room: d.room}
	d.attachment = d.s.Delivery.Attach(d.user, d.conn)
	d.replay = d.s.replays.Of(d.attachment)
	d.replay.Begin(d.s.T.Context())
	meanwhile()
	list := d.s.Load(d.user)
	meanwhile()
	d.replay.KnownSince(d.since)
	if err := d.replay.Prepare(d.s.T.Context(), d.s.Log, list); err != nil {
		d.s.T.Errorf("user %d does not get in: %v", d.user, err)
	}
	d.conn.LoggedIn(d.user, nil, porttest.SomeTime)
}

// connect is a whole login, after which everything that was missed was handed over.
func (d *device) connect() delivery.ResumeAnswer {
	d.s.T.Helper()
	d.login(nil)
	d.replay.Start()
	return d.conn.Answer()
}

// breakOff ends the connection of a client that has got n of what the connection was given; -1 for all.
func (d *device) breakOff(n int) {
	given := d.conn.All()
	if n < 0 {
		n = len(given)
	}
	d.saw = append(d.saw, framesIn(given[:n])...)
	token := d.conn.TokenAfter(n)
	d.token = &token
	d.replay.Close()
	d.attachment.Detach()
}

// want expects exactly the records at these places since the device's last break.
func (d *device) want(what string, want ...domain.Place) {
	d.s.T.Helper()
	var frames []string
	for _, at := range want {
		frames = append(frames, string(porttest.FrameOf(at)))
	}
	if got := framesOf(d.conn); !slices.Equal(got, frames) {
		d.s.T.Errorf("%s: got %v, want %v", what, got, frames)
	}
}
