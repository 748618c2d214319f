package kafka

import (
	"slices"
	"testing"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
)

// placed is an appender to three partitions that takes down to which it is told to append.
type placed struct {
	appended

	partitions []int
}

func (p *placed) AppendAs(_ logclient.Owner, partition int, _ recordbatch.Record, done func(error)) {
	p.partitions = append(p.partitions, partition)
	done(nil)
}
func (p *placed) Partitions() int { return 3 }

func TestAnActIsAppendedWhereItHasNoPlace(t *testing.T) {
	act := domain.Act{User: 201, Kind: domain.ActMute, Version: 1}
	for what, c := range map[string]struct {
		places []int64
		want   []int
	}{
		"new":                    {nil, []int{0, 1, 2}},
		"in some":                {[]int64{domain.ActNowhere, 7, domain.ActNowhere}, []int{0, 2}},
		"in all":                 {[]int64{0, 7, domain.ActAlways}, nil},
		"from fewer partitions":  {[]int64{0, 7}, []int{2}},
		"from another, all lack": {[]int64{domain.ActNowhere}, []int{0, 1, 2}},
	} {
		conversations, audit := &placed{}, &placed{}
		outcomes := 0
		NewActs(conversations, audit).AppendAct(act, c.places, func(err error) {
			if outcomes++; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
		if !slices.Equal(conversations.partitions, c.want) || len(audit.partitions) != 0 || outcomes != 1 {
			t.Errorf("%s: appended to %v and the audit's %v, %d outcomes", what, conversations.partitions, audit.partitions, outcomes)
		}
	}
}

func TestTheAuditGetsAnActOnce(t *testing.T) {
	conversations, audit := &placed{}, &placed{}
	outcomes := 0
	NewActs(conversations, audit).AppendToAudit(domain.Act{User: 201}, func(error) { outcomes++ })
	if len(conversations.partitions) != 0 || len(audit.partitions) != 1 || outcomes != 1 {
		t.Errorf("appended to %v and the audit's %v, %d outcomes", conversations.partitions, audit.partitions, outcomes)
	}
}
