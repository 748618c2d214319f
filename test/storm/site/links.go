package site

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"chatting/test/storm/plan"
)

// link is a way between two parts that can be disturbed. It has a proxy for each address at its end.
type link struct {
	server *toxiproxy.ApiServer

	mu      sync.Mutex
	proxies []*toxiproxy.Proxy
}

func newProxies() *toxiproxy.ApiServer {
	return toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
}

// openLink opens proxies from each address to the address at the same place in upstream.
func openLink(server *toxiproxy.ApiServer, name string, addresses, upstream []string) (*link, error) {
	l := &link{server: server}
	for i := range addresses {
		proxy := toxiproxy.NewProxy(server, fmt.Sprint(name, "-", i), addresses[i], upstream[i])
		if err := proxy.Start(); err != nil {
			return nil, fmt.Errorf("proxy at %s: %w", addresses[i], err)
		}
		l.proxies = append(l.proxies, proxy)
	}
	return l, nil
}

// disturb begins a fault.
func (l *link) disturb(f plan.Fault) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var toxic string
	switch f.Kind {
	case plan.Latency:
		toxic = fmt.Sprintf(`"type":"latency","attributes":{"latency":%d,"jitter":%d}`, f.Amount, f.Amount/4)
	case plan.Slow:
		toxic = fmt.Sprintf(`"type":"bandwidth","attributes":{"rate":%d}`, f.Amount)
	case plan.Reset:
		toxic = `"type":"reset_peer","attributes":{"timeout":300}`
	case plan.Silent:
		toxic = `"type":"timeout","attributes":{"timeout":0}`
	case plan.Refused:
		for _, proxy := range l.proxies {
			proxy.Stop()
		}
		return nil
	default:
		return fmt.Errorf("a link cannot have a %s", f.Kind)
	}
	for _, proxy := range l.proxies {
		for _, direction := range []string{"upstream", "downstream"} {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(`{"stream":%q,%s}`, direction, toxic))); err != nil {
				return err
			}
		}
	}
	return nil
}

// heal ends a fault. Connections that were only late go on. Those of other faults end: what was lost of them does not come back, and
// a stream of bytes with a hole is what no network makes.
func (l *link) heal(ctx context.Context, kind plan.Kind) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, proxy := range l.proxies {
		if kind == plan.Latency || kind == plan.Slow {
			if err := within(time.Minute, "the end of a toxic", func() { proxy.Toxics.ResetToxics(ctx) }); err != nil {
				return err
			}
			continue
		}
		if err := within(time.Minute, "the end of a proxy", proxy.Stop); err != nil {
			return err
		}
		again := toxiproxy.NewProxy(l.server, proxy.Name, proxy.Listen, proxy.Upstream)
		if err := again.Start(); err != nil {
			return err
		}
		l.proxies[i] = again
	}
	return nil
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, proxy := range l.proxies {
		proxy.Stop()
	}
}

// within bounds what cannot be cancelled. What does not end is left behind, and the run ends.
func within(limit time.Duration, what string, do func()) error {
	done := make(chan struct{})
	go func() {
		do()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("waited in vain for %s", what)
	}
}
