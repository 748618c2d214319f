package texthook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"chatting/adapters/netcause"
	"chatting/adapters/wire"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
)

const (
	// maxAnswerBytes bounds an answer: a text of the greatest length, each of its bytes written as six, and some more.
	maxAnswerBytes = 6*domain.MaxTextBytes + 4<<10
	// maxReasonBytes bounds what the sender of a refused message is told.
	maxReasonBytes = 512
	// defaultReason is what it is told if the hook gives no reason.
	defaultReason = "The message was not accepted."
)

// asked is the body of a question.
type asked struct {
	ID   string        `json:"id,omitempty"`
	From domain.UserID `json:"from"`
	To   domain.UserID `json:"to"`
	Text string        `json:"text"`
	At   string        `json:"at"`
}

// verdict is a good answer. Neither refused nor rewritten, the message passes as it is.
type verdict struct {
	refused, rewritten bool
	text               domain.Text // of a message that is rewritten
	reason             string      // for the sender of a refused one
}

// post asks one question. No error holds anything of the question or of the answer.
func (c *Client) post(ctx context.Context, command messaging.ChatCommand) (verdict, error) {
	body := asked{
		From: command.Sender, To: command.Target, Text: command.Text.String(), At: wire.Time(c.now()),
	}
	if id := command.ID(); id != (domain.EventID{}) {
		body.ID = id.String()
	}
	data, err := wire.Marshal(body)
	if err != nil {
		return verdict{}, errors.New("the question cannot be written as JSON")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(data))
	if err != nil {
		return verdict{}, errors.New("the question cannot be asked")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Content-Type", "application/json")
	// To ask twice does no harm. So net/http asks again if the hook closed a connection just then; it does not send this header.
	request.Header["Idempotency-Key"] = []string{}
	if span := port.TraceOf(ctx); span != "" {
		request.Header.Set("Traceparent", string(span))
	}
	if c.bearer != "" {
		request.Header.Set("Authorization", c.bearer)
	}
	response, err := c.asker.HTTP.Do(request)
	if err != nil {
		return verdict{}, netcause.Of(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return verdict{}, netcause.Of(err)
	case response.StatusCode != http.StatusOK:
		return verdict{}, fmt.Errorf("the answer has status %d", response.StatusCode)
	case len(answer) > maxAnswerBytes:
		return verdict{}, errors.New("the answer is too long")
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return verdict{}, errors.New("the answer is not of the type application/json")
	}
	return parseAnswer(answer)
}

// The fields of an answer.
const (
	fieldAction = iota
	fieldText
	fieldReason
)

var fieldNames = []string{fieldAction: "action", fieldText: "text", fieldReason: "reason"}

// parseAnswer reads an answer. Fields that the action does not use, and unknown ones, are ignored.
func parseAnswer(data []byte) (verdict, error) {
	if !utf8.Valid(data) {
		return verdict{}, errors.New("the answer is no UTF-8")
	}
	r := wire.Read(data)
	defer r.Close()
	values := make([][]byte, len(fieldNames))
	_, err := r.Object(func(name []byte) error { return r.Field(name, fieldNames, values) })
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return verdict{}, fmt.Errorf("the answer cannot be read: %w", err)
	}
	action, _ := wire.Text(values[fieldAction])
	switch string(action) {
	case "pass":
		return verdict{}, nil
	case "refuse":
		return verdict{refused: true, reason: readReason(values[fieldReason])}, nil
	case "rewrite":
		text, err := readText(values[fieldText])
		return verdict{rewritten: true, text: text}, err
	default:
		return verdict{}, errors.New("the answer has no action that is known")
	}
}

func readText(value []byte) (domain.Text, error) {
	text, ok := wire.Text(value)
	if !ok || wire.LoneSurrogate(value) != 0 {
		return domain.Text{}, errors.New("the answer rewrites the message, and its text is none")
	}
	valid, err := domain.NewText(string(text))
	if err != nil {
		return domain.Text{}, errors.New("the answer rewrites the message, and its text is too long")
	}
	return valid, nil
}

// readReason returns what the sender is told. A reason that cannot be shown is left out: it is a refusal all the same.
func readReason(value []byte) string {
	reason, ok := wire.Text(value)
	if !ok || len(reason) == 0 || len(reason) > maxReasonBytes || wire.LoneSurrogate(value) != 0 ||
		strings.ContainsFunc(string(reason), unicode.IsControl) {
		return defaultReason
	}
	return string(reason)
}
