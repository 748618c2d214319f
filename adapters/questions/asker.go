// Package questions asks other HTTP servers. A question is bounded in time, and the end of its asker ends it and waits for it. What
// is asked, how many questions may be under way, and how much of an answer is read, is for those who use the package to say.
package questions

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// MaxHeaderBytes bounds the header of an answer.
const MaxHeaderBytes = 64 << 10

// Asker asks one server. It is safe for concurrent use.
type Asker struct {
	// HTTP follows no redirect: that could carry a token to another host. It uses every connection again.
	HTTP *http.Client
	// Timeout is for how long a question may take.
	Timeout time.Duration

	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// New returns an asker that keeps so many connections to be used again. Close must be called in the end.
func New(timeout time.Duration, connections int) *Asker {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = connections
	transport.MaxResponseHeaderBytes = MaxHeaderBytes
	a := &Asker{Timeout: timeout, HTTP: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Context ends with Close. Questions that belong to no single caller run under it.
func (a *Asker) Context() context.Context { return a.ctx }

// Begin begins a question that Close ends and waits for. Its context ends with ctx, and after the timeout. The caller calls
// end. After Close Begin returns false.
func (a *Asker) Begin(ctx context.Context) (question context.Context, end func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, false
	}
	a.running.Add(1)
	question, cancel := context.WithTimeout(ctx, a.Timeout)
	stop := context.AfterFunc(a.ctx, cancel)
	return question, func() {
		stop()
		cancel()
		a.running.Done()
	}, true
}

// Close ends the questions under way, waits until they have ended and closes idle connections.
func (a *Asker) Close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.cancel()
	a.running.Wait()
	a.HTTP.CloseIdleConnections()
}
