package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
)

// shorter are the times that this program shortens in its own build of the server, so that an hour shows what is otherwise seen after
// days. Nothing else is changed, and nothing of it is in the ordinary program.
var shorter = []struct {
	file string
	old  *regexp.Regexp
	new  string
}{
	{"adapters/embedded/protocol/policy.go", regexp.MustCompile(`SegmentBytes = 16 << 20`), "SegmentBytes = 1 << 20"}, // whole files are deleted
	{"adapters/kafka/topics.go", regexp.MustCompile(`retention: \d+ \* day`), "retention: 10 * time.Minute"},
	{"adapters/kafka/topics.go", regexp.MustCompile(`retention: SessionRetention`), "retention: 20 * time.Minute"},
	{"adapters/sqlstore/idempotency.go", regexp.MustCompile(`KeyLifetime = 24 \* time.Hour`), "KeyLifetime = 10 * time.Minute"},
	{"application/moderation/register.go", regexp.MustCompile(`Lately = 30 \* 24 \* time.Hour`), "Lately = 10 * time.Minute"},
	{"application/moderation/register.go", regexp.MustCompile(`forgetEvery = time.Hour`), "forgetEvery = time.Minute"},
	{"configs/chat.go", regexp.MustCompile(`duration\(&h.Retention, time.Hour,`), "duration(&h.Retention, time.Minute,"},
	{"domain/act.go", regexp.MustCompile(`RevocationLength = 365 \* 24 \* time.Hour`), "RevocationLength = 10 * time.Minute"},
}

// shortened returns the files with the shorter times, by their paths.
func shortened() (changed map[string]string, err error) {
	changed = make(map[string]string)
	for _, s := range shorter {
		path := filepath.Join(root(), s.file)
		if changed[path] == "" {
			source, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			changed[path] = string(source)
		}
		if !s.old.MatchString(changed[path]) {
			return nil, fmt.Errorf("%s does not say %q any more", s.file, s.old)
		}
		changed[path] = s.old.ReplaceAllString(changed[path], s.new)
	}
	return changed, nil
}

// root is the folder of the sources.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..")
}

// build builds the server with the shorter times.
func build(ctx context.Context, dir string) (program string, err error) {
	changed, err := shortened()
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, source := range changed {
		copied := filepath.Join(dir, "overlay-"+filepath.Base(path))
		if err := os.WriteFile(copied, []byte(source), 0o644); err != nil {
			return "", err
		}
		overlay.Replace[path] = copied
	}
	encoded, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	listed := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(listed, encoded, 0o644); err != nil {
		return "", err
	}
	program = filepath.Join(dir, "chatting")
	command := exec.CommandContext(ctx, "go", "build", "-overlay", listed, "-o", program, "./cmd/chatting")
	command.Dir = root()
	if said, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, said)
	}
	return program, nil
}
