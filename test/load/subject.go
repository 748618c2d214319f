package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// subject is what is measured: the pipe, or a build of the server with some settings.
type subject struct {
	name     string
	program  string
	args     []string
	settings []string
	login    []string // flags with which bench logs in
	isPipe   bool
	kafka    bool // on Kafka and PostgreSQL, not on embedded parts
	history  bool
	prepare  func(ctx context.Context) error
}

// kind is a subject of a run with one build.
type kind struct {
	name              string
	embedded, history bool
}

// The pipes: one that gathers what it writes, which is the floor, and one that writes each frame alone.
const (
	pipeName  = "pipe"
	naiveName = "naive"
)

var kinds = []kind{
	{name: "off"}, {name: "on", history: true}, {name: "embedded-off", embedded: true}, {name: "embedded-on", embedded: true, history: true},
}

func subjectNames() []string {
	names := []string{pipeName, naiveName}
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = time.Minute
)

// makeSubjects lists whom to measure. What they keep stays between their starts.
func (l *load) makeSubjects() {
	run := strings.ToLower(rand.Text()[:6])
	secret := filepath.Join(l.dir, "secret")
	key := rand.Text() + rand.Text()
	tokens := filepath.Join(l.dir, "tokens")
	for _, name := range []string{pipeName, naiveName} {
		if !slices.Contains(l.servers, name) {
			continue
		}
		topic := "load-" + run + "." + name
		l.subjects = append(l.subjects, &subject{
			name: name, program: l.pipe, isPipe: true, kafka: true, login: []string{"--tokens-file", tokens},
			args: []string{"-brokers", l.brokers, "-topic", topic, fmt.Sprintf("-naive=%t", name == naiveName)},
			prepare: func(ctx context.Context) error {
				var all strings.Builder
				for user := range max(2000, 2*l.users) {
					fmt.Fprintln(&all, user+1)
				}
				return errors.Join(os.WriteFile(tokens, []byte(all.String()), 0o600), l.createTopic(ctx, topic))
			},
		})
	}
	builds := map[string]string{"": l.program}
	if l.binary != "" {
		builds["before "] = l.binary
	}
	for _, k := range kinds {
		if !slices.Contains(l.servers, k.name) {
			continue
		}
		for _, build := range []string{"before ", ""} {
			if builds[build] == "" {
				continue
			}
			id := strings.ReplaceAll("load-"+run+"-"+build+k.name, " ", "-")
			s := &subject{
				name: build + k.name, program: builds[build], kafka: !k.embedded, history: k.history, login: []string{"--secret-file", secret},
				settings: []string{
					"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_JWT_SECRET=" + key, fmt.Sprintf("CHATTING_HISTORY_ENABLED=%t", k.history),
					"CHATTING_TOPIC_PREFIX=" + id, "CHATTING_DATA_DIR=" + filepath.Join(l.dir, id), "CHATTING_LIMIT_CONNECTIONS=0",
					"CHATTING_LIMIT_FRAMES_PER_SECOND=0", "CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0",
					"CHATTING_LIMIT_ADDRESS_HTTP_CONNECTIONS=0", "CHATTING_S2S_TOKEN=" + key,
				},
			}
			s.prepare = func(context.Context) error {
				if err := os.WriteFile(secret, []byte(key), 0o600); err != nil {
					return err
				}
				if k.embedded {
					s.settings = append(s.settings, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0")
					return nil
				}
				url, err := l.createDatabase(strings.ReplaceAll(id, "-", "_"))
				s.settings = append(s.settings, "CHATTING_KAFKA_BROKERS="+l.brokers, "CHATTING_DATABASE_URL="+url)
				return err
			}
			l.subjects = append(l.subjects, s)
		}
	}
}

// process is a subject that runs.
type process struct {
	*subject

	command *exec.Cmd
	socket  string        // URL
	ended   chan struct{} // closed when it has ended
	err     error         // how, once it has
}

// start starts a subject and waits until it is ready.
func (l *load) start(ctx context.Context, s *subject) (*process, error) {
	if s.prepare != nil {
		prepare := s.prepare
		s.prepare = nil
		if err := prepare(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	p := &process{subject: s, command: exec.Command(s.program, s.args...), ended: make(chan struct{})}
	p.command.Dir = l.dir
	p.command.Env = environ(s.settings)
	stderr, err := p.command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		p.watch(stderr, ready)
		p.err = p.command.Wait()
		close(p.ended)
	}()
	select {
	case p.socket = <-ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended: %w", s.name, p.err)
	case <-time.After(startTimeout):
		err = fmt.Errorf("%s is not ready after %s", s.name, startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, p.stop())
}

// environ is this process's environment without settings of the server, and with those given.
func environ(settings []string) []string {
	kept := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CHATTING_") })
	return append(kept, settings...)
}

// watch reads what a process logs: where it serves, and what goes wrong.
func (p *process) watch(stderr io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct {
			Level string `json:"level"`
			HTTP  string `json:"http"`
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.HTTP != "" {
			select {
			case ready <- "ws" + strings.TrimPrefix(line.HTTP, "http") + "/ws/chatting/":
			default:
			}
		}
		if line.Level != "INFO" && line.HTTP == "" {
			note("%s: %s", p.name, lines.Text())
		}
	}
}

// stop ends the process, and waits for its end.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	_ = p.command.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopTimeout)
}

// with runs do while a subject runs.
func (l *load) with(ctx context.Context, s *subject, do func(p *process) error) error {
	p, err := l.start(ctx, s)
	if err != nil {
		return err
	}
	return errors.Join(do(p), p.stop())
}

func (p *process) pid() int { return p.command.Process.Pid }
