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
	// Silent are the nodes that count as alive and did not answer in time, by their names: the user may be connected there.
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

// answers are those to a question of this node, by the nodes. moved has room for one: it tells that there are more.
type answers struct {
	by    map[domain.Incarnation]Told
	moved chan struct{}
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
	nodes := w.alive()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	err := async.Await(ctx, "The question could not be confirmed.", func(done func(error)) { w.Log.Ask(question, user, done) })
	if err != nil {
		return Where{}, domain.WrapError(domain.CodeUnavailable, "The nodes could not be asked.", err)
	}
	for len(w.silent(nodes, got)) > 0 {
		select {
		case <-got.moved:
			continue
		case <-ctx.Done():
		}
		break
	}
	return w.where(nodes, got), nil
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

// silent returns which of the nodes have not answered. One that was buried since is none any more.
func (w *Whereabouts) silent(nodes []Node, got *answers) []Node {
	alive := w.alive()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(nodes), func(node Node) bool {
		_, told := got.by[node.Incarnation]
		return told || !slices.ContainsFunc(alive, func(other Node) bool { return other.Incarnation == node.Incarnation })
	})
}

// where returns what the nodes have told.
func (w *Whereabouts) where(nodes []Node, got *answers) (where Where) {
	where.Silent = w.silent(nodes, got)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, node := range nodes {
		if told := got.by[node.Incarnation]; len(told.Connections) > 0 {
			where.Nodes = append(where.Nodes, At{Node: node, Connections: told.Connections, More: told.More})
		}
	}
	return where
}

// Asked is told of a question in the log. Only those that come while Run runs are answered, and none that come too fast.
func (w *Whereabouts) Asked(question domain.EventID, user domain.UserID) {
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
		select {
		case got.moved <- struct{}{}:
		default:
		}
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

// alive returns the nodes that gave a beat and are not buried, by their names.
func (w *Whereabouts) alive() (nodes []Node) {
	p := w.Presence
	p.mu.RLock()
	defer p.mu.RUnlock()
	for incarnation, known := range p.nodes.known {
		if !known.beatAt.IsZero() {
			nodes = append(nodes, Node{known.name, incarnation})
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Incarnation.Compare(b.Incarnation))
	})
	return nodes
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
