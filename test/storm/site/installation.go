// Package site is an installation to which faults are done: three nodes, three brokers and PostgreSQL, as processes of this machine,
// with a proxy in each way between clients, nodes, brokers and PostgreSQL. It needs Linux and what test/infra/up needs.
package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
)

// Installation is everything that faults are done to.
type Installation struct {
	parts *parts
	nodes []*Node
	// clients, brokers and database are the links of each node.
	clients, brokers, database []*link
	// reached are the addresses of the nodes as clients reach them, through proxies.
	reached []string
}

// Open starts brokers, PostgreSQL and the proxies in a folder, and prepares nodes that run a program, each with settings of its own
// beside those that say where the parts are. No node runs yet. Stop ends the proxies and the nodes; Guard, which the caller is to
// run under, ends the rest.
func Open(ctx context.Context, dir, program string, settings func(number int) []string) (*Installation, error) {
	parts, err := startParts(ctx, dir)
	if err != nil {
		return nil, err
	}
	i := &Installation{parts: parts}
	proxies := newProxies()
	for number := 1; number <= NodeCount; number++ {
		if err := i.place(proxies, dir, program, number, settings(number)); err != nil {
			i.Stop()
			return nil, err
		}
	}
	return i, nil
}

// place prepares one node: its folder, its links and its settings.
func (i *Installation) place(proxies *toxiproxy.ApiServer, dir, program string, number int, settings []string) error {
	n := &Node{Number: number, program: program, dir: filepath.Join(dir, fmt.Sprint("node-", number)), HTTP: FreeAddress()}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return err
	}
	n.clock = filepath.Join(n.dir, "clock")
	if err := os.WriteFile(n.clock, make([]byte, 8), 0o644); err != nil {
		return err
	}
	reached, database := FreeAddress(), FreeAddress()
	advertised, listeners := i.parts.advertised[number-1][:], i.parts.listeners[number-1][:]
	links := []struct {
		name     string
		into     *[]*link
		from, to []string
	}{
		{"clients", &i.clients, []string{reached}, []string{n.HTTP}},
		{"brokers", &i.brokers, advertised, listeners},
		{"database", &i.database, []string{database}, []string{i.parts.postgres}},
	}
	for _, l := range links {
		opened, err := openLink(proxies, fmt.Sprint(l.name, "-", number), l.from, l.to)
		if err != nil {
			return err
		}
		*l.into = append(*l.into, opened)
	}
	n.settings = append([]string{
		"CHATTING_KAFKA_BROKERS=" + strings.Join(advertised, ","),
		"CHATTING_DATABASE_URL=" + strings.Replace(i.parts.url, i.parts.postgres, database, 1),
		"CHATTING_HTTP_ADDR=" + n.HTTP,
	}, settings...)
	i.nodes = append(i.nodes, n)
	i.reached = append(i.reached, reached)
	return nil
}

// Start starts all nodes and waits until they are ready, at most for limit.
func (i *Installation) Start(ctx context.Context, limit time.Duration) error {
	for _, n := range i.nodes {
		if err := n.Start(); err != nil {
			return err
		}
	}
	return i.AwaitReady(ctx, limit)
}

// AwaitReady waits until each node is ready, at most for limit each.
func (i *Installation) AwaitReady(ctx context.Context, limit time.Duration) error {
	for _, n := range i.nodes {
		for end := time.Now().Add(limit); !n.IsReady(ctx); {
			if time.Now().After(end) {
				return fmt.Errorf("node %d is not ready after %s: %w", n.Number, limit, errors.Join(ctx.Err()))
			}
			if !Pause(ctx, 200*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// Stop ends the nodes and the proxies.
func (i *Installation) Stop() {
	for _, n := range i.nodes {
		_ = n.Stop(9, time.Minute)
	}
	for _, links := range [][]*link{i.clients, i.brokers, i.database} {
		for _, l := range links {
			l.close()
		}
	}
}

// Nodes are the nodes, from number 1 on.
func (i *Installation) Nodes() []*Node { return i.nodes }

// Reached are the addresses of the nodes as clients reach them, through proxies.
func (i *Installation) Reached() []string { return i.reached }

// Brokers are the addresses of the brokers that go through no proxy, from broker 1 on.
func (i *Installation) Brokers() []string { return i.parts.direct }

// Postgres is a URL of PostgreSQL that goes through no proxy. Its user may do everything.
func (i *Installation) Postgres() string { return i.parts.url }

// HasDisks tells whether disks can be filled: mounting needs root.
func (i *Installation) HasDisks() bool { return i.parts.disks }
