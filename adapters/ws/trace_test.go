package ws

import (
	"slices"
	"sync"
	"testing"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/ws/throttle"
	"chatting/application/messaging"
	"chatting/application/port"
	"chatting/domain"
	"chatting/test/porttest"
)

// sentCommands take down the messages that are sent.
type sentCommands struct {
	Messages

	mu   sync.Mutex
	sent []messaging.ChatCommand
}

func (c *sentCommands) Execute(command messaging.ChatCommand, done func(error)) {
	c.mu.Lock()
	c.sent = append(c.sent, command)
	c.mu.Unlock()
	c.Messages.Execute(command, done)
}

func TestALoginIsPartOfItsUpgradeAndEachCommandIsATraceOfItsOwn(t *testing.T) {
	const (
		upgrade   = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		unsampled = domain.TraceParent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	)
	for _, of := range []domain.TraceParent{upgrade, unsampled, ""} {
		chat := newChat()
		f := serveOn(t, Options{}, chat, throttle.Rates{}, func(app *fiber.App) {
			app.Use(func(c *fiber.Ctx) error {
				c.SetUserContext(port.WithTrace(c.UserContext(), of))
				return c.Next()
			})
		})
		tracer := &porttest.Tracer{}
		sent := &sentCommands{Messages: f.deps.Messages}
		f.deps.Traces, f.deps.Messages = port.NewTraces(tracer), sent
		c := f.login(t, 7)
		for _, frame := range []string{
			`{"target_id":7,"message":"x"}`, `{"target_id":8,"message":"x"}`, `{"target_id":7,"type":"invite_game","status":"invite"}`,
			`{"type":"ping"}`, `{`,
		} {
			c.send(frame)
			c.next()
		}
		frames := []string{"frame chat_message", "frame chat_message refused: no_user_or_offline", "frame invite_game"}
		want := map[domain.TraceParent][]string{
			upgrade: append([]string{"…/login"}, frames...), unsampled: frames, "": append([]string{"login"}, frames...),
		}[of]
		eventually(t, "the end of the spans", func() bool { return slices.Equal(tracer.Told(), want) })
		if frame := tracer.Find("frame chat_message"); frame.Start.Link != of || frame.Start.Parent != "" || sent.sent[0].Trace != frame.Parent() {
			t.Errorf("a message of a connection in %q is in %+v, and sent in %q", of, frame.Start, sent.sent[0].Trace)
		}
	}
}

func TestWithoutTracesACommandIsPartOfNone(t *testing.T) {
	f := serve(t, Options{}, newChat())
	sent := &sentCommands{Messages: f.deps.Messages}
	f.deps.Messages = sent
	c := f.login(t, 7)
	c.send(`{"target_id":7,"message":"x"}`)
	c.next()
	if sent.sent[0].Trace != "" {
		t.Errorf("it is sent in %q", sent.sent[0].Trace)
	}
}
