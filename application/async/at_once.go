package async

import "sync"

// Background is how many appends, or calls of the database, a background part has under way.
const Background = 16

// AtOnce calls do for each item, limit at a time (less than 1 counts as 1) and in their order, until one call returns an error:
// then it begins no further one. It returns the first error, once all calls have returned.
func AtOnce[T any](limit int, items []T, do func(T) error) error {
	var (
		mu     sync.Mutex
		next   int
		failed error
		all    sync.WaitGroup
	)
	take := func() (item T, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || next == len(items) {
			return item, false
		}
		next++
		return items[next-1], true
	}
	for range min(max(limit, 1), len(items)) {
		all.Go(func() {
			for item, ok := take(); ok; item, ok = take() {
				if err := do(item); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}
