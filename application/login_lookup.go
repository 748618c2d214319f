package application

import (
	"context"
	"time"

	"chatting/application/async"
	"chatting/application/blocks"
	"chatting/domain"
)

// LoginFacts is what the database holds of a user that its login needs.
type LoginFacts struct {
	Known  bool           // as port.KnownUsers.Known
	Since  time.Time      // when the user was first seen; of one who is not known, now
	Blocks []blocks.Entry // as Store.Blocks
	// Friends is as FriendStore.Friends, empty where friends are not kept in the database.
	Friends []domain.UserID
	// Hiding are those of Friends who block the user. It is empty unless it was asked for.
	Hiding []domain.UserID
}

// LoginStore is the database as logins ask it: for many users at once.
type LoginStore interface {
	// LoginFacts returns the facts of each of users, in their order, all as of one moment after the call began. A user may be
	// named twice.
	LoginFacts(ctx context.Context, users []domain.UserID, hiding bool) ([]LoginFacts, error)
	// RememberAll is port.KnownUsers.Remember for all of users.
	RememberAll(ctx context.Context, users []domain.UserID) error
}

// LoginLookup asks a LoginStore for all logins that wait. Call Wait once nobody logs in any more.
type LoginLookup struct {
	store     LoginStore
	hiding    bool
	facts     *async.Rounds[domain.UserID, []loginAnswer]
	newcomers *async.Rounds[domain.UserID, struct{}]
}

// loginAnswer is what the store says of one user.
type loginAnswer struct {
	facts LoginFacts
	err   error
}

const (
	// loginsAtOnce bounds the users of one call of the store, and so what one answer holds and for how many it is waited.
	loginsAtOnce = 128
	// lookupTimeout bounds a call of the store.
	lookupTimeout = 5 * time.Second
)

// NewLoginLookup returns a lookup. hiding tells whether it is asked who hides.
func NewLoginLookup(store LoginStore, hiding bool) *LoginLookup {
	l := &LoginLookup{store: store, hiding: hiding}
	l.facts = async.NewRounds(loginsAtOnce, l.ask)
	l.newcomers = async.NewRounds(loginsAtOnce, l.remember)
	return l
}

// of returns the facts of a user as of some moment after the call began, and sees that the user is known.
func (l *LoginLookup) of(ctx context.Context, user domain.UserID) (LoginFacts, error) {
	answers, place, err := l.facts.Ask(ctx, user)
	if err != nil {
		return LoginFacts{}, unavailable(ctx, err)
	}
	facts, err := answers[place].facts, answers[place].err
	if err == nil && !facts.Known {
		facts.Since = time.Now()
		_, _, err = l.newcomers.Ask(ctx, user)
		err = unavailable(ctx, err)
	}
	return facts, err
}

// unavailable gives the end of ctx a code. Other errors have theirs.
func unavailable(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return domain.WrapError(domain.CodeUnavailable, "The database does not answer.", err)
}

// ask answers one round of questions. If the store fails at one user, the others have their facts: each is asked for alone.
func (l *LoginLookup) ask(users []domain.UserID) ([]loginAnswer, error) {
	all, err := l.load(users)
	answers := make([]loginAnswer, len(users))
	for i := range users {
		switch {
		case err == nil:
			answers[i].facts = all[i]
		case len(users) == 1 || domain.CodeOf(err) == domain.CodeUnavailable:
			answers[i].err = err
		default:
			one, err := l.load(users[i : i+1])
			if answers[i].err = err; err == nil {
				answers[i].facts = one[0]
			}
		}
	}
	return answers, nil
}

func (l *LoginLookup) load(users []domain.UserID) ([]LoginFacts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return l.store.LoginFacts(ctx, users, l.hiding)
}

func (l *LoginLookup) remember(users []domain.UserID) (struct{}, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	return struct{}{}, l.store.RememberAll(ctx, users)
}

// Wait waits for the questions under way, if any.
func (l *LoginLookup) Wait() {
	l.facts.Wait()
	l.newcomers.Wait()
}
