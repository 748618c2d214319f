package past_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"chatting/application/past"
	"chatting/domain"
	"chatting/test/porttest"
)

// askedErasures is a past.Erasures that has erased everybody, once the gate opens.
type askedErasures struct {
	gate  chan struct{}
	asked [][]domain.UserID
	err   error
}

func (e *askedErasures) ErasedBefore(_ context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	<-e.gate
	e.asked = append(e.asked, users)
	erased := make(map[domain.UserID]map[int]int64)
	for _, user := range users {
		erased[user] = map[int]int64{0: int64(user)}
	}
	return erased, e.err
}

func TestLoginsShareTheQuestionWhoIsErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := &askedErasures{gate: make(chan struct{})}
		shared := past.NewSharedErasures(asked)
		var logins sync.WaitGroup
		login := func(users ...domain.UserID) {
			logins.Go(func() {
				erased, err := shared.ErasedBefore(t.Context(), users)
				if err != nil {
					t.Error(err)
				}
				for _, user := range users {
					if erased[user][0] != int64(user) {
						t.Errorf("of %d: %v", user, erased[user])
					}
				}
			})
			synctest.Wait()
		}
		login(1)
		login(2, 3)
		login(3, 5)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := shared.ErasedBefore(ctx, []domain.UserID{9})
		porttest.WantCode(t, "a login that ends", err, domain.CodeUnavailable)
		close(asked.gate)
		logins.Wait()
		shared.Wait()
		if len(asked.asked) != 2 || !slices.Equal(asked.asked[1], []domain.UserID{2, 3, 5}) {
			t.Errorf("asked of %v", asked.asked)
		}
		asked.err = errors.New("away")
		if _, err := shared.ErasedBefore(t.Context(), []domain.UserID{1}); !errors.Is(err, asked.err) {
			t.Errorf("of a database that is away: %v", err)
		}
		shared.Wait()
	})
}
