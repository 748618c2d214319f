package sqlstore

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/domain"
)

const (
	// maxNewUser is the highest id that New gives out: people type these ids.
	maxNewUser domain.UserID = 999_999_999

	// insertNewUser inserts nothing if somebody else has just taken the id.
	insertNewUser = `
		INSERT INTO users (id, first_seen)
			SELECT COALESCE(MAX(id), 0) + 1, CAST($2 AS BIGINT) FROM users WHERE id <= $1 HAVING COALESCE(MAX(id), 0) < $1
		ON CONFLICT (id) DO NOTHING
		RETURNING id`
	selectLastNewUser = `SELECT COALESCE(MAX(id), 0) FROM users WHERE id <= $1`
)

// New implements application.NewUsers: the id is one more than the highest up to maxNewUser.
func (u *Users) New(ctx context.Context) (domain.UserID, error) {
	var user domain.UserID
	err := u.db.Write(ctx, "make a user", func(ctx context.Context, tx *sqlx.Tx) error {
		for {
			made, found, err := database.Find[domain.UserID](ctx, tx, insertNewUser, maxNewUser, u.now().UnixMilli())
			if err != nil || found {
				user = made
				return err
			}
			last, _, err := database.Find[domain.UserID](ctx, tx, selectLastNewUser, maxNewUser)
			switch {
			case err != nil:
				return err
			case last >= maxNewUser:
				return domain.NewError(domain.CodeLimit, "No user id is left.")
			}
		}
	})
	if err != nil {
		return 0, err
	}
	u.known.Add(user, u.now())
	return user, nil
}
