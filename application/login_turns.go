package application

import (
	"runtime"
	"time"

	"chatting/application/async"
)

// A turn lets in loginsATurn logins for each processor, and the next one comes after loginTurn: 400 logins/s for each
// processor. Measured on two cores that broker, database and clients shared, with 1,000 messages/s: p99 of the echo was 1.7 ms
// without logins, 5.5 ms with these turns, and 40 ms without turns. Turns of 10 ms with half of the logins gave 12 ms, since
// smaller groups cost the broker more.
const (
	loginTurn   = 20 * time.Millisecond
	loginsATurn = 8
)

// NewLoginTurns returns turns in which logins go on while live tells that the node delivers chat. When another node dies, its clients
// come all at once, and live chat would wait for processors, broker and database. Logins of one turn also share their questions
// (see async.Rounds).
func NewLoginTurns(live func() bool) *async.Turns {
	return async.NewTurns(loginsATurn*runtime.GOMAXPROCS(0), loginTurn, live)
}
