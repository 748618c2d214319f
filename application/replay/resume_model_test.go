package replay_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"chatting/application/blocks"
	"chatting/application/port"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/porttest"
)

// TestADeviceThatTakesUpSawWhatTheLogHas has devices log in, break off anywhere in what they were given, and take up again, while
// users chat, block and invite each other at random, the tail is anywhere, and the history is anywhere behind it. However that
// goes, a device that was told that it recovered has seen exactly what a connection saw that was there all the time.
func TestADeviceThatTakesUpSawWhatTheLogHas(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newResumeModel(t, rand.New(rand.NewPCG(seed, 140)), false, false).run(400) })
		})
	}
}

// TestADeviceThatTakesUpMissesNothingWhileBlocksAreInDoubt is the same while changes of blocks wait for the database. What waits
// behind one holds the tokens back, so a device may get some of the rest again.
func TestADeviceThatTakesUpMissesNothingWhileBlocksAreInDoubt(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newResumeModel(t, rand.New(rand.NewPCG(seed, 141)), true, false).run(400) })
		})
	}
}

// TestADeviceThatTakesUpSawWhatTheLogHasWhereMessagesAreStored is the same where messages are stored, and clients confirm some of
// what they get. A device that does not take up gets what was stored, whose order is another one, and of which some may come again.
func TestADeviceThatTakesUpSawWhatTheLogHasWhereMessagesAreStored(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newResumeModel(t, rand.New(rand.NewPCG(seed, 142)), false, true).run(400) })
		})
	}
}

// resumeModel is a stage whose devices come and go at random.
type resumeModel struct {
	*resumeStage
	random  *rand.Rand
	users   []domain.UserID
	devices []*modelDevice
	rooms   []domain.RoomID
	blocked map[porttest.Pair]bool
	gate    chan struct{} // nil: blocks are believed
	again   bool          // devices may get frames again
	// projection is what is stored; nil if nothing is.
	projection *porttest.Projection

	marks int // so many were set
	// erased are the users that the platform had forgotten, with the ends of the log by then.
	erased map[domain.UserID]map[int]int64

	recoveries, failures int
}

// modelDevice is a device with what it must have seen: everything from these offsets on.
type modelDevice struct {
	*device
	from []int64 // nil: it was never connected
	// stored is where what was stored ends: before it the device need not have seen everything.
	stored []int64
	in     bool
	// erased is what was erased when its latest login began.
	erased map[domain.UserID]map[int]int64
}

const modelPartitions = 3

// markFeatures are those of clients that see all read marks.
var markFeatures = []port.Feature{port.FeatureReadMarks, port.FeatureReceipts}

func newResumeModel(t *testing.T, random *rand.Rand, doubts, stores bool) *resumeModel {
	m := &resumeModel{
		random: random, users: []domain.UserID{201, 202, 203}, blocked: make(map[porttest.Pair]bool), again: doubts,
		erased: make(map[domain.UserID]map[int]int64),
	}
	records := []int{0, 5, 30}[random.IntN(3)]
	m.resumeStage = newResumeStage(t, modelPartitions, func(options *replay.ResumeOptions) {
		options.Bounds.Events = []int{10, 1000}[random.IntN(2)]
	}, m.users...)
	m.Read.Records = records
	m.Past.Erasures = m
	m.told.forgotten = func(frame string) bool { return m.forgets(m.erased, frame) }
	for _, c := range m.witness {
		c.Features = markFeatures
	}
	m.told.projected = make([]int64, modelPartitions)
	first := &porttest.FirstPlaces{Log: m.Log, Projected: m.projected}
	m.Past.Repeats = first.NewRepeats()
	m.Delivery.Repeats = m.Past.Repeats
	if stores {
		m.store()
		m.again = records > 0 // what is left out of a replay holds the tokens back
	}
	if doubts {
		m.gate = make(chan struct{})
		m.Delivery.Versions = m
	}
	porttest.Run(t, m.Delivery.Run)
	for _, user := range []domain.UserID{201, 201, 202, 203} {
		m.devices = append(m.devices, &modelDevice{device: m.device(user, append(slices.Clone(markFeatures), port.FeatureInvites)...)})
	}
	return m
}

// projected tells how far the history is.
func (m *resumeModel) projected(partition int) int64 {
	m.told.mu.Lock()
	defer m.told.mu.Unlock()
	return m.told.projected[partition]
}

// store has messages be stored, in a history that is projected as far as the other one.
func (m *resumeModel) store() {
	m.projection = m.stores(make(map[int]int64))
	m.projection.Forgets = func(at domain.Place) bool { return m.forgetsAt(m.erased, at) }
	m.follow()
}

func (m *resumeModel) follow() {
	if m.projection == nil {
		return
	}
	m.projection.Mu.Lock()
	defer m.projection.Mu.Unlock()
	for p, next := range m.told.projected {
		m.projection.Behind[p] = next
	}
}

// Versions implements delivery.BlockVersions, once the gate opens.
func (m *resumeModel) Versions(ctx context.Context, pair blocks.Pair) (blocks.GivenVersions, error) {
	select {
	case <-m.gate:
	case <-ctx.Done():
		return blocks.GivenVersions{}, ctx.Err()
	}
	return m.Given.Versions(ctx, pair)
}

func (m *resumeModel) run(steps int) {
	for range steps {
		switch n := m.random.IntN(20); {
		case n < 9:
			m.say()
		case n < 13:
			m.Step(m.random.IntN(modelPartitions))
		case n < 14:
			m.project()
		case n < 15 && m.gate != nil:
			m.open()
		case n < 16 && m.random.IntN(4) == 0:
			m.erase(m.users[m.random.IntN(3)])
		default:
			m.comeOrGo(m.devices[m.random.IntN(len(m.devices))])
		}
		synctest.Wait()
	}
	m.open()
	m.tailAll()
	for i, d := range m.devices {
		if d.in {
			m.leave(d, -1)
		}
		m.login(d, nil)
		synctest.Wait()
		m.leave(d, -1)
		m.check(i, d)
	}
	if m.Read.Open != 0 || m.held != 0 {
		m.T.Errorf("%d readers of the log have not closed, and %d bytes of the history are held", m.Read.Open, m.held)
	}
}

// ErasedBefore implements past.Erasures.
func (m *resumeModel) ErasedBefore(_ context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	erased := make(map[domain.UserID]map[int]int64)
	for _, user := range users {
		if before, ok := m.erased[user]; ok {
			erased[user] = before
		}
	}
	return erased, nil
}

// erase has the platform forget a user, whose devices are cut off, and come again as those of a new one.
func (m *resumeModel) erase(user domain.UserID) {
	for _, d := range m.devices {
		if d.user == user && d.in {
			m.leave(d, m.random.IntN(len(d.conn.All())+1))
		}
	}
	before := make(map[int]int64)
	for p, end := range m.Ends() {
		before[p] = end
	}
	if m.projection == nil {
		m.erased[user] = before
		return
	}
	m.projection.Mu.Lock()
	defer m.projection.Mu.Unlock()
	m.erased[user] = before
	delete(m.projection.Cursors, user)
}

// forgets tells whether a frame is of what was said before one of its users was erased.
func (m *resumeModel) forgets(erased map[domain.UserID]map[int]int64, frame string) bool {
	return m.forgetsAt(erased, porttest.PositionOf(frame))
}

// forgetsAt is forgets for what stands at a place.
func (m *resumeModel) forgetsAt(erased map[domain.UserID]map[int]int64, at domain.Place) bool {
	between := m.Log.All(at.Partition)[at.Offset].Body.Conversation()
	return at.Offset < erased[between.Low()][at.Partition] || at.Offset < erased[between.High()][at.Partition]
}

// leave ends the connection of a device that has got n of what it was given.
func (m *resumeModel) leave(d *modelDevice, n int) {
	for _, replayed := range porttest.Of[porttest.Replayed](d.conn) {
		if replayed.Frame != "" && m.forgets(d.erased, replayed.Frame) {
			m.T.Errorf("user %d gets %s by a replay, which was forgotten before it came", d.user, replayed.Frame)
		}
	}
	d.breakOff(n)
	d.in = false
}

// open answers what was asked of the database.
func (m *resumeModel) open() {
	for open := m.gate != nil; open; {
		synctest.Wait()
		select {
		case m.gate <- struct{}{}:
		default:
			open = false
		}
	}
}

// Step applies a record, after which everything before the next one was.
func (m *resumeModel) Step(partition int) {
	m.Stage.Step(partition)
	m.Delivery.Passed(partition, int64(m.Next[partition]))
}

func (m *resumeModel) tailAll() {
	for p := range modelPartitions {
		for m.Next[p] < len(m.Log.Records[p]) {
			m.Step(p)
		}
		synctest.Wait()
		m.open()
	}
}

// project moves the history on, not past the tail: what it has its witnesses have seen.
func (m *resumeModel) project() {
	if m.gate != nil {
		return // a witness may wait for the database
	}
	m.told.mu.Lock()
	defer m.told.mu.Unlock()
	p := m.random.IntN(modelPartitions)
	if n := int64(m.Next[p]) - m.told.projected[p]; n > 0 {
		m.told.projected[p] += m.random.Int64N(n) + 1
		m.follow()
	}
}

// say appends something.
func (m *resumeModel) say() {
	from, to := m.users[m.random.IntN(3)], m.users[m.random.IntN(3)]
	pair := porttest.Pair{Blocker: from, Target: to}
	at := porttest.SomeTime
	switch n := m.random.IntN(20); {
	case n < 6:
		m.Named(from, to, domain.ClientMessageID(fmt.Sprint(m.random.IntN(8))))
	case n < 12:
		m.Chat(from, to)
	case n < 13:
		m.Append(domain.Event{Body: domain.SystemMessage{To: to}})
	case from == to:
	case n < 14:
		m.marks++
		m.Mark(from, to, fmt.Sprint("mark ", m.marks), m.random.IntN(3), m.random.IntN(2) == 0)
	case n < 16:
		m.blocked[pair] = !m.blocked[pair]
		m.Append(m.Changes(from, to, m.blocked[pair]))
	case n < 18:
		m.rooms = append(m.rooms, domain.RoomID(domain.DerivedID("room", fmt.Sprint(len(m.rooms))).String()))
		m.Append(domain.Event{Time: at, Body: domain.GameInvite{From: from, To: to, Status: domain.InviteOpened, Room: m.rooms[len(m.rooms)-1]}})
	case len(m.rooms) > 0:
		status := []domain.InviteStatus{domain.InviteCancelled, domain.InviteAccepted, domain.InviteDeclined}[m.random.IntN(3)]
		m.Append(domain.Event{Time: at, Body: domain.GameInvite{From: from, To: to, Status: status, Room: m.rooms[m.random.IntN(len(m.rooms))]}})
	}
}

func (m *resumeModel) comeOrGo(d *modelDevice) {
	if !d.in {
		m.login(d, func() {
			for range m.random.IntN(4) {
				m.say()
			}
		})
		return
	}
	if m.random.IntN(3) == 0 {
		d.attachment.Pong()
	}
	n := m.random.IntN(len(d.conn.All()) + 1)
	m.confirm(d, m.random.IntN(n+1))
	m.leave(d, n)
}

// confirm has a device confirm the first n of what it was given.
func (m *resumeModel) confirm(d *modelDevice, n int) {
	var places []domain.Place
	for _, what := range d.conn.All()[:n] {
		switch w := what.(type) {
		case porttest.DeliveredAt:
			places = append(places, w.At)
		case porttest.Replayed:
			if w.At != "" {
				places = append(places, porttest.PositionOf(w.At))
			}
		}
	}
	if m.replays.Stored != nil && len(places) > 0 {
		d.replay.Received(places)
	}
}

// login has a device log in.
func (m *resumeModel) login(d *modelDevice, meanwhile func()) {
	d.erased = maps.Clone(m.erased)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.device.login(meanwhile)
	}()
	for in := false; !in; {
		synctest.Wait()
		select {
		case <-done:
			in = true
		default: // it waits for the tail, which says what became of invites
			for p := range modelPartitions {
				m.Step(p)
			}
		}
	}
	answer := d.conn.Answer()
	switch {
	case answer.Named != (d.token != nil):
		m.T.Errorf("user %d named %v, and is told %+v", d.user, d.token, answer)
	case answer.Recovered:
		m.recoveries++
	default:
		if d.token != nil {
			m.failures++
		}
		point, ok := domain.NewResumeSeal(resumeKey, d.user).Open(answer.Token, modelPartitions)
		if !ok {
			m.T.Fatalf("%q is no token", answer.Token)
		}
		d.from, d.saw, d.stored = point.Next, nil, make([]int64, modelPartitions)
		if m.replays.Stored != nil {
			d.stored = m.Ends()
		}
	}
	d.in = true
	if m.random.IntN(2) == 0 {
		m.Step(m.random.IntN(modelPartitions))
	}
	d.replay.Start()
}

// check compares what a device saw with what its user's witness saw.
func (m *resumeModel) check(number int, d *modelDevice) {
	m.T.Helper()
	witnessed := framesOf(m.witness[d.user])
	var due []string
	for _, frame := range witnessed {
		if at := porttest.PositionOf(frame); at.Offset >= d.from[at.Partition] {
			due = append(due, frame)
		}
	}
	saw := slices.DeleteFunc(slices.Clone(d.saw), func(frame string) bool {
		// What nobody hid may come again, under its id, to one who has broken off since.
		first := m.firstOf(frame)
		return first != frame && slices.Contains(witnessed, first)
	})
	got, want := m.byConversation(saw), m.byConversation(due)
	for between := range maps.Keys(m.byConversation(append(saw, due...))) {
		isStored := func(frame string) bool {
			at := porttest.PositionOf(frame)
			return at.Offset < d.stored[at.Partition]
		}
		for _, frame := range got[between] {
			if isStored(frame) && !slices.Contains(want[between], frame) {
				m.T.Errorf("device %d of user %d saw %s, which it must not see", number, d.user, frame)
			}
		}
		// What is forgotten by now may have come in time.
		mayMiss := func(frame string) bool { return isStored(frame) || m.forgets(m.erased, frame) }
		got, want := slices.DeleteFunc(got[between], mayMiss), slices.DeleteFunc(want[between], mayMiss)
		if m.again { // what was stored comes in another order
			slices.SortFunc(got, byPlace)
			slices.SortFunc(want, byPlace)
		}
		if !slices.Equal(got, want) {
			m.T.Errorf("device %d of user %d, from %v on, saw of %s\n%v\nand the log has\n%v\nafter %d recoveries",
				number, d.user, d.from, between.Key(), got, want, m.recoveries)
		}
	}
}

// byConversation returns frames by their conversations, without those that come again if that may be.
func (m *resumeModel) byConversation(frames []string) map[domain.Conversation][]string {
	of := make(map[domain.Conversation][]string)
	for _, frame := range frames {
		between := m.eventOf(frame).Body.Conversation()
		if !m.again || !slices.Contains(of[between], frame) {
			of[between] = append(of[between], frame)
		}
	}
	return of
}

func (m *resumeModel) eventOf(frame string) domain.Event {
	at := porttest.PositionOf(frame)
	return m.Log.All(at.Partition)[at.Offset]
}

// firstOf returns the frame of the first record of a frame's event.
func (m *resumeModel) firstOf(frame string) string {
	at, id := porttest.PositionOf(frame), m.eventOf(frame).ID
	at.Offset = int64(slices.IndexFunc(m.Log.All(at.Partition), func(e domain.Event) bool { return e.ID == id }))
	return string(porttest.FrameOf(at))
}

func byPlace(a, b string) int {
	return int(porttest.PositionOf(a).Offset - porttest.PositionOf(b).Offset)
}
