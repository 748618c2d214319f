package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"chatting/test/storm/check"
	"chatting/test/storm/site"
)

// restClient asks nodes in the name of users.
type restClient struct {
	client *http.Client
	place  func() string
	token  func(user int64) string
}

func newRESTClient(place func() string, token func(int64) string) *restClient {
	// A connection for each request: one that was kept may be that of a node which is gone.
	return &restClient{
		client: &http.Client{Timeout: dialLimit, Transport: &http.Transport{DisableKeepAlives: true}}, place: place, token: token,
	}
}

// errStatus is an answer that is none of 2xx.
var errStatus = errors.New("refused")

// ask makes one request, to addr or, if that is "", to the next node, and decodes its answer into into, if that is not nil.
func (c *restClient) ask(ctx context.Context, addr string, user int64, method, path string, body, into any) error {
	if addr == "" {
		addr = c.place()
	}
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+c.token(user))
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%w: %s %s: %d %.200s", errStatus, method, path, response.StatusCode, said)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(said, into)
}

// messages reads a whole conversation, the oldest first, as the user's history has it.
func (c *restClient) messages(ctx context.Context, user, partner int64) ([]check.Event, error) {
	var entries []check.Event
	for before := ""; ; {
		var page struct {
			Messages []frame `json:"messages"`
			Next     *string `json:"next"`
		}
		path := "/api/chatting/messages/?limit=100&target_id=" + strconv.FormatInt(partner, 10)
		if before != "" {
			path += "&before=" + before
		}
		if err := c.retry(ctx, func() error { return c.ask(ctx, "", user, http.MethodGet, path, nil, &page) }); err != nil {
			return nil, err
		}
		for i := range page.Messages {
			entries = append(entries, page.Messages[i].event(0))
		}
		if page.Next == nil {
			slices.Reverse(entries)
			return entries, nil
		}
		before = *page.Next
	}
}

// retry asks again until there is an answer, for a minute at most.
func (c *restClient) retry(ctx context.Context, ask func() error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := ask()
		if err == nil || !site.Pause(ctx, 300*time.Millisecond) {
			return err
		}
	}
}

func (c *restClient) blockList(ctx context.Context, user int64) (targets []int64, err error) {
	var list []struct {
		ID int64 `json:"id"`
	}
	err = c.retry(ctx, func() error { return c.ask(ctx, "", user, http.MethodGet, "/api/chatting/blockedusers/", nil, &list) })
	for _, entry := range list {
		targets = append(targets, entry.ID)
	}
	return targets, err
}

func (c *restClient) pending(ctx context.Context, user int64) (rooms []string, err error) {
	var list struct {
		Invites []frame `json:"invites"`
	}
	err = c.retry(ctx, func() error { return c.ask(ctx, "", user, http.MethodGet, "/api/chatting/invites/", nil, &list) })
	for _, invite := range list.Invites {
		rooms = append(rooms, invite.Room)
	}
	return rooms, err
}

// isOnline asks the node at addr.
func (c *restClient) isOnline(ctx context.Context, addr string, user, of int64) (online bool, err error) {
	var said struct {
		Online bool `json:"is_online"`
	}
	err = c.retry(ctx, func() error {
		return c.ask(ctx, addr, user, http.MethodGet, "/api/chatting/is-online/?id="+strconv.FormatInt(of, 10), nil, &said)
	})
	return said.Online, err
}

func target(user int64) map[string]int64 { return map[string]int64{"target_id": user} }
