package check

import "fmt"

// requests compares what was sent and answered with the log.
func (c *checker) requests() {
	sent := make(map[string]bool)
	inLog := make(map[string]*entry)
	for _, entries := range c.log.conversations {
		for _, e := range entries {
			if name := nameOf(e.From, e.To, e.Type, e.Name); e.Name != "" && inLog[name] == nil {
				inLog[name] = e
			}
		}
	}
	for i := range c.run.Devices {
		device := &c.run.Devices[i]
		for j := range device.Requests {
			request := &device.Requests[j]
			name := nameOf(device.User, request.Target, request.Type, request.Name)
			sent[name] = true
			c.answer(device, request, inLog[name])
		}
	}
	for _, e := range c.log.byID {
		if e.Type == Chat && !sent[nameOf(e.From, e.To, e.Type, e.Name)] {
			c.report(RuleInvented, "nobody sent %s of %d to %d, %q", e.ID, e.From, e.To, e.Name)
		}
	}
}

// tooLate answers the end of an invite that another end overtook: it is in the log, and has no effect.
const tooLate = "invite_ended"

// answer compares a request with its record, nil if it has none.
func (c *checker) answer(device *Device, request *Request, record *entry) {
	what := fmt.Sprintf("%q of %s to %d", request.Name, device.name(), request.Target)
	switch {
	case request.Answer == "":
		c.report(RuleAnswered, "%s has no answer", what)
	case request.Answer != Echoed:
		if record != nil && !request.Doubt && request.Answer != tooLate {
			c.report(RuleEcho, "%s was refused with %s and is in the log", what, request.Answer)
		}
	case record == nil && c.log.keptBack[request.ID]:
		c.report(RuleAct, "%s was echoed, and an act keeps it back", what)
	case record == nil:
		c.report(RuleEcho, "%s was echoed and is not in the log", what)
	case record.ID != request.ID:
		c.report(RuleEcho, "%s was echoed as %s and is in the log as %s", what, request.ID, record.ID)
	case record.Text != request.Text || record.Status != request.Status:
		c.report(RuleEcho, "%s is in the log as something else", what)
	}
}

func (d *Device) name() string { return fmt.Sprintf("device %d of user %d", d.Number, d.User) }

// arrival is an id on a connection.
type arrival struct {
	connection int
	id         string
}

// device compares what a device showed with the log.
func (c *checker) device(device *Device) {
	first := make(map[arrival]*Event)
	shown := make(map[string]bool)
	perConversation := make(map[pair][]string)
	for i := range device.Frames {
		frame := &device.Frames[i]
		if frame.Connection > 0 {
			at := arrival{frame.Connection, frame.ID}
			if before := first[at]; before != nil && !isLateEcho(before, frame) {
				c.report(RuleOnce, "%s got %s twice on its connection %d", device.name(), frame.ID, frame.Connection)
			}
			first[at] = frame
		}
		if shown[frame.ID] {
			continue
		}
		shown[frame.ID] = true
		e := c.log.byID[frame.ID]
		if e == nil && c.log.keptBack[frame.ID] {
			c.report(RuleAct, "%s was shown %s %q of %d, which an act keeps back", device.name(), frame.ID, frame.Name, frame.From)
			continue
		}
		if e == nil || !e.fits(frame) || e.From != device.User && e.To != device.User {
			c.report(RuleInvented, "%s got %s %s of %d to %d, which the log does not have so", device.name(), frame.Type, frame.ID,
				frame.From, frame.To)
			continue
		}
		if !e.visibleTo(device.User) {
			c.report(RuleBlock, "%s was shown the %s %s of %d, which is hidden where it stands (%d:%d)", device.name(), e.Type, e.ID,
				e.From, e.Partition, e.Offset)
			continue
		}
		if e.Type == Chat {
			perConversation[e.between()] = append(perConversation[e.between()], e.ID)
		}
	}
	for between, entries := range c.log.conversations {
		if between[0] != device.User && between[1] != device.User {
			continue
		}
		c.compare(RuleDelivered, RuleOrder, device.name(), c.log.expected(between, device.User), perConversation[between])
		if device.Gaps == 0 {
			c.marksOf(device, entries, shown)
		}
	}
	c.invitesOf(device, shown)
}

// isLateEcho tells whether a frame is the echo of a message that came from the history before, without its name.
func isLateEcho(before, frame *Event) bool {
	return before.Replayed && before.Name == "" && frame.Name != "" && !frame.Replayed
}

// fits tells whether a frame says what the record says.
func (e *entry) fits(frame *Event) bool {
	return e.Type == frame.Type && e.From == frame.From && e.To == frame.To && e.Text == frame.Text && e.Status == frame.Status &&
		e.Room == frame.Room && e.Marked == frame.Marked && (frame.Name == "" || frame.Name == e.Name)
}

// compare compares the ids that were seen of a conversation with what should have been.
func (c *checker) compare(missing, order Rule, where string, expected []*entry, seen []string) {
	last := -1
	have := make(map[string]bool, len(seen))
	for _, id := range seen {
		have[id] = true
		e := c.log.byID[id]
		if e.rank < last {
			c.report(order, "%s shows %s (%d:%d), %q, behind what stands later in the log", where, id, e.Partition, e.Offset, e.Name)
		}
		last = max(last, e.rank)
	}
	for _, e := range expected {
		if !have[e.ID] {
			c.report(missing, "%s lacks %s (%d:%d), %q of %d to %d", where, e.ID, e.Partition, e.Offset, e.Name, e.From, e.To)
		}
	}
}

// histories compares what users read in the history with the log.
func (c *checker) histories() {
	for side, entries := range c.run.History {
		where := fmt.Sprintf("the history of %d with %d", side.User, side.Partner)
		seen := make(map[string]bool, len(entries))
		var chats []string
		for i := range entries {
			e := c.log.byID[entries[i].ID]
			switch {
			case e == nil && c.log.keptBack[entries[i].ID]:
				c.report(RuleAct, "%s has %s, which an act keeps back", where, entries[i].ID)
				continue
			case e == nil || !e.fits(&entries[i]) || e.between() != pairOf(side.User, side.Partner):
				c.report(RuleInvented, "%s has %s, which the log does not have so", where, entries[i].ID)
				continue
			case seen[e.ID]:
				c.report(RuleOnce, "%s has %s twice", where, e.ID)
				continue
			case !e.visibleTo(side.User):
				c.report(RuleBlock, "%s has %s, which is hidden where it stands (%d:%d)", where, e.ID, e.Partition, e.Offset)
				continue
			}
			seen[e.ID] = true
			if e.Type == Chat {
				chats = append(chats, e.ID)
			}
		}
		between := pairOf(side.User, side.Partner)
		c.compare(RuleHistory, RuleOrder, where, c.log.expected(between, side.User), chats)
	}
}
