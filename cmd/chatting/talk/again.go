package talk

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fasthttp/websocket"
)

// waits says how long a client waits before it connects again: a random time up to most, which is base, doubled by each failure in a
// row.
type waits struct{ least, base, most time.Duration }

// The waits of docs/clients.md, by how the connection ended.
var (
	afterLoss     = waits{0, 500 * time.Millisecond, 30 * time.Second}
	afterRestart  = waits{0, 3 * time.Second, 30 * time.Second}
	afterOverload = waits{0, 2 * time.Second, 60 * time.Second}
	afterMistake  = waits{15 * time.Second, 30 * time.Second, 30 * time.Second}
)

// alive is how long a connection must have lived for its end to be the first failure.
const alive = 5 * time.Second

// again decides whether and when a client connects again. It counts 1012 and 1013 apart from other failures.
type again struct {
	failures map[int]int // by close code; others together under 0
	random   func() float64
}

func newAgain() *again {
	return &again{failures: map[int]int{}, random: rand.Float64}
}

// lived notes that a connection was good for so long.
func (a *again) lived(since time.Duration) {
	if since >= alive {
		clear(a.failures)
	}
}

// after returns how long to wait after a connection that ended with err. never tells that it is not to be opened again.
func (a *again) after(err error) (wait time.Duration, never bool) {
	code, reason := closeOf(err)
	of, counted := afterLoss, 0
	switch code {
	case websocket.CloseNormalClosure, closeReplaced:
		return 0, true
	case websocket.CloseServiceRestart:
		of, counted = afterRestart, code
	case websocket.CloseTryAgainLater:
		of, counted = afterOverload, code
	case websocket.CloseProtocolError, websocket.CloseUnsupportedData, websocket.CloseInvalidFramePayloadData, websocket.ClosePolicyViolation:
		of = afterMistake
	case closeUnauthenticated:
		if reason == "user_erased" {
			return 0, true
		}
		counted = code
		if a.failures[code] == 0 { // a new token is tried at once
			a.failures[code]++
			return 0, false
		}
	}
	limit := of.most
	if doubled := of.base << min(a.failures[counted], 30); doubled < limit {
		limit = doubled
	}
	a.failures[counted]++
	return of.least + time.Duration(a.random()*float64(limit-of.least)), false
}

// closeOf returns the close code and the reason of a connection's end; 0 if there is none.
func closeOf(err error) (code int, reason string) {
	var closeError *websocket.CloseError
	if errors.As(err, &closeError) {
		return closeError.Code, closeError.Text
	}
	return 0, ""
}
