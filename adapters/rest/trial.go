package rest

import (
	"context"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/origins"
	"chatting/adapters/rest/exchange"
	"chatting/application"
	"chatting/domain"
)

// trialUsers makes users for whoever tries a trial server in a browser on its machine. Anybody else is told that the path does
// not exist.
type trialUsers struct {
	use     *application.MakeTrialUser
	rate    TrialRate // nil for no bound
	timeout time.Duration
	log     *requestLog
}

// TrialRate bounds how many trial users are made.
type TrialRate interface {
	// Take counts n users and returns 0. If that is too many now, it counts nothing and returns after how long it is not.
	Take(n int) time.Duration
}

// trialUser is the answer: a user whom nobody was before.
type trialUser struct {
	User  domain.UserID `json:"user_id"`
	Token string        `json:"token"`
}

func (t trialUsers) post(c *fiber.Ctx) error {
	if elsewhere := notLocalPage(c); elsewhere != "" {
		t.log.Warn("no trial user was made: only this machine may ask for one", t.log.client(c), slog.String("reason", elsewhere))
		return exchange.Problem(http.StatusNotFound, "Not found.")
	}
	// A page of another origin cannot send this type unasked, whatever its browser says of where it comes from.
	if mediaType, _, _ := mime.ParseMediaType(string(c.Request().Header.ContentType())); mediaType != exchange.JSONType {
		return exchange.Problem(http.StatusUnsupportedMediaType, "The Content-Type must be application/json.")
	}
	life, err := tokenLife(c)
	if err != nil {
		return err
	}
	if t.rate != nil {
		if wait := t.rate.Take(1); wait > 0 {
			return domain.NewRateLimited("Too many trial users.", wait)
		}
	}
	ctx, cancel := context.WithTimeout(c.UserContext(), t.timeout)
	defer cancel()
	user, token, err := t.use.Execute(ctx, life)
	if err != nil {
		return err
	}
	return exchange.Send(c, http.StatusCreated, trialUser{User: user, Token: token})
}

// expiresInField is for how many seconds the token is wanted. A short one tries out what a client does when it expires.
const expiresInField = "expires_in"

// tokenLife reads expiresInField. Its error is an answer.
func tokenLife(c *fiber.Ctx) (time.Duration, error) {
	fields, err := exchange.ReadFields(c)
	if err != nil {
		return 0, err
	}
	wanted := fields[expiresInField]
	if wanted.IsAbsent() {
		return application.MaxTrialTokenLife, nil
	}
	seconds, complaint := wanted.AsInteger()
	most := int64(application.MaxTrialTokenLife / time.Second)
	if complaint == "" && (seconds < 1 || seconds > most) {
		complaint = fmt.Sprintf("Must be a number from 1 to %d.", most)
	}
	if complaint != "" {
		return 0, exchange.Refused(expiresInField, complaint)
	}
	return time.Duration(seconds) * time.Second, nil
}

// notLocalPage is notLocal, but for the server's own page in a browser on this machine, which may ask, too. A page of another
// site may lead its host name here, so the name in Host is looked at as well as the page's origin.
func notLocalPage(c *fiber.Ctx) string {
	if elsewhere := notLocalCall(c, signOfProxies); elsewhere != "" {
		return elsewhere
	}
	header := &c.Request().Header
	switch sent := originHeaders(c); {
	case len(sent) > 1, len(sent) == 1 && !origins.IsOwn(string(sent[0]), string(header.Host())):
		return "it is from a page of another origin"
	}
	for _, site := range header.PeekAll("Sec-Fetch-Site") {
		if site := string(site); site != "same-origin" && site != "none" {
			return "it is from a page of another site"
		}
	}
	return ""
}
