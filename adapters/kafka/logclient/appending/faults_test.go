package appending

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/test/brokertest"
)

// faultyNetwork stands between a cluster's client and its brokers, and does to produce requests what networks and dying
// brokers do.
type faultyNetwork struct {
	t      *testing.T
	faults atomic.Int64
	off    atomic.Bool

	mu   sync.Mutex
	rand *rand.Rand
	late []func() // produce requests of earlier connections that are still to arrive
	done sync.WaitGroup
}

// fault is what happens to one produce request.
type fault int

const (
	faultNone       fault = iota
	faultLate             // the answer comes late
	faultNever            // the answer never comes
	faultTwice            // the request arrives twice
	faultDropBefore       // the connection ends before the request arrives
	faultDropAfter        // the connection ends after the request arrived, before its answer
	faultLateTwin         // the connection ends, and the request arrives later, perhaps after others
)

func (n *faultyNetwork) choose() fault {
	if n.off.Load() {
		return faultNone
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch p := n.rand.IntN(100); {
	case p < 60:
		return faultNone
	case p < 68:
		return faultLate
	case p < 69:
		return faultNever
	case p < 77:
		return faultTwice
	case p < 84:
		return faultDropBefore
	case p < 92:
		return faultDropAfter
	default:
		return faultLateTwin
	}
}

// dial connects to a broker through the faults.
func (n *faultyNetwork) dial(ctx context.Context, network, address string) (net.Conn, error) {
	broker, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	client, inner := net.Pipe()
	n.done.Go(func() { n.serve(inner, broker, network, address) })
	return client, nil
}

// serve passes requests and answers, one at a time, as kafka-go sends them.
func (n *faultyNetwork) serve(client, broker net.Conn, network, address string) {
	defer client.Close()
	defer broker.Close()
	for {
		request, err := brokertest.ReadFrame(client)
		if err != nil {
			return
		}
		f := faultNone
		if binary.BigEndian.Uint16(request[4:]) == brokertest.APIProduce {
			if f = n.choose(); f != faultNone {
				n.faults.Add(1)
			}
		}
		switch f {
		case faultDropBefore:
			return
		case faultLateTwin:
			n.later(func() { sendAlone(network, address, request) })
			return
		case faultTwice:
			sendAlone(network, address, request)
		case faultNone, faultLate, faultNever, faultDropAfter:
		}
		if _, err := broker.Write(request); err != nil {
			return
		}
		answer, err := brokertest.ReadFrame(broker)
		if err != nil {
			return
		}
		switch f {
		case faultDropAfter:
			return
		case faultNever:
			_, _ = io.Copy(io.Discard, client) // until the client gives up
			return
		case faultLate:
			timer := time.NewTimer(20 * time.Millisecond)
			<-timer.C
		case faultNone, faultTwice, faultDropBefore, faultLateTwin:
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
		n.arrive()
	}
}

// later keeps a request that has not arrived yet; arrive lets one such request arrive.
func (n *faultyNetwork) later(send func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.late = append(n.late, send)
}

func (n *faultyNetwork) arrive() {
	n.mu.Lock()
	if len(n.late) == 0 || n.rand.IntN(2) == 0 {
		n.mu.Unlock()
		return
	}
	i := n.rand.IntN(len(n.late))
	send := n.late[i]
	n.late = append(n.late[:i], n.late[i+1:]...)
	n.mu.Unlock()
	send()
}

// arriveAll lets everything arrive that has not.
func (n *faultyNetwork) arriveAll() {
	n.mu.Lock()
	late := n.late
	n.late = nil
	n.mu.Unlock()
	for _, send := range late {
		send()
	}
}

// sendAlone sends a request over a connection of its own and waits for the answer, which nobody hears.
func sendAlone(network, address string, request []byte) {
	conn, err := net.Dial(network, address)
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := conn.Write(request); err == nil {
		_, _ = brokertest.ReadFrame(conn)
	}
}

// faultRun is what a run of appends through faults came to.
type faultRun struct {
	outcomes [][]error        // for each partition, of its values 0, 1, 2, …
	logs     map[int][]string // what each partition holds
	faults   int64
}

// appendThroughFaults appends to every partition from one goroutine each, in bursts, while produce requests suffer.
func appendThroughFaults(t *testing.T, cluster *logclient.Cluster, seed uint64, unstamped bool) faultRun {
	const partitions, each = 8, 400
	topic := testTopic(t, cluster, partitions)
	network := &faultyNetwork{t: t, rand: rand.New(rand.NewPCG(seed, 1))}
	options := cluster.Options()
	options.Dial = network.dial
	faulty := logclient.NewCluster(options)
	t.Cleanup(func() { faulty.Close(); network.done.Wait() })
	appender := NewAppender(faulty, AppenderOptions{
		Topic: topic, Partitions: partitions, Deadline: 5 * time.Second, QueueBytes: 4 << 20, Logger: brokertest.Logger(t),
	})
	for _, l := range appender.lanes {
		if unstamped {
			l.sender.stamp, l.sender.known = recordbatch.NoStamp, true
		}
	}
	run := faultRun{outcomes: make([][]error, partitions)}
	var writers sync.WaitGroup
	for p := range partitions {
		run.outcomes[p] = make([]error, each)
		writers.Go(func() {
			for i := range each {
				outcome := make(chan error, 1)
				value := fmt.Appendf(nil, "%d", i)
				appender.Append(p, recordbatch.Record{Key: []byte("k"), Value: value, Time: time.Now()}, func(err error) {
					run.outcomes[p][i] = err
					outcome <- err
				})
				if i%4 == 3 { // a burst is four
					<-outcome
				}
			}
		})
	}
	writers.Wait()
	network.off.Store(true)
	appender.Close(brokertest.Context(t))
	network.arriveAll()
	run.faults = network.faults.Load()
	run.logs = logOf(t, cluster, topic, partitions)
	return run
}

// violations compares outcomes with the log: what was acknowledged is there, nothing is there twice, what was refused is
// not there, and everything stands in the order in which it was appended.
func (r faultRun) violations() []string {
	var violations []string
	for p, outcomes := range r.outcomes {
		found := make(map[int]int)
		last := -1
		for _, value := range r.logs[p] {
			var i int
			if _, err := fmt.Sscan(value, &i); err != nil {
				violations = append(violations, fmt.Sprintf("partition %d holds %q", p, value))
				continue
			}
			if i < last {
				violations = append(violations, fmt.Sprintf("partition %d: %d after %d", p, i, last))
			}
			last = i
			found[i]++
		}
		for i, err := range outcomes {
			switch count := found[i]; {
			case count > 1:
				violations = append(violations, fmt.Sprintf("partition %d: %d is there %d times", p, i, count))
			case err == nil && count == 0:
				violations = append(violations, fmt.Sprintf("partition %d: %d was acknowledged and is lost", p, i))
			case codeOf(err) == codeUnavailable && count > 0:
				violations = append(violations, fmt.Sprintf("partition %d: %d was refused and is there", p, i))
			}
		}
	}
	return violations
}

func TestFaultsNeitherLoseNorDoubleNorReorderRecords(t *testing.T) {
	t.Parallel() // it waits for answers that never come
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		run := appendThroughFaults(t, cluster, 7, false)
		acknowledged := 0
		for _, outcomes := range run.outcomes {
			for _, err := range outcomes {
				if err == nil {
					acknowledged++
				}
			}
		}
		t.Logf("%d faults, %d of %d appends acknowledged", run.faults, acknowledged, len(run.outcomes)*len(run.outcomes[0]))
		if run.faults < 50 || acknowledged < 1000 {
			t.Error("too little happened for the run to mean anything")
		}
		for _, violation := range run.violations() {
			t.Error(violation)
		}
	})
}

// The test above could miss what it looks for. So it is run without the stamp, which is what prevents it.
func TestWithoutTheStampFaultsDoubleRecords(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, cluster *logclient.Cluster) {
		run := appendThroughFaults(t, cluster, 7, true)
		violations := run.violations()
		t.Logf("%d faults, %d violations", run.faults, len(violations))
		if len(violations) == 0 {
			t.Error("faults did no harm without the stamp: this test's sibling proves nothing")
		}
	})
}
