package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	_ "github.com/lib/pq" // the driver
	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/test/alarms/watch"
	"chatting/test/storm/plan"
	"chatting/test/storm/site"
)

const (
	topicPrefix = "alarms"
	secret      = "of the alarms, and of nothing else"
	// connectionsLimit is how many connections a node takes, and crowdSize how many of them a crowd has: more than the nine tenths
	// at which an alert fires.
	connectionsLimit = 250
	crowdSize        = 228
)

// settings are those of a node. Its bounds are small, so that they can be reached, and users may send as fast as they can.
func settings(metrics string) []string {
	return []string{
		"CHATTING_METRICS_ADDR=" + metrics, "CHATTING_TOPIC_PREFIX=" + topicPrefix, "CHATTING_JWT_SECRET=" + secret,
		"CHATTING_LIMIT_CONNECTIONS=" + strconv.Itoa(connectionsLimit), "CHATTING_LIMIT_OUTBOUND_BYTES=32MiB",
		"CHATTING_LIMIT_USER_OUTBOUND_BYTES=0", "CHATTING_LIMIT_CONNECTIONS_PER_USER=0", "CHATTING_LIMIT_FRAMES_PER_SECOND=0",
		"CHATTING_LIMIT_USER_LOGINS_PER_SECOND=0", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0",
		"CHATTING_DATABASE_MAX_OPEN_CONNS=4",
	}
}

// cannot says of alerts why no fault here makes them fire.
var cannot = map[string]string{
	"ChattingServerErrors": "it is about a fault of the program itself, and none is known that could be made from outside",
}

// expected is an alert that a fault has to make fire, for an instance, if that is not "".
type expected struct{ alert, instance string }

// trouble is a fault and the alerts that it has to make fire.
type trouble struct {
	name string
	// faults last until all alerts fire. begin begins what else there is to it, after them, and end ends that, before them. Both may
	// be nil.
	faults     []plan.Fault
	begin, end func(context.Context) error
	disks      bool // it needs disks that can be filled
	fires      []expected
}

func (t trouble) alerts() (names []string) {
	for _, e := range t.fires {
		names = append(names, e.alert)
	}
	return names
}

func (t trouble) expects(a watch.Alert) bool {
	return slices.ContainsFunc(t.fires, func(e expected) bool { return a.Is(e.alert, e.instance) })
}

// late has everything be late by so many milliseconds, each way, on the link of each node to a part.
func late(part plan.Part, by int) (faults []plan.Fault) {
	for number := 1; number <= site.NodeCount; number++ {
		faults = append(faults, plan.Fault{Kind: plan.Latency, Target: plan.Target{Part: part, Number: number}, Amount: by})
	}
	return faults
}

func of(kind plan.Kind, part plan.Part, number int) plan.Fault {
	return plan.Fault{Kind: kind, Target: plan.Target{Part: part, Number: number}}
}

// troubles are all faults, in the order in which they are done.
func (r *run) troubles() []trouble {
	return slices.Concat(r.nodeTroubles(), r.brokerTroubles(), r.databaseTroubles(), r.clientTroubles())
}

func (r *run) nodeTroubles() []trouble {
	return []trouble{
		{
			name: "node 1 is killed", faults: []plan.Fault{of(plan.Kill, plan.Node, 1)},
			fires: []expected{{"ChattingNodeDown", "node-1"}},
		},
		{
			name: "node 1 starts with a clock that is an hour late", begin: r.startLate, end: r.setClockRight,
			fires: []expected{{"ChattingNodeNotReady", "node-1"}},
		},
		{
			name: "node 2 stands still for longer than its lease", begin: r.standStill,
			fires: []expected{{"ChattingNodeReborn", "node-2"}},
		},
		{
			name: "node 3 has few open files left", begin: r.takeFiles, end: r.giveFiles,
			fires: []expected{{"ChattingFilesShort", "node-3"}},
		},
	}
}

func (r *run) brokerTroubles() []trouble {
	return []trouble{
		{
			name: "node 3 is cut off from the brokers", faults: []plan.Fault{of(plan.Silent, plan.BrokerLink, 3)},
			fires: []expected{
				{"ChattingTailBehind", "node-3"}, {"ChattingAppendStuck", "node-3"}, {"ChattingNodesDisagree", ""},
			},
		},
		{
			name: "two brokers of three are killed", faults: []plan.Fault{of(plan.Kill, plan.Broker, 1), of(plan.Kill, plan.Broker, 2)},
			fires: []expected{
				{"ChattingAppendStuck", ""}, {"ChattingAppendsFail", ""}, {"ChattingBrokerErrors", ""}, {"ChattingLoginsFail", ""},
				{"ChattingOutboxStuck", ""},
			},
		},
		{
			name: "the disks of two brokers are full", disks: true,
			faults: []plan.Fault{of(plan.Full, plan.Broker, 2), of(plan.Full, plan.Broker, 3)},
			fires:  []expected{{"ChattingAppendsFail", ""}},
		},
		{
			name: "every answer of a broker is late", faults: late(plan.BrokerLink, 700),
			fires: []expected{{"ChattingAppendsSlow", ""}, {"ChattingEchoesSlow", ""}},
		},
		{
			name: "a program writes system messages that nobody can read", begin: r.writeNonsense,
			fires: []expected{{"ChattingDeadLetters", ""}},
		},
	}
}

func (r *run) databaseTroubles() []trouble {
	return []trouble{
		{
			name: "PostgreSQL is stopped", faults: []plan.Fault{of(plan.Restart, plan.Database, 0)},
			fires: []expected{
				{"ChattingDatabaseUnavailable", ""}, {"ChattingHTTPFails", ""}, {"ChattingLoginsFail", ""},
			},
		},
		{
			name: "PostgreSQL is slow", faults: late(plan.DatabaseLink, 400), begin: r.askMuch, end: r.askLess,
			fires: []expected{{"ChattingDatabasePoolExhausted", ""}},
		},
		{
			name: "the disk of PostgreSQL is full", disks: true, faults: []plan.Fault{of(plan.Full, plan.Database, 0)},
			fires: []expected{{"ChattingDatabaseUnavailable", ""}},
		},
		{
			name: "another program locks a table of the history", begin: r.lockHistory, end: r.unlockHistory,
			fires: []expected{{"ChattingHistoryStandsStill", ""}},
		},
	}
}

func (r *run) clientTroubles() []trouble {
	return []trouble{
		{
			name: "a crowd takes the connections of node 1 and fills its memory", begin: r.fillNode, end: r.dismiss,
			fires: []expected{{"ChattingConnectionsFull", "node-1"}, {"ChattingMemoryBound", "node-1"}},
		},
		{
			name: "clients of node 2 do not read", begin: r.stall, end: r.dismiss,
			fires: []expected{{"ChattingSlowReaders", "node-2"}},
		},
	}
}

func (r *run) startLate(ctx context.Context) error {
	if err := r.at.Begin(ctx, of(plan.Restart, plan.Node, 1)); err != nil {
		return err
	}
	if err := r.at.Begin(ctx, plan.Fault{Kind: plan.Clock, Target: plan.Target{Part: plan.Node, Number: 1}, Amount: -3600}); err != nil {
		return err
	}
	return r.at.End(ctx, of(plan.Restart, plan.Node, 1))
}

func (r *run) setClockRight(ctx context.Context) error {
	return r.at.End(ctx, of(plan.Clock, plan.Node, 1))
}

// standStill stops a node for longer than its lease and the time of its burial.
func (r *run) standStill(ctx context.Context) error {
	node := r.at.Nodes()[1]
	if err := node.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	site.Pause(ctx, 15*time.Second)
	return node.Signal(syscall.SIGCONT)
}

// takeFiles lets node 3 have hardly more files than it has open. Connections that idle are most of these.
func (r *run) takeFiles(ctx context.Context) error {
	node := r.at.Nodes()[2]
	if err := r.crowd.come(ctx, node.HTTP, 150); err != nil {
		return err
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", node.PID()))
	if err != nil {
		return err
	}
	return limitFiles(ctx, node.PID(), len(open)+12)
}

func (r *run) giveFiles(ctx context.Context) error {
	r.crowd.leave()
	return limitFiles(ctx, r.at.Nodes()[2].PID(), 4096)
}

func limitFiles(ctx context.Context, pid, limit int) error {
	said, err := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(pid), fmt.Sprintf("--nofile=%d:", limit)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("prlimit: %w: %s", err, said)
	}
	return nil
}

func (r *run) writeNonsense(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.at.Brokers()...))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: topicPrefix + ".system-messages", Value: []byte("nonsense")}).FirstErr()
}

// lockHistory takes a lock with which the history can be read, and nothing can come into it.
func (r *run) lockHistory(ctx context.Context) error {
	db, err := sql.Open("postgres", r.at.Postgres())
	if err != nil {
		return err
	}
	locking, unlock := context.WithCancel(context.WithoutCancel(ctx))
	r.unlock = func() error {
		unlock() // which ends the transaction
		return db.Close()
	}
	tx, err := db.BeginTx(locking, nil)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "LOCK TABLE projections IN EXCLUSIVE MODE")
	return err
}

func (r *run) unlockHistory(context.Context) error {
	if r.unlock == nil {
		return nil
	}
	return r.unlock()
}

func (r *run) askMuch(context.Context) error {
	r.crowd.ask(r.at.Nodes()[0].HTTP)
	return nil
}

func (r *run) askLess(context.Context) error {
	r.crowd.leave()
	return nil
}

// fillNode has a crowd take nearly all connections, and then begin messages that do not end.
func (r *run) fillNode(ctx context.Context) error {
	addr := r.at.Nodes()[0].HTTP
	if err := r.crowd.come(ctx, addr, crowdSize); err != nil {
		return err
	}
	r.crowd.knock(ctx, addr)
	return r.crowd.beginMessages()
}

func (r *run) stall(context.Context) error {
	r.crowd.stall(r.at.Nodes()[1].HTTP)
	return nil
}

func (r *run) dismiss(context.Context) error {
	r.crowd.leave()
	return nil
}
