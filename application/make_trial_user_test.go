package application_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"chatting/application"
	"chatting/domain"
)

// countedUsers gives out 1, 2, 3, …
type countedUsers struct {
	last domain.UserID
	err  error
}

func (c *countedUsers) New(context.Context) (domain.UserID, error) {
	c.last++
	return c.last, c.err
}

func TestATrialUserIsNewAndHasAToken(t *testing.T) {
	m := &application.MakeTrialUser{Users: &countedUsers{}, NewToken: func(user domain.UserID, life time.Duration) (string, error) {
		return "token of " + user.String() + " for " + life.String(), nil
	}}
	for _, want := range []domain.UserID{1, 2} {
		if user, token, err := m.Execute(t.Context(), time.Minute); user != want || token != "token of "+want.String()+" for 1m0s" || err != nil {
			t.Errorf("the user is %d with %q, %v", user, token, err)
		}
	}
}

func TestNoTrialUserIsMadeWithoutAnIDOrAToken(t *testing.T) {
	broken := errors.New("broken")
	noToken := func(domain.UserID, time.Duration) (string, error) { return "", broken }
	for _, m := range []*application.MakeTrialUser{
		{Users: &countedUsers{err: broken}, NewToken: func(domain.UserID, time.Duration) (string, error) { return "x", nil }},
		{Users: &countedUsers{}, NewToken: noToken},
	} {
		if user, token, err := m.Execute(t.Context(), time.Minute); user != 0 || token != "" || !errors.Is(err, broken) {
			t.Errorf("the user is %d with %q, %v", user, token, err)
		}
	}
}
