package logclient

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

func TestTheTimeOfAnOffsetIsThatOfItsRecord(t *testing.T) {
	cluster, topic, _ := claimedLog(t)
	for _, offset := range []int64{5, 7, 9} {
		at, err := TimeOf(brokertest.Context(t), cluster, topic, 0, offset)
		if want := brokertest.HoursApart.Add(time.Duration(offset) * time.Hour); err != nil || !at.Equal(want) {
			t.Errorf("record %d is of %s, %v; want %s", offset, at, err, want)
		}
	}
	for _, offset := range []int64{10, math.MaxInt64} {
		before := time.Now()
		if at, err := TimeOf(brokertest.Context(t), cluster, topic, 0, offset); err != nil || at.Before(before) || at.After(time.Now()) {
			t.Errorf("offset %d, where the log ends, is of %s, %v", offset, at, err)
		}
	}
}

func TestALookFromOutsideReadsWhatWasAskedFor(t *testing.T) {
	cluster, topic, claims := claimedLog(t)
	read := func(reading TopicReading) (values string) {
		t.Helper()
		reading.Topic, reading.Logger = topic, brokertest.Logger(t)
		err := ReadTopic(brokertest.Context(t), cluster, reading, func(r *recordbatch.StoredRecord) error {
			values += string(r.Value)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return values
	}
	if got := read(TopicReading{}); got != "567" {
		t.Errorf("all: %s", got)
	}
	if got := read(TopicReading{OnlyNew: true}); got != "" {
		t.Errorf("only new: %s", got)
	}
	// Brokers find the place by the times of whole batches, or by an index.
	since := brokertest.HoursApart.Add(7 * time.Hour)
	if got := read(TopicReading{Since: since}); got != "7" {
		t.Errorf("since the hour 7: %s", got)
	}
	if at := claims.Asked(t); !at.Equal(since) {
		t.Errorf("it asks for %s", at)
	}
	failed := errors.New("enough")
	count := 0
	for _, follow := range []bool{false, true} {
		err := ReadTopic(brokertest.Context(t), cluster, TopicReading{Topic: topic, Follow: follow, Logger: brokertest.Logger(t)}, func(*recordbatch.StoredRecord) error {
			count++
			return failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("following: %t: a reader that fails ends it with %v", follow, err)
		}
	}
	ctx, stop := context.WithCancel(brokertest.Context(t))
	defer stop()
	err := ReadTopic(ctx, cluster, TopicReading{Topic: topic, Logger: brokertest.Logger(t)}, func(*recordbatch.StoredRecord) error {
		stop()
		return nil
	})
	if err != nil {
		t.Errorf("a reading whose context ends meanwhile: %v", err)
	}
	if count != 2 {
		t.Errorf("%d records were handed over to readers that fail", count)
	}
}

// Such a reading would wait for ever, for a right that it does not have.
func TestATopicThatMayNotBeReadIsRefused(t *testing.T) {
	for code, refused := range map[kafkago.Error]bool{
		0: false, kafkago.TopicAuthorizationFailed: true, kafkago.NotLeaderForPartition: false, kafkago.OffsetOutOfRange: false,
		kafkago.Unknown: false, // stands for an answer that names no partition, as from a broker that throttles
	} {
		broker, cluster, topic := controlledTopic(t)
		broker.ControlKey(int16(kmsg.Fetch), func(request kmsg.Request) (kmsg.Response, error, bool) {
			broker.KeepControl()
			fetch, _ := request.(*kmsg.FetchRequest)
			if fetch.MaxWaitMillis != 0 || fetch.Topics[0].Topic != topic || fetch.Topics[0].Partitions[0].FetchOffset != 5 {
				t.Errorf("it asks for %+v", fetch)
			}
			response, _ := fetch.ResponseKind().(*kmsg.FetchResponse)
			partition := kmsg.NewFetchResponseTopicPartition()
			partition.ErrorCode = int16(code)
			if code != kafkago.Unknown {
				response.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{partition}}}
			}
			return response, nil, true
		})
		if refused {
			claims := &brokertest.Claims{Start: 5, Stable: 8, End: 10}
			claims.Claim(broker)
			err := ReadTopic(brokertest.Context(t), cluster, TopicReading{Topic: topic, Logger: brokertest.Logger(t)}, nil)
			if err == nil || !strings.Contains(err.Error(), "may not read") {
				t.Errorf("a reading of it ends with %v", err)
			}
		}
		err := CheckReadable(brokertest.Context(t), cluster, topic, 5)
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), topic) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	_, cluster, topic := controlledTopic(t)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := CheckReadable(ended, cluster, topic, 5); err != nil {
		t.Errorf("without an answer: %v", err)
	}
	if err := ReadTopic(ended, cluster, TopicReading{Topic: "none", Logger: brokertest.Logger(t)}, nil); err != nil {
		t.Errorf("a reading whose context has ended: %v", err)
	}
	if err := ReadTopic(brokertest.Context(t), cluster, TopicReading{Topic: "none", Logger: brokertest.Logger(t)}, nil); err == nil {
		t.Error("a topic that is not there is read")
	}
}
