package check

import "fmt"

// pair is a conversation: two users, the lower first.
type pair [2]int64

func pairOf(a, b int64) pair { return pair{min(a, b), max(a, b)} }

func (e Event) between() pair { return pairOf(e.From, e.To) }

// entry is the first record of an event.
type entry struct {
	Event

	// rank is the event's number in its conversation.
	rank int
	// hidden tells that a block keeps it from the user whom it is to, or, of a read mark, that this user must not learn of it.
	hidden bool
}

// visibleTo tells whether one of the event's two users is to see it.
func (e *entry) visibleTo(user int64) bool { return user == e.From || !e.hidden }

// log is the log as it has to be understood: of each event the first record, in its conversation.
type log struct {
	byID          map[string]*entry
	conversations map[pair][]*entry
	// versions are those of the blocks at the end. Odd ones block.
	versions map[Side]int64
	invites  map[string]*invite
	// acts are those of the platform, and keptBack are the messages that one of them keeps back: they are none of the events.
	acts     acts
	keptBack map[string]bool
	found    []Violation
}

// invite is what became of an invite.
type invite struct {
	opened *entry
	ended  *entry // nil while it is pending
	// disturbed tells that a block stood or changed between the two users before the end: then not all are told of it.
	disturbed bool
	// answerless tells that the invited cannot answer any more, for that reason.
	answerless bool
}

// readLog reads the records in their order.
func readLog(records []Event, acts acts) *log {
	l := &log{
		byID: make(map[string]*entry), conversations: make(map[pair][]*entry), versions: make(map[Side]int64),
		invites: make(map[string]*invite), acts: acts, keptBack: make(map[string]bool),
	}
	partitions := make(map[pair]int32)
	named := make(map[string]string)
	for i := range records {
		record := &records[i]
		between := record.between()
		if partition, known := partitions[between]; known && partition != record.Partition {
			l.report(RuleOrder, "the conversation %v is in the partitions %d and %d", between, partition, record.Partition)
		}
		partitions[between] = record.Partition
		if acts.keepsBack(record) {
			l.keptBack[record.ID] = true
			continue // sent again, behind the end of the act, it counts
		}
		if first := l.byID[record.ID]; first != nil {
			if !first.same(record) {
				l.report(RuleOnce, "the id %s names two events: %+v and %+v", record.ID, first.Event, *record)
			}
			continue
		}
		if record.Name != "" {
			name := nameOf(record.From, record.To, record.Type, record.Name)
			if id, known := named[name]; known {
				l.report(RuleOnce, "%q of %d to %d is in the log under the ids %s and %s", record.Name, record.From, record.To, id, record.ID)
			}
			named[name] = record.ID
		}
		l.add(record)
	}
	return l
}

func nameOf(from, to int64, kind, name string) string { return fmt.Sprint(from, to, kind, name) }

// same tells whether a later record is a repetition.
func (e *entry) same(other *Event) bool {
	return e.Type == other.Type && e.From == other.From && e.To == other.To && e.Text == other.Text && e.Name == other.Name &&
		e.Status == other.Status && e.Room == other.Room && e.Marked == other.Marked && e.Version == other.Version
}

func (l *log) add(record *Event) {
	between := record.between()
	e := &entry{Event: *record, rank: len(l.conversations[between])}
	e.hidden = l.blocks(record.To, record.From) || record.Type == ReadMark && !record.Receipt
	l.byID[record.ID] = e
	l.conversations[between] = append(l.conversations[between], e)
	switch record.Type {
	case Blocked, Unblocked:
		side := Side{record.From, record.To}
		if record.Version <= l.versions[side] {
			return // it changes nothing
		}
		l.versions[side] = record.Version
		l.disturb(between, record.From)
	case Invite:
		l.invite(e)
	}
}

// blocks tells whether a user hides what another sends, as far as the log was read.
func (l *log) blocks(user, target int64) bool { return l.versions[Side{user, target}]%2 == 1 }

// disturb notes a change of a block for the invites that are pending.
func (l *log) disturb(between pair, by int64) {
	for _, i := range l.invites {
		if i.ended == nil && i.opened.between() == between {
			i.disturbed = true
			i.answerless = i.answerless || i.opened.To == by
		}
	}
}

func (l *log) invite(e *entry) {
	if e.Status == "invite" {
		if l.invites[e.Room] != nil {
			l.report(RuleInvite, "the room %s is opened twice", e.Room)
			return
		}
		l.invites[e.Room] = &invite{opened: e, disturbed: e.hidden || l.blocks(e.From, e.To), answerless: e.hidden}
		return
	}
	i := l.invites[e.Room]
	if i == nil || i.ended != nil || i.opened.between() != e.between() {
		return // it has no effect
	}
	if byInvited := e.Status == "accept" || e.Status == "decline"; byInvited && (e.From != i.opened.To || i.answerless) {
		return
	}
	if e.Status == "cancel" && e.From != i.opened.From {
		return
	}
	i.ended = e
}

func (l *log) report(rule Rule, format string, arguments ...any) {
	l.found = append(l.found, Violation{Rule: rule, What: fmt.Sprintf(format, arguments...)})
}

// expected returns the messages of a conversation that a user is to see, in their order.
func (l *log) expected(between pair, user int64) []*entry {
	var entries []*entry
	for _, e := range l.conversations[between] {
		if e.Type == Chat && e.visibleTo(user) {
			entries = append(entries, e)
		}
	}
	return entries
}
