package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chatting/adapters/auth"
	"chatting/domain"
)

const (
	// most is how many users may be here at a time. Who comes meanwhile stays away, so that a slow machine is not flooded.
	most     = 600
	askLimit = 15 * time.Second
	// erasedAfter is how long after it came a user is erased, if it is.
	erasedAfter = 2 * time.Minute
)

// crowd are the users of an installation, and its platform.
type crowd struct {
	at   *installation
	rate float64
	turn atomic.Uint64
	last atomic.Int64 // the newest user

	erased int64 // the last user who was erased

	http http.Client
	// here counts sessions, done and failed what was tried, away who stayed away.
	here, done, failed, away atomic.Int64
	why                      sync.Map // reason → *atomic.Int64

	mu     sync.Mutex
	online []int64 // who is logged in
}

func newCrowd(at *installation, rate float64) *crowd {
	c := &crowd{at: at, rate: rate}
	// Each request comes from an address of its own, as those of many users do.
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		return anywhere().DialContext(ctx, network, address)
	}
	c.http = http.Client{Timeout: askLimit, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	return c
}

// anywhere dials from some address of loopback.
func anywhere() *net.Dialer {
	ip := net.IPv4(127, byte(rand.IntN(255)), byte(rand.IntN(255)), byte(1+rand.IntN(254)))
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: askLimit}
}

// run lets users come and go until ctx ends, and waits for those who are here.
func (c *crowd) run(ctx context.Context) {
	var users sync.WaitGroup
	defer users.Wait()
	users.Go(func() { c.everySo(ctx, time.Minute, func() { c.tell() }) })
	users.Go(func() { c.everySo(ctx, time.Second, func() { c.speak(ctx) }) })
	users.Go(func() { c.everySo(ctx, time.Second, func() { c.misspeak(ctx) }) })
	users.Go(func() { c.everySo(ctx, 3*time.Second, func() { c.moderate(ctx) }) })
	users.Go(func() { c.everySo(ctx, time.Second, func() { c.erase(ctx, &users) }) })
	ticker := time.NewTicker(time.Duration(float64(time.Second) / c.rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.here.Load() >= most {
			c.away.Add(1)
			continue
		}
		c.here.Add(1)
		u := &user{crowd: c, id: c.last.Add(1)}
		users.Go(func() {
			defer c.here.Add(-1)
			u.live(ctx)
		})
	}
}

func (c *crowd) everySo(ctx context.Context, every time.Duration, do func()) {
	for pause(ctx, every) {
		do()
	}
}

// pause waits for d, and tells whether ctx has not ended before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// count notes what became of something that was tried.
func (c *crowd) count(what string, err error) {
	if err == nil {
		c.done.Add(1)
		return
	}
	c.failed.Add(1)
	counted, _ := c.why.LoadOrStore(what+": "+reason(err), new(atomic.Int64))
	counted.(*atomic.Int64).Add(1)
}

// tell says how the crowd does.
func (c *crowd) tell() {
	reasons := make(map[string]int64)
	c.why.Range(func(key, value any) bool {
		reasons[key.(string)] = value.(*atomic.Int64).Load()
		return true
	})
	say("%s: %d users came, %d stayed away, %d are here; %d acts done, %d not: %v", c.at.name, c.last.Load(), c.away.Load(), c.here.Load(),
		c.done.Load(), c.failed.Load(), reasons)
}

// place is the address of the next node.
func (c *crowd) place() string { return c.at.nodes[c.turn.Add(1)%uint64(len(c.at.nodes))].http }

// recent is a user who is logged in, most often, or one of those who came lately.
func (c *crowd) recent() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.online) > 0 && rand.IntN(4) > 0 {
		return c.online[rand.IntN(len(c.online))]
	}
	return max(1, c.last.Load()-rand.Int64N(30))
}

// enter notes that a user is logged in, until leave is called.
func (c *crowd) enter(user int64) (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online = append(c.online, user)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.online, user)
		c.online = slices.Delete(c.online, i, i+1)
	}
}

// ask makes a request. The error says so if the answer is not a good one.
func (c *crowd) ask(ctx context.Context, method, path, token, key string, body any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.place()+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 4<<20)); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return statusError(response.StatusCode)
	}
	return nil
}

// statusError is an answer that is none of 2xx.
type statusError int

func (s statusError) Error() string { return fmt.Sprint("status ", int(s)) }

// speak sends a system message, each under a key of its own, and now and then once more.
func (c *crowd) speak(ctx context.Context) {
	key := fmt.Sprint("key-", rand.Uint64())
	body := map[string]any{"target_id": c.recent(), "message": "the platform says " + key}
	for range 1 + rand.IntN(2) {
		err := c.ask(ctx, http.MethodPost, "/s2sapi/system-message/", secret, key, body)
		c.count("system message", err)
	}
}

// misspeak writes to the topic of system messages: one to a user, one that nobody can read, one to nobody.
func (c *crowd) misspeak(ctx context.Context) {
	topic := c.at.prefix + ".system-messages"
	for _, value := range []string{
		fmt.Sprintf(`{"target_id":%d,"message":"from another program"}`, c.recent()),
		fmt.Sprintf("no JSON %d", rand.Uint64()),
		fmt.Sprintf(`{"target_id":%d,"message":"to nobody"}`, int64(1)<<40+rand.Int64N(1<<30)),
	} {
		c.at.log.Produce(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}, func(_ *kgo.Record, err error) { c.count("record", err) })
	}
}

// moderate does something to a user who is here, or was.
func (c *crowd) moderate(ctx context.Context) {
	act := []string{"mute", "ban", "end", "revoke"}[rand.IntN(4)]
	body := map[string]any{"act": act, "user_id": c.recent(), "reason": "for the soak", "actor": "soak"}
	if act == "mute" || act == "ban" {
		body["until"] = time.Now().Add(30 * time.Second).UTC().Format(time.RFC3339)
	}
	err := c.ask(ctx, http.MethodPost, "/s2sapi/moderation/", secret, "", body)
	c.count(act, err)
}

// erase erases every second user, some time after it came.
func (c *crowd) erase(ctx context.Context, erasing *sync.WaitGroup) {
	for due := c.last.Load() - int64(c.rate*erasedAfter.Seconds()); c.erased+2 <= due; {
		c.erased += 2
		path := fmt.Sprint("/s2sapi/users/?user_id=", c.erased)
		erasing.Go(func() {
			err := c.ask(ctx, http.MethodDelete, path, secret, "", nil)
			c.count("erase", err)
		})
	}
}

// mint makes a token that is good for an hour, by a secret.
func mint(user int64, by string) string {
	minted, err := auth.MintHS256([]byte(by), domain.UserID(user), time.Hour, time.Now(), auth.Required{})
	if err != nil {
		panic(err) // the secret and the user are good
	}
	return minted
}
