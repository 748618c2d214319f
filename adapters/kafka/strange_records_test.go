package kafka

import (
	"bytes"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/application/delivery"
	"chatting/application/invites"
	"chatting/application/notice"
	"chatting/test/brokertest"
	"chatting/test/logtest"
)

// One small batch of compressed records may hold very many that are not the server's.
func TestABatchOfStrangeRecordsWritesOneLine(t *testing.T) {
	const count = 10_000
	records := make([]recordbatch.Record, count)
	for i := range records {
		records[i] = recordbatch.Record{Key: []byte("9:10"), Value: []byte("x"), Time: time.UnixMilli(0)}
	}
	batch := brokertest.Batch{Records: records}.Bytes()
	for name, handler := range map[string]func(*notice.Log, *slog.Logger) logclient.TailHandler{
		"conversations": func(notices *notice.Log, logger *slog.Logger) logclient.TailHandler {
			delivery := delivery.NewDelivery(nobodyWaits{}, invites.NewRegister(), notices)
			delivery.Attach(9, nil) // it gets nothing
			return &ConversationTail{Delivery: delivery, From: map[int]int64{0: 0}, Logger: logger}
		},
		"sessions": func(notices *notice.Log, _ *slog.Logger) logclient.TailHandler {
			return &SessionTail{Notices: notices}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				logger := slog.New(slog.NewTextHandler(&out, nil))
				notices := notice.NewLog(logger, time.Now)
				strange := handler(notices, logger)
				logtest.Feed(t, strange, 0, batch)
				if got := strings.Count(out.String(), "\n"); got != 1 {
					t.Fatalf("%d lines about %d records", got, count)
				}
				out.Reset()
				time.Sleep(time.Second)
				logtest.Feed(t, strange, 0, batch)
				if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, " count="+strconv.Itoa(count)+" ") {
					t.Errorf("a second later: %s", got)
				}
			})
		})
	}
}
