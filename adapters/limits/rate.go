// Package limits bounds how often something may happen for each user, or for each address.
package limits

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxKeys is how many keys one Rate keeps at most, some 200 bytes each.
const maxKeys = 1 << 16

// Rate bounds how much each key may take in a second. It keeps a token bucket for each key that took something lately, and
// drops a key once its bucket is full again: a full bucket and none are the same. So what it holds is what was used in the
// last seconds.
//
// It holds at most maxKeys. Beyond that it drops the key that was not used for the longest time, which then begins with a
// full bucket. This does not help to get around the rate: to have its own bucket dropped before it is full, a client needs
// maxKeys other keys within the seconds that a bucket takes to fill, and each of those has a rate of its own.
//
// A nil *Rate bounds nothing. A Rate is safe for concurrent use.
type Rate[K comparable] struct {
	limit rate.Limit
	burst int
	fills time.Duration // how long an empty bucket takes to be full
	now   func() time.Time

	refused atomic.Uint64

	mu      sync.Mutex
	buckets *simplelru.LRU[K, *bucket]
}

// bucket is the state of one key.
type bucket struct {
	limiter *rate.Limiter
	used    time.Time // when it was last asked
}

// New returns a Rate that lets each key take perSecond for long, and burst at once; nil, which bounds nothing, if perSecond
// is 0.
func New[K comparable](perSecond float64, burst int, now func() time.Time) *Rate[K] {
	if perSecond <= 0 {
		return nil
	}
	return newRate[K](perSecond, burst, maxKeys, now)
}

// PerSecond returns a Rate for an option: perSecond for long and twice as much at once; nil, which bounds nothing, if
// perSecond is 0.
func PerSecond[K comparable](perSecond int) *Rate[K] {
	return New[K](float64(perSecond), 2*perSecond, time.Now)
}

func newRate[K comparable](perSecond float64, burst, keys int, now func() time.Time) *Rate[K] {
	buckets, err := simplelru.NewLRU[K, *bucket](keys, nil)
	if err != nil {
		panic(err) // keys is not positive
	}
	return &Rate[K]{
		limit: rate.Limit(perSecond), burst: burst, now: now, buckets: buckets,
		fills: time.Duration(math.Ceil(float64(burst) / perSecond * float64(time.Second))),
	}
}

// Take takes n for key and returns 0. If key may not take that much now, it takes nothing and returns after how long it may,
// if nobody takes anything of key's meanwhile. More than fits into a bucket counts as a full one.
func (r *Rate[K]) Take(key K, n int) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.dropFull(now)
	b, known := r.buckets.Get(key)
	if !known {
		b = &bucket{limiter: rate.NewLimiter(r.limit, r.burst)}
		r.buckets.Add(key, b)
	}
	b.used = now
	n = min(n, r.burst)
	if b.limiter.AllowN(now, n) {
		return 0
	}
	return r.wait(b, now, n)
}

// Wait returns after how long key may take n; 0 if it may now. It takes nothing.
func (r *Rate[K]) Wait(key K, n int) time.Duration {
	if r == nil {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b, known := r.buckets.Peek(key)
	if !known {
		return 0
	}
	return r.wait(b, r.now(), min(n, r.burst))
}

func (r *Rate[K]) wait(b *bucket, now time.Time, n int) time.Duration {
	missing := float64(n) - b.limiter.TokensAt(now)
	if missing <= 0 {
		return 0
	}
	r.refused.Add(1)
	return time.Duration(math.Ceil(missing / float64(r.limit) * float64(time.Second)))
}

// Refused returns how often Take or Wait told somebody to wait.
func (r *Rate[K]) Refused() uint64 {
	if r == nil {
		return 0
	}
	return r.refused.Load()
}

// dropFull drops the keys whose buckets are full, by the time since they were last asked.
func (r *Rate[K]) dropFull(now time.Time) {
	for {
		_, oldest, ok := r.buckets.GetOldest()
		if !ok || now.Sub(oldest.used) < r.fills {
			return
		}
		r.buckets.RemoveOldest()
	}
}
