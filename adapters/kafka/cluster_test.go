package kafka

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
)

// A broker that is stopped still takes connections; it must not stand in for the others.
func TestPingAsksTheBrokersBesideOneThatSaysNothing(t *testing.T) {
	eachBroker(t, func(t *testing.T, cluster *Cluster) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		go func() {
			for {
				conn, err := silent.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
			}
		}()
		both := testCluster(t, slices.Concat([]string{silent.Addr().String()}, cluster.options.Brokers))
		if err := both.Ping(testContext(t)); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(testContext(t))
		cancel()
		if err := testCluster(t, []string{silent.Addr().String()}).Ping(ctx); err == nil {
			t.Error("a broker that says nothing answered")
		}
	})
}
