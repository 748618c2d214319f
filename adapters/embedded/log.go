package embedded

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// kfakeLog passes kfake's log on and watches it for failed writes, which kfake reports nowhere else. After one, kfake
// must not serve on: it has taken the batch's sequence number before it wrote the batch, so the same batch sent again
// would be acknowledged without being in the log. kfake logs before it answers, in the goroutine that answers.
type kfakeLog struct {
	logger *slog.Logger
	// onFailure is called once, at the first failed write.
	onFailure func(error)

	mu    sync.Mutex
	first error
}

// Logf implements kfake.Logger.
func (l *kfakeLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError, kfake.LogLevelWarn:
	case kfake.LogLevelNone, kfake.LogLevelInfo, kfake.LogLevelDebug:
		return // of interest to who debugs a client: groups that rebalance, requests that cannot be read
	}
	if !strings.HasPrefix(format, "persist ") {
		l.logger.Warn("embedded Kafka broker", "message", fmt.Sprintf(format, args...))
		return
	}
	l.fail(fmt.Errorf("the embedded Kafka broker cannot write: "+format, args...))
}

// fail notes a failed write.
func (l *kfakeLog) fail(err error) {
	l.mu.Lock()
	isFirst := l.first == nil
	if isFirst {
		l.first = err
	}
	l.mu.Unlock()
	if isFirst {
		l.onFailure(err)
	}
}

// note takes a failed write at the end over, which nobody else need be told of; nil is none.
func (l *kfakeLog) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil && err != nil {
		l.first = fmt.Errorf("the embedded Kafka broker cannot write: %w", err)
	}
}

// err returns the first failed write, nil while there was none.
func (l *kfakeLog) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
