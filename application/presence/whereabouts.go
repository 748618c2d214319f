package presence

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chatting/application/async"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

// Questions is the log of the questions where users are connected, and of the answers of the nodes.
type Questions interface {
	// Ask appends a question to all nodes; done as port.ConversationLog.Append says.
	Ask(question domain.EventID, user domain.UserID, done func(error))
	// Tell appends the answer of a node. Nobody but nodes of this installation can read it.
	Tell(question domain.EventID, told Told, done func(error))
}

// Told is the answer of a node.
type Told struct {
	Incarnation domain.Incarnation
	Connections []Connected
	// More tells that the user has further connections there.
	More bool
}

// Connected is a connection of a user.
type Connected struct {
	port.Client

	// Since is when its login was answered.
	Since time.Time
}

// Where is where a user is connected.
type Where struct {
	// Nodes are those with connections of the user, by their names.
	Nodes []At
	// Silent are the nodes that counted as alive at the place of the question, and still do, and did not answer in time, by their names:
	// the user may be connected there.
	Silent []Node
}

// At is a node, with the connections of a user there, the oldest first.
type At struct {
	Node

	Connections []Connected
	More        bool
}

// Node is a node by its name, "" if that is not known, and by its incarnation.
type Node struct {
	Name        string
	Incarnation domain.Incarnation
}

const (
	// answerWithin is how long the nodes have to answer: several times what an append and its reading take.
	answerWithin = 2 * time.Second
	// maxTold bounds the connections of an answer.
	maxTold = 100
	// maxQuestions bounds the questions under way of this node, and likewise those of others that wait for its answer.
	maxQuestions = 64
)

// Whereabouts finds out on which nodes a user is connected. Only the node that has a connection knows of it. So the question goes to
// all nodes by the log, and each of them answers, also if it has none. Addresses are personal data: the log has them sealed.
type Whereabouts struct {
	Presence *SetPresence
	Log      Questions
	NewID    port.IDs
	Notices  *notice.Log

	asked     chan asked
	answering atomic.Bool

	mu      sync.Mutex
	waiting map[domain.EventID]*answers
}

// asked is a question that waits for this node's answer.
type asked struct {
	question domain.EventID
	user     domain.UserID
}

// answers are those to a question of this node, by the nodes. moved has room for one: it tells that there is more.
type answers struct {
	by map[domain.Incarnation]Told
	// asked are the nodes that were alive when this node read the question; nil before that. Who gave its first beat behind it did not
	// have to read it.
	asked []Node
	moved chan struct{}
}

// signal tells that there is more. It is called under the lock of Whereabouts.
func (a *answers) signal() {
	select {
	case a.moved <- struct{}{}:
	default:
	}
}

// NewWhereabouts returns Whereabouts without questions. Run has to run, or this node answers nothing.
func NewWhereabouts(presence *SetPresence, log Questions, newID port.IDs, notices *notice.Log) *Whereabouts {
	return &Whereabouts{
		Presence: presence, Log: log, NewID: newID, Notices: notices,
		asked: make(chan asked, maxQuestions), waiting: make(map[domain.EventID]*answers),
	}
}

// Execute asks all nodes where a user is connected. It waits until each that counts as alive has answered, for two seconds at most.
// Errors: CodeUnavailable, also if too many ask.
func (w *Whereabouts) Execute(ctx context.Context, user domain.UserID) (Where, error) {
	question := w.NewID()
	got := w.begin(question)
	if got == nil {
		return Where{}, domain.NewError(domain.CodeUnavailable, "Too many questions for connections are under way.")
	}
	defer w.end(question)
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := async.Await(ctx, "The question could not be confirmed.", func(done func(error)) { w.Log.Ask(question, user, done) })
	if err != nil {
		return Where{}, domain.WrapError(domain.CodeUnavailable, "The nodes could not be asked.", err)
	}
	for !w.complete(got) {
		select {
		case <-got.moved:
			continue
		case <-ctx.Done():
		}
		break
	}
	return w.where(got), nil
}

func (w *Whereabouts) begin(question domain.EventID) *answers {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) >= maxQuestions {
		return nil
	}
	got := &answers{by: make(map[domain.Incarnation]Told), moved: make(chan struct{}, 1)}
	w.waiting[question] = got
	return got
}

func (w *Whereabouts) end(question domain.EventID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiting, question)
}

// complete tells whether this node has read the question, and all have answered.
func (w *Whereabouts) complete(got *answers) bool {
	alive := w.alive()
	w.mu.Lock()
	defer w.mu.Unlock()
	return got.asked != nil && len(got.silent(alive)) == 0
}

// silent returns which nodes have not answered. One that was buried since the question is none any more. Until the question was read,
// all that are alive were asked.
func (a *answers) silent(alive []Node) []Node {
	asked := a.asked
	if asked == nil {
		asked = alive
	}
	return slices.DeleteFunc(slices.Clone(asked), func(node Node) bool {
		_, told := a.by[node.Incarnation]
		return told || !slices.ContainsFunc(alive, func(other Node) bool { return other.Incarnation == node.Incarnation })
	})
}

// where returns what the nodes have told, also those that nobody waited for.
func (w *Whereabouts) where(got *answers) (where Where) {
	alive := w.alive()
	w.mu.Lock()
	defer w.mu.Unlock()
	where.Silent = got.silent(alive)
	names := make(map[domain.Incarnation]string)
	for _, node := range slices.Concat(got.asked, alive) {
		names[node.Incarnation] = node.Name
	}
	for incarnation, told := range got.by {
		if len(told.Connections) > 0 {
			at := At{Node: Node{names[incarnation], incarnation}, Connections: told.Connections, More: told.More}
			where.Nodes = append(where.Nodes, at)
		}
	}
	slices.SortFunc(where.Nodes, func(a, b At) int { return a.compare(b.Node) })
	return where
}

// begun notes which nodes were alive at the place of a question of this node.
func (w *Whereabouts) begun(question domain.EventID) {
	w.mu.Lock()
	got := w.waiting[question]
	w.mu.Unlock()
	if got == nil {
		return
	}
	alive := w.alive()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got.asked == nil {
		got.asked = alive
		got.signal()
	}
}

// Asked is told of a question in the log. Only those that come while Run runs are answered, and none that come too fast.
func (w *Whereabouts) Asked(question domain.EventID, user domain.UserID) {
	w.begun(question)
	if !w.answering.Load() {
		return
	}
	select {
	case w.asked <- asked{question, user}:
	default:
		w.Notices.Warn("a question for connections is not answered: too many at once", slog.Any("user", user))
	}
}

// Told is told of an answer in the log. open reads it; false if a node of this installation did not write it.
func (w *Whereabouts) Told(question domain.EventID, open func() (Told, bool)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.waiting[question]
	if got == nil {
		return
	}
	if told, ok := open(); ok {
		got.by[told.Incarnation] = told
		got.signal()
	}
}

// Run answers questions until ctx ends.
func (w *Whereabouts) Run(ctx context.Context) {
	w.answering.Store(true)
	defer w.answering.Store(false)
	for {
		select {
		case <-ctx.Done():
			return
		case asked := <-w.asked:
			w.Log.Tell(asked.question, w.connectionsOf(asked.user), func(err error) {
				if err != nil {
					w.Notices.Warn("a question for connections could not be answered", slog.Any("error", err))
				}
			})
		}
	}
}

// alive returns this node and those that gave a beat and are not buried, by their names. A node that rises has no beat at first.
func (w *Whereabouts) alive() (nodes []Node) {
	p := w.Presence
	p.mu.RLock()
	defer p.mu.RUnlock()
	for incarnation, known := range p.nodes.known {
		if !known.beatAt.IsZero() && incarnation != p.nodes.self {
			nodes = append(nodes, Node{known.name, incarnation})
		}
	}
	nodes = append(nodes, Node{p.Name, p.nodes.self})
	slices.SortFunc(nodes, Node.compare)
	return nodes
}

// compare orders nodes by their names.
func (n Node) compare(other Node) int {
	return cmp.Or(cmp.Compare(n.Name, other.Name), n.Incarnation.Compare(other.Incarnation))
}

// connectionsOf returns the connections that a user has to this node.
func (w *Whereabouts) connectionsOf(user domain.UserID) Told {
	p := w.Presence
	p.mu.RLock()
	defer p.mu.RUnlock()
	told := Told{Incarnation: p.nodes.self}
	m := p.sessions.members[user]
	if m == nil {
		return told
	}
	for _, membership := range m.memberships {
		switch {
		case !membership.live:
		case len(told.Connections) == maxTold:
			told.More = true
		default:
			told.Connections = append(told.Connections, Connected{membership.conn.Client(), membership.since})
		}
	}
	return told
}
