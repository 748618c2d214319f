package groups

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/test/brokertest"
)

// joins has a broker refuse attempts to join by codes, the first attempt by the first; zero lets one pass. It tells each.
func joins(broker *kfake.Cluster, codes []kafkago.Error, each func(attempt int)) {
	attempt := 0
	broker.ControlKey(int16(kmsg.JoinGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		join, _ := request.(*kmsg.JoinGroupRequest)
		if join.MemberID == "" {
			return nil, nil, false // it is given an id first
		}
		attempt++
		each(attempt)
		if attempt > len(codes) || codes[attempt-1] == 0 {
			return nil, nil, false
		}
		response, _ := join.ResponseKind().(*kmsg.JoinGroupResponse)
		response.ErrorCode = int16(codes[attempt-1])
		return response, nil, true
	})
}

func TestAMemberThatIsRefusedComesAgainAfterAPause(t *testing.T) {
	broker, m := controlledGroup(t)
	var (
		mu     sync.Mutex
		at     = make(map[int]time.Time)
		joined = make(map[int]bool)
	)
	codes := []kafkago.Error{0, kafkago.GroupAuthorizationFailed, kafkago.RebalanceInProgress, kafkago.InconsistentGroupProtocol, 0}
	joins(broker, codes, func(attempt int) {
		mu.Lock()
		defer mu.Unlock()
		at[attempt], joined[attempt] = time.Now(), len(m.cluster.Groups()) == 1 && m.cluster.Groups()[0].Joined
	})
	var log bytes.Buffer
	m.options.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, stop := context.WithCancel(brokertest.Context(t))
	defer stop()
	served := 0
	err := Run(ctx, m.cluster, m.options, func(_ context.Context, _ *Generation, assignments []Assignment) error {
		if len(assignments) != 7 {
			t.Errorf("it is given %v", assignments)
		}
		if served++; served < 2 {
			return nil // the generation ends, and nothing is wrong with that
		}
		stop()
		return errors.New("its work ends with it")
	})
	if err != nil || served != 2 {
		t.Fatalf("it worked %d times, and ends with %v", served, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(at) != len(codes) {
		t.Fatalf("it tried to join at %v", at)
	}
	for _, refused := range []int{2, 4} {
		if pause := at[refused+1].Sub(at[refused]); pause < joinPause {
			t.Errorf("refused with %v, it came again after %s", codes[refused-1], pause)
		}
	}
	if !joined[2] || joined[3] {
		t.Errorf("it says that it is a member: %t before it is refused, %t afterwards", joined[2], joined[3])
	}
	levels := make(map[string]int)
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, "starts over") {
			t.Errorf("it says %s", line)
		}
		if strings.Contains(line, "joining the consumer group again") {
			level, _, _ := strings.Cut(line[strings.Index(line, "level="):], " ")
			levels[fmt.Sprint(level, " ", strings.Contains(line, kafkago.GroupAuthorizationFailed.Error()))]++
		}
	}
	// Only the operator can help whoever has no right to.
	if want := map[string]int{"level=ERROR true": 1, "level=DEBUG false": 1}; !maps.Equal(levels, want) {
		t.Errorf("it says %v, not %v: %s", levels, want, log.String())
	}
}

// A group may have more nodes than partitions.
func TestAMemberWithoutPartitionsStaysInItsGroup(t *testing.T) {
	broker, m := controlledGroup(t)
	events := make(chan string, 100)
	joins(broker, nil, func(int) { events <- "join" })
	broker.ControlKey(int16(kmsg.SyncGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		response, _ := request.ResponseKind().(*kmsg.SyncGroupResponse)
		nothing := kmsg.NewConsumerMemberAssignment()
		response.MemberAssignment = nothing.AppendTo(nil)
		return response, nil, true
	})
	broker.ControlKey(int16(kmsg.Heartbeat), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		events <- "beat"
		return request.ResponseKind(), nil, true
	})
	ctx, stop := context.WithCancel(brokertest.Context(t))
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, m.cluster, m.options, func(context.Context, *Generation, []Assignment) error {
			t.Error("it works without partitions")
			return nil
		})
	}()
	for _, want := range []string{"join", "beat"} {
		if got := <-events; got != want {
			t.Errorf("it sends a %s, not a %s", got, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Under an id that the coordinator does not know, no attempt would ever succeed.
func TestAMemberThatIsNotKnownAsksForAnotherID(t *testing.T) {
	broker, m := controlledGroup(t)
	var joined, synced kafkago.Error
	broker.ControlKey(int16(kmsg.JoinGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		response, _ := request.ResponseKind().(*kmsg.JoinGroupResponse)
		response.ErrorCode, response.MemberID, response.LeaderID, response.Generation = int16(joined), "m", "another", 4
		return response, nil, true
	})
	broker.ControlKey(int16(kmsg.SyncGroup), func(request kmsg.Request) (kmsg.Response, error, bool) {
		broker.KeepControl()
		response, _ := request.ResponseKind().(*kmsg.SyncGroupResponse)
		response.ErrorCode = int16(synced)
		nothing := kmsg.NewConsumerMemberAssignment()
		response.MemberAssignment = nothing.AppendTo(nil)
		return response, nil, true
	})
	for what, c := range map[string]struct {
		join, sync kafkago.Error
		id         string
	}{
		"known":                        {0, 0, "m"},
		"given an id at once":          {0, 0, "m"},
		"not known":                    {kafkago.UnknownMemberId, 0, ""},
		"asked to have the id it has":  {kafkago.MemberIDRequired, 0, ""},
		"not allowed":                  {kafkago.GroupAuthorizationFailed, 0, "m"},
		"not known any more":           {0, kafkago.UnknownMemberId, ""},
		"in a group that begins again": {0, kafkago.RebalanceInProgress, "m"},
	} {
		m.id, joined, synced = "m", c.join, c.sync
		if what == "given an id at once" {
			m.id = ""
		}
		_, _, err := m.join(brokertest.Context(t))
		if want := max(c.join, c.sync); (err == nil) != (want == 0) || err != nil && !errors.Is(err, want) || m.id != c.id {
			t.Errorf("%s: it comes to %v, and its id is %q", what, err, m.id)
		}
	}
}
