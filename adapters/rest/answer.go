package rest

import (
	"net/http"

	"chatting/adapters/rest/exchange"
	"chatting/adapters/wire"
	"chatting/domain"
)

// statuses maps every code of the domain to an HTTP status. Handlers answer the codes for which the contract has a body of
// its own before the error comes here.
var statuses = map[domain.Code]int{
	domain.CodeBadJSON:         http.StatusBadRequest,
	domain.CodeBadFrame:        http.StatusBadRequest,
	domain.CodeBadTarget:       http.StatusBadRequest,
	domain.CodeBadMessage:      http.StatusBadRequest,
	domain.CodeTooLong:         http.StatusBadRequest,
	domain.CodeSelf:            http.StatusBadRequest,
	domain.CodeNotBlocked:      http.StatusBadRequest,
	domain.CodeNotWatched:      http.StatusBadRequest,
	domain.CodeLimit:           http.StatusBadRequest,
	domain.CodeBadAct:          http.StatusBadRequest,
	domain.CodeNotInForce:      http.StatusBadRequest,
	domain.CodeMuted:           http.StatusForbidden,
	domain.CodeBanned:          http.StatusForbidden,
	domain.CodeTextRefused:     http.StatusForbidden,
	domain.CodeUnauthenticated: http.StatusUnauthorized,
	domain.CodeNoUserOrOffline: http.StatusNotFound,
	domain.CodeUnknownUser:     http.StatusNotFound,
	domain.CodeUnknownMessage:  http.StatusNotFound,
	domain.CodeInviteEnded:     http.StatusConflict,
	domain.CodeNotInvited:      http.StatusForbidden,
	domain.CodeKeyInProgress:   http.StatusConflict,
	domain.CodeKeyReused:       http.StatusUnprocessableEntity,
	domain.CodeMailboxFull:     http.StatusTooManyRequests,
	domain.CodeRateLimited:     http.StatusTooManyRequests,
	domain.CodeUnavailable:     http.StatusServiceUnavailable,
	domain.CodeUnconfirmed:     http.StatusServiceUnavailable,
	domain.CodeInternal:        http.StatusInternalServerError,
}

// refusedTarget returns the 400 for a wrong target.
func refusedTarget(sentence string) *exchange.Answer {
	return exchange.Refused(wire.TargetField, sentence)
}
