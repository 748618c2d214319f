package conversations

import (
	"context"

	"github.com/jmoiron/sqlx"

	"chatting/adapters/sqlstore/database"
	"chatting/application"
	"chatting/application/history"
)

// What the tests look at from outside: they need a whole store, which imports this package.

const (
	EntryColumns      = entryColumns
	InsertBlockChange = insertBlockChange
	EraseAtOnce       = eraseAtOnce
)

// The statements whose plans are looked at.
var (
	NewestOfLow, EarlierOfLow   = pageForms(ofLow.newest), pageForms(ofLow.earlier)
	NewestOfHigh, EarlierOfHigh = pageForms(ofHigh.newest), pageForms(ofHigh.earlier)
	ConversationsPage           = pageForms(conversationsPage)
)

// Forms are those of a pageStatement.
type Forms struct{ Plain, Bounded string }

func pageForms(s pageStatement) Forms { return Forms{s.plain, s.bounded} }

func KeepChange(ctx context.Context, tx *sqlx.Tx, change history.JudgedChange) error {
	return keepChange(ctx, tx, change)
}

func (h *History) Share() *database.Share { return h.share }

func (e *Erasures) Note(ctx context.Context, erasure application.Erasure) error {
	return e.note(ctx, erasure)
}

// The statements about what a user did.
const (
	SelectDone = selectDone
	CountDone  = countDone
)
