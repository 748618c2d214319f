package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"chatting/test/storm/site"
)

// Each sabotage is a change that the compiler takes. That a run goes red with it is seen by hand: see docs/reliability.md.
func TestSabotagesFitTheServer(t *testing.T) {
	overlay := site.NewOverlay(t.TempDir())
	for name := range sabotages {
		changed, err := sabotages.changed(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for path, text := range changed {
			if err := overlay.Put(path, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	listed, err := overlay.Write()
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
