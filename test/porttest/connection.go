package porttest

import (
	"context"
	"slices"
	"sync"
	"time"

	"chatting/application/delivery"
	"chatting/application/port"
	"chatting/domain"
)

// What a Conn was given.
type (
	LoggedIn struct {
		User   domain.UserID
		Online []domain.UserID
	}
	Status struct {
		To     domain.UserID
		User   domain.UserID
		Online bool
	}
	Delivered struct {
		Frame  string
		EchoOf domain.ClientMessageID
	}
	OwnMark struct {
		Frame  string
		Unread int
	}
	DeliveredAt struct {
		Frame string
		At    domain.Place
	}
	Replayed struct {
		Frame string
		At    string // "" where nothing is confirmed with it
		// OwnMark and Unread are those of a read mark of the user's own.
		OwnMark bool
		Unread  int
	}
	Closed      struct{ Reason port.CloseReason }
	RefusedWith struct{ Code domain.Code }
	Pong        struct{ Token string }
)

// Conn is an application.Connection that remembers what it was given.
type Conn struct {
	Feature       port.Feature   // that the client named, "" for none
	Features      []port.Feature // further ones
	ClientAddress string
	// Resume is the token that a client with the feature resume named at login, nil for none.
	Resume *string

	mu      sync.Mutex
	got     []any
	expires time.Time
	// answer is what Resumed said, and tokens are those of all frames, "" where one had none.
	answer delivery.ResumeAnswer
	tokens []string
	stamp  string
	// Room, where set, is waited for by AwaitRoom.
	Room func(ctx context.Context, bytes int) error
}

func (c *Conn) add(what any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(what, "")
}

func (c *Conn) addLocked(what any, token string) {
	c.got, c.tokens = append(c.got, what), append(c.tokens, token)
}

// addStamped is add of a frame that has the stamp.
func (c *Conn) addStamped(what any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(what, c.stamp)
	c.stamp = ""
}

// Resumes implements application.Connection.
func (c *Conn) Resumes() (token string, named bool) {
	if c.Resume == nil {
		return "", false
	}
	return *c.Resume, true
}

// Resumed implements application.Connection.
func (c *Conn) Resumed(answer delivery.ResumeAnswer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// Answer returns what the answer to the login says.
func (c *Conn) Answer() delivery.ResumeAnswer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answer
}

// Stamp implements application.Connection.
func (c *Conn) Stamp(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stamp = token
}

// Pong implements application.Connection.
func (c *Conn) Pong(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(Pong{token}, token)
}

// TokenAfter returns the token of a client that has got the first n of All: the last one that it saw.
func (c *Conn) TokenAfter(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := c.answer.Token
	for _, of := range c.tokens[:n] {
		if of != "" {
			token = of
		}
	}
	return token
}

// Address implements application.Connection.
func (c *Conn) Address() string { return c.ClientAddress }

// Client implements application.Connection.
func (c *Conn) Client() port.Client {
	return port.Client{Address: c.ClientAddress, Features: c.Features}
}

// TokenExpires implements application.Connection.
func (c *Conn) TokenExpires(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expires = at
}

// Expires returns when the token expires, as the connection was told; zero for never.
func (c *Conn) Expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expires
}

// Has implements application.Connection.
func (c *Conn) Has(feature port.Feature) bool {
	return c.Feature == feature || slices.Contains(c.Features, feature)
}

func (c *Conn) LoggedIn(user domain.UserID, online []domain.UserID, _ time.Time) {
	c.add(LoggedIn{user, slices.Clone(online)})
}

func (c *Conn) StatusChanged(to domain.UserID, change domain.Transition) {
	c.add(Status{to, change.User, change.Online})
}

func (c *Conn) Deliver(frame []byte, echoOf domain.ClientMessageID) {
	c.addStamped(Delivered{string(frame), echoOf})
}

func (c *Conn) DeliverOwnMark(frame []byte, unread int) {
	c.addStamped(OwnMark{string(frame), unread})
}

func (c *Conn) Gather() {}

func (c *Conn) Flush() {}

func (c *Conn) DeliverAt(frame []byte, at domain.Place) {
	c.addStamped(DeliveredAt{string(frame), at})
}

func (c *Conn) Replay(batch []delivery.Replayed) {
	for _, r := range batch {
		what := Replayed{Frame: string(r.Frame), OwnMark: r.OwnMark, Unread: r.Unread}
		if r.At != nil {
			what.At = string(FrameOf(*r.At))
		}
		c.mu.Lock()
		c.addLocked(what, r.Resume)
		c.mu.Unlock()
	}
}

func (c *Conn) AwaitRoom(ctx context.Context, bytes int) error {
	if c.Room != nil {
		return c.Room(ctx, bytes)
	}
	return nil
}

func (c *Conn) Close(reason port.CloseReason) { c.add(Closed{reason}) }

// Refuse implements application.Connection.
func (c *Conn) Refuse(why error) { c.add(RefusedWith{domain.CodeOf(why)}) }

func (c *Conn) All() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// Of returns what a Conn was given of one kind, in order.
func Of[T any](c *Conn) []T {
	var of []T
	for _, what := range c.All() {
		if w, ok := what.(T); ok {
			of = append(of, w)
		}
	}
	return of
}
