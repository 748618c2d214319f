package kafka

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatting/domain"
)

// Events of every form that was ever released are still in somebody's log, and stay readable.
func TestReleasedEventsAreUnderstood(t *testing.T) {
	files, err := filepath.Glob("../../docs/schemas/examples/*/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	read := 0
	for _, file := range files {
		value, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Type string
			Data struct {
				From int64 `json:"from_id"`
				To   int64 `json:"to_id"`
			}
		}
		if err := json.Unmarshal(value, &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if e.Type == presenceType || e.Type == inspectionType || !strings.HasPrefix(e.Type, typePrefix) { // nothing in this server reads those back
			continue
		}
		if e.Type == moderationType {
			if act, err := DecodeAct([]byte("201"), value); err != nil || act.User != 201 || act.Actor != "alice" {
				t.Errorf("%s: %+v, %v", file, act, err)
			}
			continue
		}
		if e.Type == announcementType { // one to a list is for the audit alone
			a, err := DecodeAnnouncement([]byte("0"), value)
			if toAll := strings.Contains(string(value), `"to"`); toAll != (err == nil) || toAll && a.Actor != "alice" {
				t.Errorf("%s: %+v, %v", file, a, err)
			}
			continue
		}
		event, frame, err := DecodeEvent(domain.Between(domain.UserID(e.Data.From), domain.UserID(e.Data.To)), value)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if _, hidden := event.Body.(domain.BlockChanged); hidden != (frame == nil) {
			t.Errorf("%s: hidden %v, frame %s", file, hidden, frame)
		}
		read++
	}
	if read == 0 {
		t.Error("no example was read")
	}
}
