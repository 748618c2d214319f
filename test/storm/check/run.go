// Package check decides whether what the devices of a run saw, what they were answered and what the log holds fit
// together. It does no I/O and reads no clock, so that it can be tested on runs that are broken on purpose.
package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// The types of events.
const (
	Chat      = "chat_message"
	Invite    = "invite_game"
	ReadMark  = "read_mark"
	Blocked   = "user_blocked"
	Unblocked = "user_unblocked"
)

// Echoed is how a request that got its echo was answered. Others have the code of their error.
const Echoed = "echo"

// Event is an event between two users: a record of the log, a frame that a device got, or an entry of the history.
type Event struct {
	ID, Type string
	From, To int64
	// Text is that of a message.
	Text string
	// Name is the client_msg_id. Frames have it on connections of the sender only.
	Name string
	// Status and Room are those of an invite.
	Status, Room string
	// Marked is the message that a read mark names, and Receipt whether the other user may learn of it. Frames do not have
	// Receipt.
	Marked  string
	Receipt bool
	// Version is that of a change of a block.
	Version int64

	// Partition and Offset are the place of a record, and Written is its time.
	Partition int32
	Offset    int64
	Written   time.Time
	// Login is the version of the newest act that the sender's connection knew at its login, in a record of a message.
	Login int64

	// Connection is on which of its device's connections, from 1 on, a frame came. 0 means that the device read it from the
	// history.
	Connection int
	// Replayed is that of the frame.
	Replayed bool
}

// Request is a message or an invite that a device sent, as often as it sent it.
type Request struct {
	Type   string
	Target int64
	// Text is that of a message, Status and Room those of an invite.
	Text, Status, Room string
	Name               string
	// First is when it was sent for the first time, and Answered when its last answer came; zero without one.
	First, Answered time.Time
	// Answer is Echoed, a code, or "" without an answer.
	Answer string
	// ID is that of the echo.
	ID string
	// Doubt tells that an error does not prove that it is not in the log: it was sent on more than one connection, or was
	// unconfirmed once.
	Doubt bool
}

// Device is the history of one client.
type Device struct {
	User   int64
	Number int
	// Frames are the events that it got, in the order in which it showed them, repetitions included.
	Frames   []Event
	Requests []Request
	// Gaps is how often it could not take up by its resume token, and read the history instead: that has no read marks.
	Gaps int
	// Logins are those that succeeded, and Connected tells whether it has a connection.
	Logins    []Login
	Connected bool
}

// Login is a login that succeeded: when the device began it, and when its answer came.
type Login struct{ Began, Answered time.Time }

// Act is a record of an act of the platform, in the audit or in the log.
type Act struct {
	ID, Kind  string
	User      int64
	Version   int64
	Time      time.Time
	Partition int32
	Offset    int64
}

// ActRequest is what the platform asked to do to a user.
type ActRequest struct {
	Kind  string
	User  int64
	Asked time.Time
	// Confirmed is when the answer came that it counts, and ID what the answer says; zero if none came.
	Confirmed time.Time
	ID        string
}

// BlockChange is a request to block or to unblock.
type BlockChange struct {
	By, Target int64
	Block      bool
	Asked      time.Time
	// Confirmed is when the answer came that it is done; zero if none came.
	Confirmed time.Time
}

// Seen is what somebody is told of a user's presence when the run has ended.
type Seen struct {
	By     int64
	Where  string // which device, or which node was asked
	Of     int64
	Online bool
}

// Side is a conversation as one of its users sees it.
type Side struct{ User, Partner int64 }

// Run is everything that is known of a run. The caller gives it away.
type Run struct {
	// Log has all records of the conversations. Those of a partition are in their order.
	Log     []Event
	Devices []Device
	Blocks  []BlockChange
	// Acts are the records of acts in the conversations, those of a partition in their order, Audit those of the audit, and
	// ActRequests what the platform asked for. Partitions is how many the conversations have.
	Acts, Audit []Act
	ActRequests []ActRequest
	Partitions  int
	// BlockLists are the answers to who is blocked.
	BlockLists map[int64][]int64
	// History has what a user reads of a conversation, the oldest first.
	History map[Side][]Event
	// Pending has the rooms of the invites that a user is told are pending. It is taken after all have expired.
	Pending map[int64][]string
	// Marks are the messages that a user was told it has marked as read.
	Marks map[Side][]string
	// Online is the truth: who has a connection.
	Online map[int64]bool
	// Seen is what is told of it.
	Seen []Seen
}

// Rule is what a violation breaks.
type Rule string

// The rules.
const (
	RuleAnswered  Rule = "answered"  // every request has an answer
	RuleEcho      Rule = "echo"      // what was echoed is in the log as it was sent, and what was refused is not
	RuleOnce      Rule = "once"      // a message is in the log under one id, and reaches a connection once
	RuleInvented  Rule = "invented"  // nothing is shown or logged that nobody sent, or to whom it does not concern
	RuleDelivered Rule = "delivered" // every device of both users shows it
	RuleOrder     Rule = "order"     // in the order of the log
	RuleBlock     Rule = "block"     // except where a block hides it, by its place in the log
	RuleHistory   Rule = "history"   // the history has the same
	RuleInvite    Rule = "invite"    // an invite ends once, and all are told the same
	RulePresence  Rule = "presence"  // everybody is told the truth about who is online
	RuleMark      Rule = "mark"      // read marks come to the same on all devices
	RuleAct       Rule = "act"       // acts are in the audit and the log, and what they keep back is shown to nobody
	RuleBan       Rule = "ban"       // who is banned has no connection
)

// healing are the rules that a run may break while the servers still catch up. The others, once broken, stay broken.
var healing = map[Rule]bool{
	RuleAnswered: true, RuleDelivered: true, RuleHistory: true, RuleInvite: true, RulePresence: true, RuleMark: true,
	RuleBan: true,
}

// Violation is what is wrong.
type Violation struct {
	Rule Rule
	What string
}

// Heals tells whether more time may mend it.
func (v Violation) Heals() bool { return healing[v.Rule] }

func (v Violation) String() string { return fmt.Sprintf("%s: %s", v.Rule, v.What) }

// Violations returns what is wrong with the run, sorted; nothing if all is well.
func (r *Run) Violations() []Violation {
	c := &checker{run: r, log: readLog(r.Log, readActs(r.Acts))}
	c.found = append(c.found, c.log.found...)
	c.requests()
	for i := range r.Devices {
		c.device(&r.Devices[i])
	}
	c.confirmedBlocks()
	c.blockLists()
	c.histories()
	c.pendingInvites()
	c.marks()
	c.presence()
	c.acts()
	slices.SortFunc(c.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.What, b.What))
	})
	return c.found
}

type checker struct {
	run   *Run
	log   *log
	found []Violation
}

func (c *checker) report(rule Rule, format string, arguments ...any) {
	c.found = append(c.found, Violation{Rule: rule, What: fmt.Sprintf(format, arguments...)})
}
