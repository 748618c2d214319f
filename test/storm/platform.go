package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// platform is a moderator who mutes, bans and lets go, by what the platform's servers ask.
type platform struct {
	rest *restClient

	mu   sync.Mutex
	done []check.ActRequest
	// touched are those to whom something was done that has to be ended, and forGood who stays banned.
	touched map[int64]bool
	forGood map[int64]bool
}

func newPlatform(rest *restClient) *platform {
	return &platform{rest: rest, touched: make(map[int64]bool), forGood: make(map[int64]bool)}
}

// The moderator acts about so often. A user who is banned comes back soon, so that there is something to see.
const actPace = 2 * time.Second

// moderate acts on users from 1 on until ctx ends. Like what users do, it is a matter of chance.
func (p *platform) moderate(ctx context.Context, users int) {
	for site.Pause(ctx, actPace/2+time.Duration(rand.Int64N(int64(actPace)))) {
		user := 1 + rand.Int64N(int64(users))
		switch rand.IntN(4) {
		case 0:
			_ = p.act(ctx, check.End, user)
		case 1:
			p.forAWhile(ctx, check.Ban, check.Unban, user)
		default:
			p.forAWhile(ctx, check.Mute, check.Unmute, user)
		}
	}
}

// forAWhile does something to a user, and ends it some seconds later. What is not confirmed is ended when the run's faults are over.
func (p *platform) forAWhile(ctx context.Context, begin, end string, user int64) {
	p.mu.Lock()
	p.touched[user] = true
	p.mu.Unlock()
	_ = p.act(ctx, begin, user)
	if site.Pause(ctx, time.Second+time.Duration(rand.Int64N(int64(3*time.Second)))) {
		_ = p.act(ctx, end, user)
	}
}

// act asks for an act, and notes what was answered. An act without an answer may count or not.
func (p *platform) act(ctx context.Context, kind string, user int64) error {
	request := check.ActRequest{Kind: kind, User: user, Asked: time.Now()}
	var answer struct {
		ID string `json:"id"`
	}
	body := map[string]any{"act": kind, "user_id": user, "actor": "storm"}
	err := p.rest.ask(ctx, "", user, http.MethodPost, "/s2sapi/moderation/", body, &answer)
	if err == nil {
		request.Confirmed, request.ID = time.Now(), answer.ID
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, request)
	return err
}

// lift ends all mutes and bans, and returns once none is in force.
func (p *platform) lift(ctx context.Context) error {
	p.mu.Lock()
	touched := slices.Sorted(maps.Keys(p.touched))
	p.mu.Unlock()
	for _, user := range touched {
		for end := time.Now().Add(healLimit); ; {
			done, err := p.free(ctx, user)
			if done {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("what was done to user %d cannot be ended: %w", user, err)
			}
			if !site.Pause(ctx, 300*time.Millisecond) {
				return ctx.Err()
			}
		}
	}
	return nil
}

// free ends what is in force for a user. done tells that nothing was, by an answer.
func (p *platform) free(ctx context.Context, user int64) (done bool, err error) {
	var standing struct{ Muted, Banned bool }
	err = p.rest.ask(ctx, "", user, http.MethodGet, fmt.Sprint("/s2sapi/moderation/?user_id=", user), nil, &standing)
	if err == nil && !standing.Muted && !standing.Banned {
		return true, nil
	}
	if standing.Muted {
		err = errors.Join(err, p.act(ctx, check.Unmute, user))
	}
	if standing.Banned {
		err = errors.Join(err, p.act(ctx, check.Unban, user))
	}
	return false, err
}

// ban bans a user for good.
func (p *platform) ban(ctx context.Context, user int64) error {
	if err := p.rest.retry(ctx, func() error { return p.act(ctx, check.Ban, user) }); err != nil {
		return fmt.Errorf("user %d cannot be banned: %w", user, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forGood[user] = true
	return nil
}

func (p *platform) isBanned(user int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.forGood[user]
}

// requests returns what was asked for so far.
func (p *platform) requests() []check.ActRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.done)
}
