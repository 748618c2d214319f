package kafka

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
)

// One small batch of compressed records may hold very many that are not the server's.
func TestABatchOfStrangeRecordsWritesOneLine(t *testing.T) {
	const count = 10_000
	records := make([]record, count)
	for i := range records {
		records[i] = record{key: []byte("9:10"), value: []byte("x"), time: time.UnixMilli(0)}
	}
	batch := madeBatch{records: records}.bytes(t)
	for name, handler := range map[string]func(*application.Notices, *slog.Logger) TailHandler{
		"conversations": func(notices *application.Notices, logger *slog.Logger) TailHandler {
			delivery := application.NewDelivery(nobodyWaits{}, application.NewInvites(), notices)
			delivery.Attach(9, nil) // it gets nothing
			return &ConversationTail{Delivery: delivery, From: map[int]int64{0: 0}, Logger: logger}
		},
		"sessions": func(notices *application.Notices, _ *slog.Logger) TailHandler {
			return &SessionTail{Notices: notices}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&out, nil))
				notices := application.NewNotices(logger, time.Now)
				tail := NewTail(nil, TailOptions{Handler: handler(notices, logger), Logger: logger})
				tail.read(&fetchedPartition{batches: batch}, 0)
				if got := strings.Count(out.String(), "\n"); got != 1 {
					t.Fatalf("%d lines about %d records", got, count)
				}
				out.Reset()
				time.Sleep(time.Second)
				tail.read(&fetchedPartition{batches: batch}, 0)
				if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, " count="+strconv.Itoa(count)+" ") {
					t.Errorf("a second later: %s", got)
				}
			})
		})
	}
}
