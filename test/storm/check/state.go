package check

import (
	"fmt"
	"slices"
	"time"
)

// confirmedBlocks looks at blocks by the clock instead of by the log: nothing that was sent after a block was confirmed, and
// answered before anybody asked to end it, is shown to the blocker. It finds a block that never came to the log.
func (c *checker) confirmedBlocks() {
	shown := make(map[int64]map[string]bool)
	for i := range c.run.Devices {
		device := &c.run.Devices[i]
		if shown[device.User] == nil {
			shown[device.User] = make(map[string]bool)
		}
		for j := range device.Frames {
			shown[device.User][device.Frames[j].ID] = true
		}
	}
	for _, block := range c.run.Blocks {
		if !block.Block || block.Confirmed.IsZero() {
			continue
		}
		for i := range c.run.Devices {
			device := &c.run.Devices[i]
			if device.User != block.Target {
				continue
			}
			for _, request := range device.Requests {
				during := request.Target == block.By && request.Answer == Echoed && request.First.After(block.Confirmed) &&
					c.heldUntil(block, request)
				if during && shown[block.By][request.ID] {
					c.report(RuleBlock, "user %d was shown %q of %d, sent after it was told that it blocks", block.By, request.Name, block.Target)
				}
			}
		}
	}
}

// late is for how long a request without an answer may still be carried out: its node may have been stopped meanwhile.
const late = 2 * time.Minute

// heldUntil tells whether nobody asked to end a block before a request was answered.
func (c *checker) heldUntil(block BlockChange, request Request) bool {
	for _, change := range c.run.Blocks {
		if change.By != block.By || change.Target != block.Target || change.Block {
			continue
		}
		since := block.Asked
		if change.Confirmed.IsZero() {
			since = since.Add(-late)
		}
		if change.Asked.After(since) && change.Asked.Before(request.Answered) {
			return false
		}
	}
	return true
}

// blockLists compares what users are told of their blocks with the log.
func (c *checker) blockLists() {
	for user, list := range c.run.BlockLists {
		for side := range c.log.versions {
			if side.User == user && c.log.blocks(user, side.Partner) && !slices.Contains(list, side.Partner) {
				c.report(RuleBlock, "user %d blocks %d by the log, and not by its list", user, side.Partner)
			}
		}
		for _, target := range list {
			if !c.log.blocks(user, target) {
				c.report(RuleBlock, "user %d blocks %d by its list, and not by the log", user, target)
			}
		}
	}
}

// invitesOf compares what a device was told of invites with what became of them.
func (c *checker) invitesOf(device *Device, shown map[string]bool) {
	for room, i := range c.log.invites {
		if i.opened.From != device.User && i.opened.To != device.User {
			continue
		}
		if i.disturbed || device.Gaps > 0 {
			continue
		}
		if !shown[i.opened.ID] {
			c.report(RuleInvite, "%s was not told of the invite %s", device.name(), room)
		}
		if i.ended != nil && !shown[i.ended.ID] {
			c.report(RuleInvite, "%s was not told that the invite %s has ended (%s)", device.name(), room, i.ended.Status)
		}
	}
	for id := range shown {
		e := c.log.byID[id]
		if e == nil || e.Type != Invite || e.Status == "invite" || e.Room == "" {
			continue
		}
		if i := c.log.invites[e.Room]; i == nil || i.ended != e {
			c.report(RuleInvented, "%s was shown a %s of the invite %s, which did not end so", device.name(), e.Status, e.Room)
		}
	}
}

// pendingInvites looks whether every invite has ended, and everybody is told so.
func (c *checker) pendingInvites() {
	for room, i := range c.log.invites {
		if i.ended == nil {
			c.report(RuleInvite, "the invite %s of %d to %d has no end", room, i.opened.From, i.opened.To)
		}
	}
	for user, rooms := range c.run.Pending {
		if len(rooms) > 0 {
			c.report(RuleInvite, "user %d is told that invites are pending: %v", user, rooms)
		}
	}
}

// marksOf looks whether a device was told of every read mark that its user is to see.
func (c *checker) marksOf(device *Device, entries []*entry, shown map[string]bool) {
	for _, e := range entries {
		if e.Type == ReadMark && e.visibleTo(device.User) && !shown[e.ID] {
			c.report(RuleMark, "%s was not told that %d has read up to %s (%d:%d)", device.name(), e.From, e.Marked, e.Partition, e.Offset)
		}
	}
}

// marks looks whether the marks that were confirmed are in the log.
func (c *checker) marks() {
	for side, marked := range c.run.Marks {
		furthest := -1
		for _, e := range c.log.conversations[pairOf(side.User, side.Partner)] {
			if e.Type != ReadMark || e.From != side.User {
				continue
			}
			if at := c.log.byID[e.Marked]; at != nil {
				furthest = max(furthest, at.rank)
			}
		}
		for _, id := range marked {
			if at := c.log.byID[id]; at == nil || at.rank > furthest {
				c.report(RuleMark, "user %d has marked %s of %d as read, and the log has no such mark", side.User, id, side.Partner)
			}
		}
	}
}

// presence compares what is told of users with the truth. Who is blocked is told that the blocker is offline.
func (c *checker) presence() {
	for _, seen := range c.run.Seen {
		online := c.run.Online[seen.Of] && !c.log.blocks(seen.Of, seen.By)
		if seen.Online != online {
			c.report(RulePresence, "user %d is told by %s that %d is %s", seen.By, seen.Where, seen.Of, word(seen.Online))
		}
	}
}

func word(online bool) string {
	return map[bool]string{true: "online", false: "offline"}[online]
}

// Summary counts what a run has.
func (r *Run) Summary() string {
	frames, requests, echoed, gaps := 0, 0, 0, 0
	for i := range r.Devices {
		frames += len(r.Devices[i].Frames)
		requests += len(r.Devices[i].Requests)
		gaps += r.Devices[i].Gaps
		for _, request := range r.Devices[i].Requests {
			if request.Answer == Echoed {
				echoed++
			}
		}
	}
	return fmt.Sprintf("%d requests, %d echoed, %d records, %d frames at %d devices, %d gaps read from the history",
		requests, echoed, len(r.Log), frames, len(r.Devices), gaps)
}
