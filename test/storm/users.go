package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// person is a user with its devices, and what it does.
type person struct {
	id       int64
	devices  []*device
	partners []int64
	rest     *restClient
	// pace is the mean pause between two acts.
	pace time.Duration

	mu      sync.Mutex
	count   int
	blocked map[int64]bool // as far as the user was told
	changes []check.BlockChange
	marks   map[int64][]string
	asked   chan invitation
}

// invitation is an invite that waits for the user's answer.
type invitation struct {
	from int64
	room string
}

// talk sends messages until ctx ends. What users do is a matter of chance; the schedule of faults is not.
func (p *person) talk(ctx context.Context) {
	for site.Pause(ctx, p.pace/2+time.Duration(rand.Int64N(int64(p.pace)))) {
		name := p.name("m")
		p.anyDevice().send(check.Request{Type: check.Chat, Target: p.anyPartner(), Text: "text of " + name, Name: name})
	}
}

func (p *person) anyDevice() *device { return p.devices[rand.IntN(len(p.devices))] }

func (p *person) anyPartner() int64 { return p.partners[rand.IntN(len(p.partners))] }

// manage invites, answers, marks and blocks until ctx ends.
func (p *person) manage(ctx context.Context) {
	for site.Pause(ctx, 4*p.pace+time.Duration(rand.Int64N(int64(4*p.pace)))) {
		switch rand.IntN(6) {
		case 0:
			p.anyDevice().send(check.Request{Type: check.Invite, Target: p.anyPartner(), Status: "invite", Name: p.name("i")})
		case 1:
			p.changeBlock(ctx, p.anyPartner())
		default:
			p.mark(ctx, p.anyDevice(), p.anyPartner())
		}
		select {
		case invited := <-p.asked:
			p.answer(p.anyDevice(), invited)
		default:
		}
	}
}

func (p *person) name(kind string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return fmt.Sprintf("%s-%d-%d", kind, p.id, p.count)
}

// answer accepts an invite, declines it, or lets it expire.
func (p *person) answer(d *device, invited invitation) {
	switch rand.IntN(3) {
	case 0:
		d.send(check.Request{Type: check.Invite, Target: invited.from, Status: "accept", Room: invited.room, Name: p.name("a")})
	case 1:
		d.send(check.Request{Type: check.Invite, Target: invited.from, Status: "decline", Room: invited.room, Name: p.name("d")})
	}
}

// mark marks the newest message of a partner that a device shows.
func (p *person) mark(ctx context.Context, d *device, partner int64) {
	id := d.newest(partner)
	if id == "" {
		return
	}
	path := "/api/chatting/conversations/" + strconv.FormatInt(partner, 10) + "/read/"
	if p.rest.ask(ctx, "", p.id, http.MethodPut, path, map[string]string{"message_id": id}, nil) != nil {
		return // nothing is known: it may have moved
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks[partner] = append(p.marks[partner], id)
}

// changeBlock blocks a partner, or ends the block. One change of a user is made at a time.
func (p *person) changeBlock(ctx context.Context, partner int64) {
	change := check.BlockChange{By: p.id, Target: partner, Block: !p.blocked[partner], Asked: time.Now()}
	method := http.MethodPost
	if !change.Block {
		method = http.MethodDelete
	}
	if p.rest.ask(ctx, "", p.id, method, "/api/chatting/blockedusers/", target(partner), nil) == nil {
		change.Confirmed = time.Now()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked[partner] = change.Block
	p.changes = append(p.changes, change)
}

// befriend makes the user watch its partners.
func (p *person) befriend(ctx context.Context) error {
	for _, partner := range p.partners {
		err := p.rest.retry(ctx, func() error {
			return p.rest.ask(ctx, "", p.id, http.MethodPost, "/api/chatting/friends/", target(partner), nil)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
