package logclient

import (
	"context"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"chatting/test/brokertest"
)

// A broker that is stopped still takes connections; it must not stand in for the others.
func TestPingAsksTheBrokersBesideOneThatSaysNothing(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		asked := make(chan struct{}, 1)
		go func() {
			for {
				conn, err := silent.Accept()
				if err != nil {
					return
				}
				go func() {
					if n, _ := conn.Read(make([]byte, 1)); n > 0 {
						select {
						case asked <- struct{}{}:
						default:
						}
					}
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				}()
			}
		}()
		both := testCluster(t, slices.Concat([]string{silent.Addr().String()}, cluster.options.Brokers))
		if err := both.Ping(brokertest.Context(t)); err != nil {
			t.Error(err)
		}
		select {
		case <-asked: // by the one before
		default:
		}
		ctx, cancel := context.WithCancel(brokertest.Context(t))
		outcome := make(chan error, 1)
		go func() { outcome <- testCluster(t, []string{silent.Addr().String()}).Ping(ctx) }()
		select {
		case <-asked:
		case err := <-outcome:
			t.Fatalf("a broker that was not asked came to %v", err)
		}
		cancel()
		if err := <-outcome; err == nil {
			t.Error("a broker that says nothing answered")
		}
	})
}

// A cluster lives as long as the server, and its connections do not.
func TestAClusterHoldsOnToNoClosedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		dialed := make(map[string]*countedConn)
		dial := dialUntil(ctx, func(_ context.Context, _, address string) (net.Conn, error) {
			dialed[address] = &countedConn{}
			return dialed[address], nil
		})
		for _, address := range []string{"closed", "open"} {
			conn, err := dial(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if address == "closed" {
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		end()
		synctest.Wait()
		for address, conn := range dialed {
			if n := conn.closed.Load(); n != 1 {
				t.Errorf("the %s connection was closed %d times", address, n)
			}
		}
	})
}

// countedConn counts how often it is closed.
type countedConn struct {
	net.Conn

	closed atomic.Int64
}

func (c *countedConn) Close() error {
	c.closed.Add(1)
	return nil
}

func TestAClosedClusterLeavesNothingRunning(t *testing.T) {
	broker, _, _ := controlledTopic(t)
	before := goleak.IgnoreCurrent()
	cluster := NewCluster(ClusterOptions{Brokers: broker.ListenAddrs()})
	if _, err := cluster.Offsets(brokertest.Context(t), "log", []int{0}, End); err != nil {
		t.Error(err)
	}
	cluster.Close()
	goleak.VerifyNone(t, before)
}
