package wire

import (
	"testing"
	"time"

	"chatting/domain"
)

func TestAFrameTellsWhatItIs(t *testing.T) {
	at := time.Unix(0, 0)
	event := func(body domain.Body) []byte {
		frame, err := EncodeEvent(domain.Event{ID: domain.DerivedID("test", "1"), Time: at, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	text, err := domain.NewText("x")
	if err != nil {
		t.Fatal(err)
	}
	for want, frame := range map[string][]byte{
		"chat_message":   event(domain.ChatMessage{From: 1, To: 2, Text: text}),
		"invite_game":    event(domain.GameInvite{From: 1, To: 2, Status: domain.InviteOpened}),
		"system_message": event(domain.SystemMessage{To: 2, Text: text}),
		"read_mark":      event(domain.ReadMark{Reader: 1, Partner: 2}),
		"send_status":    StatusFrame(1, domain.Transition{User: 2, Online: true, At: at}),
		"login":          LoginFrame(1, nil, at),
		"error":          ErrorFrame(1, domain.CodeBadFrame, "x", nil, "", at),
		"pong":           PongFrame(at),
		"token_renewed":  TokenRenewedFrame(1, at, at),
		"token_expiring": TokenExpiringFrame(1, at, at),
		"":               []byte(`{"type":"chat_messages"}`),
	} {
		if got := KindOf(frame); got != want {
			t.Errorf("%s is %q, want %q", frame, got, want)
		}
		if got := KindOf(AppendWithStringIDs(nil, frame)); got != want {
			t.Errorf("with string ids, %s is %q, want %q", frame, got, want)
		}
	}
	for _, frame := range []string{"", "{", `{"type":`, `{"message":"x","type":"pong"}`, "null"} {
		if got := KindOf([]byte(frame)); got != "" {
			t.Errorf("%s is %q", frame, got)
		}
	}
}

func TestToTellWhatAFrameIsAllocatesNothing(t *testing.T) {
	frame := ErrorFrame(1, domain.CodeBadFrame, "x", nil, "", time.Unix(0, 0))
	if n := testing.AllocsPerRun(100, func() { KindOf(frame) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
