package logclient

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestOnlyAfterPlentyTheNextAnswerIsNotAskedForAtOnce(t *testing.T) {
	sent := time.Now()
	answer := func(size int) *fetchAnswer { return &fetchAnswer{buffer: newAnswerBuffer(size)} }
	for what, c := range map[string]struct {
		rest   time.Duration
		answer *fetchAnswer
		paced  bool
	}{
		"no answer":              {0, nil, false},
		"little":                 {0, answer(plentyBytes - 1), false},
		"plenty":                 {0, answer(plentyBytes), true},
		"plenty, and it rests":   {time.Second, answer(plentyBytes), false},
		"an answer that is gone": {0, &fetchAnswer{}, false},
	} {
		tail := NewTail(nil, TailOptions{Rest: c.rest})
		want := time.Time{}
		if c.paced {
			want = sent.Add(fetchPace)
		}
		if got := tail.fetcher.pace(fetched{sent: sent, answer: c.answer}); !got.Equal(want) {
			t.Errorf("%s: the next one is asked for at %v, want %v", what, got, want)
		}
	}
}

func TestAFetchIsNotSentBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := NewCluster(ClusterOptions{
			Brokers: []string{"broker:9092"}, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
			},
		})
		defer cluster.Close()
		tail := NewTail(cluster, TailOptions{Topic: "t", From: map[int]int64{0: 0}})
		began := time.Now()
		for _, wait := range []time.Duration{0, fetchPace} {
			result := tail.fetcher.fetch(t.Context(), fetched{notBefore: began.Add(wait)}, tail.fetcher.request([]int{0}, tail.positions))
			if got := result.sent.Sub(began); got != wait || result.err == nil {
				t.Errorf("it is sent after %s (%v), want %s", got, result.err, wait)
			}
			began = time.Now()
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if result := tail.fetcher.fetch(ended, fetched{notBefore: began.Add(time.Hour)}, tail.fetcher.request([]int{0}, tail.positions)); time.Since(began) != 0 || result.err == nil {
			t.Errorf("with its context ended it takes %s (%v)", time.Since(began), result.err)
		}
	})
}
