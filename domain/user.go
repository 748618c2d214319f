package domain

import "strconv"

// UserID names a user: a positive integer that the user-management service, or another issuer of tokens, gave out.
type UserID int64

// System is the sender of system messages. It is no user: nobody can log in as 0 or be addressed as 0.
const System UserID = 0

// NewUserID refuses what cannot be a user: zero and negative numbers.
func NewUserID(n int64) (UserID, error) {
	if n <= 0 {
		return 0, NewError(CodeBadTarget, "a user id is a positive integer")
	}
	return UserID(n), nil
}

// ParseUserID reads a user id in decimal, with nothing around it.
func ParseUserID(s string) (UserID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, NewError(CodeBadTarget, "a user id is a positive integer")
	}
	return NewUserID(n)
}

// String returns the id in decimal: the key of the user's presence and session records.
func (u UserID) String() string { return strconv.FormatInt(int64(u), 10) }
