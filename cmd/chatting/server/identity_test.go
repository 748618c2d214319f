package server

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"

	"chatting/domain"
)

func TestTheStartLinesNameNodeAndIncarnation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines, stderr := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- serve(ctx, []string{
			"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
			"CHATTING_LOG_FORMAT=json",
		}, stderr)
		_ = stderr.Close()
	}()
	type line struct{ Msg, Node, Incarnation string }
	var starting, ready line
	decoder := json.NewDecoder(lines)
	for {
		var l line
		if err := decoder.Decode(&l); err != nil {
			break
		}
		switch {
		case l.Msg == "starting":
			starting = l
		case strings.HasPrefix(l.Msg, "ready"):
			ready = l
			cancel()
		}
	}
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, l := range []line{starting, ready} {
		if _, err := uuid.Parse(l.Incarnation); err != nil || l.Node == "" {
			t.Errorf("%+v names no node and incarnation", l)
		}
	}
	if starting.Incarnation != ready.Incarnation || starting.Node != ready.Node {
		t.Errorf("%+v and %+v are two nodes", starting, ready)
	}
}

func TestOnlyTheFirstIDIsTheIncarnation(t *testing.T) {
	own := newIdentity(configured(t))
	next := own.first(ids())
	if first := next(); first != domain.EventID(own.incarnation) {
		t.Errorf("the first id is %s, not the incarnation %s", first, own.incarnation)
	}
	if second, third := next(), next(); second == domain.EventID(own.incarnation) || second == third {
		t.Errorf("the next ids are %s and %s", second, third)
	}
}

func TestANodeIsNamedByItsPortUnlessTheSystemChoosesIt(t *testing.T) {
	for address, suffix := range map[string]string{"127.0.0.1:8123": ":8123", "127.0.0.1:0": ""} {
		name := newIdentity(configured(t, "CHATTING_HTTP_ADDR="+address)).node
		if _, port, found := strings.Cut(name, ":"); name == "" || found != (suffix != "") || found && ":"+port != suffix {
			t.Errorf("at %s it is %s", address, name)
		}
	}
}
