package messaging_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"chatting/application/messaging"
	"chatting/application/notice"
	"chatting/domain"
	"chatting/test/porttest"
)

// hookOf says of every text what it says.
type hookOf struct {
	text string // in place of the message's; "" for its own
	err  error
}

func (h hookOf) Ask(_ context.Context, command messaging.ChatCommand) (domain.Text, error) {
	if h.err != nil || h.text == "" {
		return command.Text, h.err
	}
	return domain.NewText(h.text)
}

// sentBefore has the text of one message.
type sentBefore struct {
	id    domain.EventID
	text  string
	err   error
	asked int
}

func (s *sentBefore) SentText(_ context.Context, sender, target domain.UserID, id domain.EventID) (domain.Text, bool, error) {
	s.asked++
	if s.err != nil || id != s.id || sender != 1 || target != 2 {
		return domain.Text{}, false, s.err
	}
	text, err := domain.LoggedText(s.text)
	return text, true, err
}

var (
	errSaidNo   = domain.NewError(domain.CodeTextRefused, "No swearing.")
	errNoAnswer = domain.WrapError(domain.CodeUnavailable, "The text hook does not answer.", errors.New("connection refused"))
	errNoStore  = domain.NewError(domain.CodeUnavailable, "The database is away.")
)

const ownText = "the text of the message"

func TestWhatBecomesOfATextThatTheHookIsAskedAbout(t *testing.T) {
	const logged = "what is in the log &amp;"
	own := domain.MessageID(1, 2, "m1")
	for name, row := range map[string]struct {
		hook       hookOf
		open       bool
		name       domain.ClientMessageID
		sent       *sentBefore // nil: no history is kept
		want       string
		wantLogged bool
		wantCode   domain.Code
		asked      int // of the history
		warnings   int
	}{
		"passes":                        {hook: hookOf{}, name: "m1", sent: &sentBefore{id: own, text: logged}, want: ownText},
		"rewritten":                     {hook: hookOf{text: "other"}, want: "other"},
		"refused":                       {hook: hookOf{err: errSaidNo}, wantCode: domain.CodeTextRefused},
		"rewritten, not sent before":    {hook: hookOf{text: "other"}, name: "m2", sent: &sentBefore{id: own}, want: "other", asked: 1},
		"refused, not sent before":      {hook: hookOf{err: errSaidNo}, name: "m2", sent: &sentBefore{id: own}, wantCode: domain.CodeTextRefused, asked: 1},
		"rewritten, without a name":     {hook: hookOf{text: "other"}, sent: &sentBefore{id: own}, want: "other"},
		"rewritten, without a history":  {hook: hookOf{text: "other"}, name: "m1", want: "other"},
		"rewritten, sent before":        {hook: hookOf{text: "other"}, name: "m1", sent: &sentBefore{id: own, text: logged}, want: logged, wantLogged: true, asked: 1},
		"refused, sent before":          {hook: hookOf{err: errSaidNo}, name: "m1", sent: &sentBefore{id: own, text: logged}, want: logged, wantLogged: true, asked: 1},
		"rewritten, history away":       {hook: hookOf{text: "other"}, name: "m1", sent: &sentBefore{err: errNoStore}, wantCode: domain.CodeUnavailable, asked: 1},
		"refused, history away":         {hook: hookOf{err: errSaidNo}, name: "m1", sent: &sentBefore{err: errNoStore}, wantCode: domain.CodeUnavailable, asked: 1},
		"no answer, open":               {hook: hookOf{err: errNoAnswer}, open: true, want: ownText, warnings: 1},
		"no answer, closed":             {hook: hookOf{err: errNoAnswer}, wantCode: domain.CodeUnavailable, warnings: 1},
		"no answer, open, sent before":  {hook: hookOf{err: errNoAnswer}, open: true, name: "m1", sent: &sentBefore{id: own, text: logged}, want: logged, wantLogged: true, asked: 1, warnings: 1},
		"no answer, closed, sent":       {hook: hookOf{err: errNoAnswer}, name: "m1", sent: &sentBefore{id: own, text: logged}, want: logged, wantLogged: true, asked: 1, warnings: 1},
		"no answer, open, history away": {hook: hookOf{err: errNoAnswer}, open: true, name: "m1", sent: &sentBefore{err: errNoStore}, want: ownText, asked: 1, warnings: 1},
		"no answer, closed, all away":   {hook: hookOf{err: errNoAnswer}, name: "m1", sent: &sentBefore{err: errNoStore}, wantCode: domain.CodeUnavailable, asked: 1, warnings: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var lines bytes.Buffer
			check := &messaging.CheckText{Hook: row.hook, FailOpen: row.open, Notices: noticesTo(&lines)}
			if row.sent != nil {
				check.Sent = row.sent
			}
			command := messaging.ChatCommand{Sender: 1, Target: 2, Text: porttest.Words(t, ownText), ClientMessageID: row.name}
			got, err := check.Execute(t.Context(), command)
			if domain.CodeOf(err) != row.wantCode || got.Text.String() != row.want || got.Logged != row.wantLogged {
				t.Errorf("got %q, logged %t, %v", got.Text, got.Logged, err)
			}
			if err == nil && (got.Sender != 1 || got.Target != 2 || got.ClientMessageID != row.name) {
				t.Errorf("the command became %+v", got)
			}
			if row.sent != nil && row.sent.asked != row.asked {
				t.Errorf("the history was asked %d times", row.sent.asked)
			}
			if n := strings.Count(lines.String(), "level=WARN"); n != row.warnings || strings.Contains(lines.String(), ownText) {
				t.Errorf("the log has %s", lines.String())
			}
		})
	}
}

// The refusal's sentence is for the sender, as it is.
func TestTheSenderOfARefusedTextGetsTheReason(t *testing.T) {
	check := &messaging.CheckText{Hook: hookOf{err: errSaidNo}}
	_, err := check.Execute(t.Context(), messaging.ChatCommand{Sender: 1, Target: 2, Text: porttest.Words(t, ownText)})
	var classified *domain.Error
	if !errors.As(err, &classified) || classified.Message != "No swearing." {
		t.Errorf("got %v", err)
	}
}

// A connection that closes takes with it what waits for the hook: also where texts without an answer are sent.
func TestAMessageWhoseConnectionClosedMeanwhileIsNotSent(t *testing.T) {
	var lines bytes.Buffer
	check := &messaging.CheckText{Hook: hookOf{err: errNoAnswer}, FailOpen: true, Notices: noticesTo(&lines)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := check.Execute(ctx, messaging.ChatCommand{Sender: 1, Target: 2, Text: porttest.Words(t, ownText)})
	if domain.CodeOf(err) != domain.CodeUnavailable || got != (messaging.ChatCommand{}) || lines.Len() > 0 {
		t.Errorf("got %+v, %v, and the log has %q", got, err, lines.String())
	}
}

// A text of the log has its entities already.
func TestATextOfTheLogIsNotEscapedAgain(t *testing.T) {
	log := porttest.NewConversations(1)
	send := &messaging.SendMessage{Log: log, Online: porttest.OnlineSet{2: true}, Now: porttest.Local, NewID: porttest.Counter(), EscapeHTML: true}
	command := messaging.ChatCommand{Sender: 1, Target: 2, Text: porttest.Words(t, "&lt;"), ClientMessageID: "m1", Logged: true}
	if err := porttest.Answer(t, func(done func(error)) { send.Execute(command, done) }); err != nil {
		t.Fatal(err)
	}
	if got := porttest.Only(t, log); got.Body.(domain.ChatMessage).Text.String() != "&lt;" || got.ID != command.ID() {
		t.Errorf("the log has %v", got)
	}
}

func noticesTo(lines *bytes.Buffer) *notice.Log {
	return notice.NewLog(slog.New(slog.NewTextHandler(lines, nil)), time.Now)
}

// hookOutcomes is a messaging.TextObserver.
type hookOutcomes []string

func (o *hookOutcomes) Checked(outcome string, _ time.Duration) { *o = append(*o, outcome) }

func TestTheAnswersOfTheHookAreToldOf(t *testing.T) {
	text, err := domain.NewText(ownText)
	if err != nil {
		t.Fatal(err)
	}
	for want, hook := range map[string]hookOf{
		messaging.TextPassed: {}, messaging.TextRewritten: {text: "another"}, messaging.TextRefused: {err: errSaidNo},
		messaging.TextUnanswered: {err: errNoAnswer},
	} {
		var told hookOutcomes
		check := &messaging.CheckText{Hook: hook, Notices: porttest.QuietNotices(), Observer: &told}
		_, _ = check.Execute(t.Context(), messaging.ChatCommand{Sender: 1, Target: 2, Text: text})
		if len(told) != 1 || told[0] != want {
			t.Errorf("told of %q, want %q", told, want)
		}
	}
}
