package past

import (
	"context"
	"maps"
	"slices"
	"time"

	"chatting/application/async"
	"chatting/domain"
)

// SharedErasures asks Erasures for all logins that wait. Call Wait once nobody logs in any more.
type SharedErasures struct {
	erasures Erasures
	rounds   *async.Rounds[[]domain.UserID, map[domain.UserID]map[int]int64]
}

const (
	// erasuresAtOnce bounds the logins that are asked for at once.
	erasuresAtOnce = 128
	// erasuresTimeout bounds a question.
	erasuresTimeout = 5 * time.Second
)

// NewSharedErasures returns erasures that are shared.
func NewSharedErasures(erasures Erasures) *SharedErasures {
	s := &SharedErasures{erasures: erasures}
	s.rounds = async.NewRounds(erasuresAtOnce, s.ask)
	return s
}

// ErasedBefore implements Erasures. The answer is for others, too, and must not be changed.
func (s *SharedErasures) ErasedBefore(ctx context.Context, users []domain.UserID) (map[domain.UserID]map[int]int64, error) {
	erased, _, err := s.rounds.Ask(ctx, users)
	if err != nil && ctx.Err() != nil {
		return nil, domain.WrapError(domain.CodeUnavailable, "The database does not answer.", err)
	}
	return erased, err
}

// Wait waits for the questions under way, if any.
func (s *SharedErasures) Wait() { s.rounds.Wait() }

func (s *SharedErasures) ask(logins [][]domain.UserID) (map[domain.UserID]map[int]int64, error) {
	users := make(map[domain.UserID]struct{})
	for _, of := range logins {
		for _, user := range of {
			users[user] = struct{}{}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), erasuresTimeout)
	defer cancel()
	return s.erasures.ErasedBefore(ctx, slices.Sorted(maps.Keys(users)))
}
