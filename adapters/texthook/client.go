// Package texthook asks the platform's text hook about texts: an HTTP service that lets a message pass, refuses it or gives it
// another text. docs/hook.md describes the exchange.
package texthook

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/semaphore"

	"chatting/adapters/questions"
	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/application/port"
	"chatting/domain"
)

const (
	// failuresUntilPause is how many questions in a row have no answer before the hook is left alone for a while.
	failuresUntilPause = 10
	// defaultPause is for how long it is left alone.
	defaultPause = 5 * time.Second
)

// Options say where the hook is and how it is treated.
type Options struct {
	// URL is what is asked, http or https. It may have a query, and no user.
	URL string
	// Token is sent as a bearer token; "" for none.
	Token string
	// Timeout bounds one question, its wait for a turn and the reading of its answer included.
	Timeout time.Duration
	// Concurrency is how many questions are asked at the same time. Further ones wait for their turn.
	Concurrency int
	// Pause is for how long a hook that does not answer is not asked; 0 means 5 s.
	Pause time.Duration
	// Notices take the lines that say when the hook is left alone, and when it is asked again.
	Notices *notice.Log
	Now     port.Clock
}

// Client implements messaging.TextHook. It is safe for concurrent use.
type Client struct {
	url, bearer string
	asker       *questions.Asker
	now         port.Clock
	turns       *semaphore.Weighted
	circuit     *gobreaker.CircuitBreaker[verdict]
	// given are the latest answers about named messages.
	given *lru.Cache[question, string]
}

var _ messaging.TextHook = (*Client)(nil)

// New checks the options; it asks nothing yet. Errors do not hold the URL, which may hold a secret. Close must be called in the
// end.
func New(o Options) (*Client, error) {
	base, err := url.Parse(o.URL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, errors.New("the URL of the text hook must be an absolute http or https URL")
	}
	if base.User != nil || base.Fragment != "" {
		return nil, errors.New("the URL of the text hook must have no user and no fragment")
	}
	if o.Timeout <= 0 || o.Concurrency <= 0 || o.Pause < 0 {
		return nil, errors.New("the limits of the text hook must be positive")
	}
	given, err := lru.New[question, string](maxGiven)
	if err != nil {
		return nil, err
	}
	c := &Client{
		url: base.String(), asker: newAsker(o), now: o.Now,
		turns: semaphore.NewWeighted(int64(o.Concurrency)), circuit: newCircuit(o), given: given,
	}
	if o.Token != "" {
		c.bearer = "Bearer " + o.Token
	}
	return c, nil
}

func newAsker(o Options) *questions.Asker {
	asker := questions.New(o.Timeout, o.Concurrency)
	// What an answer unpacks to is not for the hook to say.
	asker.HTTP.Transport.(*http.Transport).DisableCompression = true
	return asker
}

// newCircuit returns what leaves a hook alone that does not answer. After the pause one question is asked, and its answer
// decides.
func newCircuit(o Options) *gobreaker.CircuitBreaker[verdict] {
	pause := o.Pause
	if pause == 0 {
		pause = defaultPause
	}
	return gobreaker.NewCircuitBreaker[verdict](gobreaker.Settings{
		Timeout:     pause,
		ReadyToTrip: func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= failuresUntilPause },
		// A question that was given up says nothing of the hook.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateClosed:
				o.Notices.Info("the text hook answers again")
			case from == gobreaker.StateClosed:
				o.Notices.Warn("the text hook does not answer: it is not asked for a while")
			}
		},
	})
}

// Close ends the questions under way, waits until they have ended and closes idle connections. Who asks later gets
// CodeUnavailable.
func (c *Client) Close() { c.asker.Close() }

var (
	errClosed = errors.New("the client is closed")
	errNoTurn = errors.New("too many questions are under way")
	errPaused = errors.New("it is not asked for a while")
)

// Ask implements messaging.TextHook. If all turns are taken, it waits for one: so a connection that asks much holds up itself,
// and no other one as long as turns are left. CodeUnavailable is for no turn and no answer within the timeout, for every answer
// but a good one, and while the hook is left alone.
//
// What the hook said of a named message it is not asked again, as long as the answer is among the latest: a message that
// is sent again with the same text comes out as it did.
func (c *Client) Ask(ctx context.Context, command messaging.ChatCommand) (domain.Text, error) {
	about := questionOf(command)
	if text, known := c.recall(about, command.Text); known {
		return text, nil
	}
	ctx, end, ok := c.asker.Begin(ctx)
	if !ok {
		return domain.Text{}, unavailable(errClosed)
	}
	defer end()
	if c.turns.Acquire(ctx, 1) != nil {
		return domain.Text{}, unavailable(errNoTurn)
	}
	defer c.turns.Release(1)
	said, err := c.circuit.Execute(func() (verdict, error) { return c.post(ctx, command) })
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return domain.Text{}, unavailable(errPaused)
	case err != nil:
		return domain.Text{}, unavailable(err)
	case said.refused:
		return domain.Text{}, domain.NewError(domain.CodeTextRefused, said.reason)
	case said.rewritten:
		c.remember(about, said.text.String())
		return said.text, nil
	}
	c.remember(about, passed)
	return command.Text, nil
}

// unavailable classifies the want of an answer.
func unavailable(cause error) *domain.Error {
	return domain.WrapError(domain.CodeUnavailable, "The text hook does not answer.", cause)
}
