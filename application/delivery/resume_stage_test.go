package delivery_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"chatting/application/delivery"
	"chatting/application/history"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// resumeStage is a stage on which clients take up where they stopped.
type resumeStage struct {
	*pastStage
	resumption *delivery.Resumption
	told       *toldMissed
	stored     *delivery.StoredMessages // nil: messages are not stored
	clock      time.Time
	// witness saw everything, of each user.
	witness map[domain.UserID]*porttest.Conn

	held     int // bytes from the history
	heldRoom int // 0 for no bound
}

// hold implements delivery.ResumeOptions.Hold.
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
func newResumeStage(t testing.TB, partitions int, change func(*delivery.ResumeOptions), users ...domain.UserID) *resumeStage {
	s := &resumeStage{
		pastStage: newPastStage(t, partitions), witness: make(map[domain.UserID]*porttest.Conn), clock: porttest.SomeTime,
	}
	s.told = &toldMissed{stage: s}
	options := delivery.ResumeOptions{
		Past: s.past, Missed: s.told, Retention: 24 * time.Hour, Readable: s.log, Partitions: partitions,
		Bounds: delivery.ResumeBounds{Events: 1000, Bytes: 1 << 20, Age: time.Hour}, Now: func() time.Time { return s.clock },
		Notices: porttest.QuietNotices(), Hold: s.hold,
		History: history.NewProgress(history.FollowedLog{Projected: s.told, Ends: s.log, Partitions: partitions}),
	}
	if change != nil {
		change(&options)
	}
	for _, user := range users {
		c := &porttest.Conn{Feature: port.FeatureInvites}
		a := s.delivery.Attach(user, c)
		a.Activate(nil, make([]int64, partitions))
		a.Release()
		s.witness[user] = c
	}
	s.resumption = delivery.NewResumption(options)
	s.resumption.SealWith(resumeKey)
	s.delivery.Resumption = s.resumption
	return s
}

// stores has messages be stored, in a history that is as far as behind says.
func (s *resumeStage) stores(behind map[int]int64) *porttest.Projection {
	projection := porttest.NewProjection(s.log)
	projection.Generation, projection.Behind = 3, behind
	s.stored = delivery.NewStoredMessages(projection, projection, projection.Followed(), porttest.Quiet)
	s.stored.Past = s.past
	if err := s.stored.Begin(s.t.Context()); err != nil {
		s.t.Fatal(err)
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
	return int64(len(h.stage.log.All(partition)))
}

func (h *toldMissed) Missed(
	_ context.Context, user domain.UserID, from, to []domain.Place, bounds history.PageBounds, hold func(entries, bytes int) bool,
) (entries []delivery.PastEntry, whole bool, err error) {
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
		event := h.stage.log.All(at.Partition)[at.Offset]
		event.ClientMessageID = ""
		entries = append(entries, delivery.PastEntry{Place: at, Event: event, Frame: []byte(frame)})
	}
	slices.SortStableFunc(entries, func(a, b delivery.PastEntry) int { return a.Place.Partition - b.Place.Partition })
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
	replay     *delivery.Replay
	token      *string  // the last one that it saw
	saw        []string // the frames, on all its connections
}

func (s *resumeStage) device(user domain.UserID, features ...port.Feature) *device {
	return &device{s: s, user: user, features: append(features, port.FeatureResume)}
}

// login begins a login and completes it up to the answer. meanwhile, if set, is called between the steps before Prepare.
func (d *device) login(meanwhile func()) {
	d.s.t.Helper()
	if meanwhile == nil {
		meanwhile = func() {}
	}
	d.conn = &porttest.Conn{Features: d.features, Resume: d.token, Room: d.room}
	d.attachment = d.s.delivery.Attach(d.user, d.conn)
	d.replay = d.s.stored.Replay(d.attachment)
	d.replay.Begin(d.s.t.Context())
	meanwhile()
	list := d.s.load(d.user)
	meanwhile()
	d.replay.KnownSince(d.since)
	if err := d.replay.Prepare(d.s.t.Context(), d.s.log, list); err != nil {
		d.s.t.Errorf("user %d does not get in: %v", d.user, err)
	}
	d.conn.LoggedIn(d.user, nil, porttest.SomeTime)
}

// connect is a whole login, after which everything that was missed was handed over.
func (d *device) connect() delivery.ResumeAnswer {
	d.s.t.Helper()
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
	d.s.t.Helper()
	var frames []string
	for _, at := range want {
		frames = append(frames, string(porttest.FrameOf(at)))
	}
	if got := framesOf(d.conn); !slices.Equal(got, frames) {
		d.s.t.Errorf("%s: got %v, want %v", what, got, frames)
	}
}
