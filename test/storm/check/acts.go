package check

import (
	"cmp"
	"slices"
	"time"
)

// The kinds of acts.
const (
	Mute   = "mute"
	Unmute = "unmute"
	Ban    = "ban"
	Unban  = "unban"
	End    = "end"
)

// acts are the acts on each user that stand in each partition: of each act the first record.
type acts map[actsOf][]Act

// actsOf is where acts on a user stand.
type actsOf struct {
	user      int64
	partition int32
}

// readActs reads the records in their order.
func readActs(records []Act) acts {
	read := make(acts)
	for _, act := range records {
		at := actsOf{act.User, act.Partition}
		if !slices.ContainsFunc(read[at], func(first Act) bool { return first.ID == act.ID }) {
			read[at] = append(read[at], act)
		}
	}
	return read
}

// endedFor is for how long, by the times of the records, what comes from connections that an act has ended is kept back.
const endedFor = time.Hour

// keepsBack tells whether an act that stands before a message in its partition keeps it back: its sender is muted or banned there,
// or the act has ended the connection from which it was sent.
func (a acts) keepsBack(message *Event) bool {
	if message.Type != Chat {
		return false
	}
	var standing []Act
	for _, act := range a[actsOf{message.From, message.Partition}] {
		if act.Offset >= message.Offset {
			continue
		}
		if standing = append(standing, act); (act.Kind == Ban || act.Kind == End) && act.Version > message.Login &&
			message.Written.Before(act.Time.Add(endedFor)) {
			return true
		}
	}
	return inForce(standing, Mute, Unmute) || inForce(standing, Ban, Unban)
}

// inForce tells whether the newest of acts that begin or end something begins it.
func inForce(standing []Act, begins, ends string) bool {
	var newest Act
	for _, act := range standing {
		if (act.Kind == begins || act.Kind == ends) && act.Version > newest.Version {
			newest = act
		}
	}
	return newest.Kind == begins
}

// banned tells whether a user is banned where the log ends.
func (a acts) banned(user int64) bool {
	var all []Act
	for at, standing := range a {
		if at.user == user {
			all = append(all, standing...)
		}
	}
	return inForce(all, Ban, Unban)
}

// acts looks whether what the platform did stands where it has to, and whether those who are banned are kept out.
func (c *checker) acts() {
	audit := make(map[string]Act)
	for _, act := range c.run.Audit {
		if first, known := audit[act.ID]; known && !first.same(act) {
			c.report(RuleAct, "the id %s names two acts in the audit: %+v and %+v", act.ID, first, act)
		}
		audit[act.ID] = act
	}
	stands := make(map[string]int)
	for _, list := range c.log.acts {
		for _, act := range list {
			stands[act.ID]++
			if noted, known := audit[act.ID]; !known || !noted.same(act) {
				c.report(RuleAct, "the %s of %d (%s) is in partition %d, and not so in the audit", act.Kind, act.User, act.ID, act.Partition)
			}
		}
	}
	asked := make(map[Act]bool)
	for _, request := range c.run.ActRequests {
		asked[Act{Kind: request.Kind, User: request.User}] = true
		if request.Confirmed.IsZero() {
			continue
		}
		act, known := audit[request.ID]
		if !known || act.Kind != request.Kind || act.User != request.User {
			c.report(RuleAct, "the %s of %d was confirmed as %s, and the audit has no such act", request.Kind, request.User, request.ID)
		}
		if stands[request.ID] != c.run.Partitions {
			c.report(RuleAct, "the %s of %d was confirmed, and %s is in %d of %d partitions", request.Kind, request.User, request.ID,
				stands[request.ID], c.run.Partitions)
		}
	}
	for _, act := range audit {
		if !asked[Act{Kind: act.Kind, User: act.User}] {
			c.report(RuleAct, "nobody asked for the %s of %d (%s)", act.Kind, act.User, act.ID)
		}
	}
	c.kept()
	c.keptOut()
}

// same tells whether two records are of one act.
func (a Act) same(other Act) bool {
	return a.ID == other.ID && a.Kind == other.Kind && a.User == other.User && a.Version == other.Version && a.Time.Equal(other.Time)
}

// kept looks at mutes and bans by the clock instead of by the log: nothing that was sent after one was confirmed, and answered before
// anybody asked to end it, is shown. It finds an act that came to the log and does not count.
func (c *checker) kept() {
	shown := make(map[string]bool)
	for i := range c.run.Devices {
		for _, frame := range c.run.Devices[i].Frames {
			shown[frame.ID] = true
		}
	}
	for i := range c.run.Devices {
		device := &c.run.Devices[i]
		for _, request := range device.Requests {
			if request.Type == Chat && request.ID != "" && shown[request.ID] && c.held(device.User, request.First, request.Answered, Mute, Ban) {
				c.report(RuleAct, "%q of %d was shown, sent while the platform was told that it is kept back", request.Name, device.User)
			}
		}
	}
}

// keptOut looks whether banned users could log in, or are still connected.
func (c *checker) keptOut() {
	for i := range c.run.Devices {
		device := &c.run.Devices[i]
		for _, login := range device.Logins {
			if c.held(device.User, login.Began, login.Answered, Ban) {
				c.report(RuleAct, "%s logged in after the platform was told that its user is banned", device.name())
			}
		}
		if device.Connected && c.log.acts.banned(device.User) {
			c.report(RuleBan, "%s is connected, and its user is banned", device.name())
		}
	}
}

// held tells whether an act of one of these kinds was confirmed before something began, and nobody had asked to end it when that was
// done.
func (c *checker) held(user int64, began, done time.Time, kinds ...string) bool {
	requests := slices.Clone(c.run.ActRequests)
	slices.SortStableFunc(requests, func(a, b ActRequest) int { return cmp.Compare(a.Asked.UnixNano(), b.Asked.UnixNano()) })
	ends := map[string]string{Mute: Unmute, Ban: Unban}
	for _, request := range requests {
		if request.User != user || !slices.Contains(kinds, request.Kind) || request.Confirmed.IsZero() || !began.After(request.Confirmed) {
			continue
		}
		ended := slices.ContainsFunc(requests, func(end ActRequest) bool {
			since := request.Asked
			if end.Confirmed.IsZero() {
				since = since.Add(-late)
			}
			return end.User == user && end.Kind == ends[request.Kind] && end.Asked.After(since) && end.Asked.Before(done)
		})
		if !ended {
			return true
		}
	}
	return false
}
