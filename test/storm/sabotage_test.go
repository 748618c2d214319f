package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Each sabotage is a change that the compiler takes. That a run goes red with it is seen by hand: see docs/reliability.md.
func TestSabotagesFitTheServer(t *testing.T) {
	overlay := newOverlay(t.TempDir())
	for name, s := range sabotages {
		path, text, err := s.changed()
		if err == nil {
			err = overlay.replace(path, text)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	listed, err := overlay.write()
	if err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command("go", "build", "-overlay", listed, "chatting/application/delivery", "chatting/application/replay",
		"chatting/domain", "chatting/adapters/kafka/projector").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	if files, err := os.ReadDir(filepath.Dir(listed)); err != nil || len(files) != len(sabotages)+1 {
		t.Errorf("%d files are written: %v", len(files), err)
	}
}
