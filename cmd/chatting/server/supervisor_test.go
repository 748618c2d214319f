package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/fx"

	"chatting/configs"
	"chatting/test/harness"
)

// supervised runs one part and returns what was logged, and what the process ended with, if it did.
func supervised(t *testing.T, begin func(ctx context.Context, s *supervisor)) (logged string, died error) {
	t.Helper()
	var log strings.Builder
	times := 0
	s := &supervisor{logger: slog.New(slog.NewTextHandler(&log, nil)), fail: func(err error) { died = err; times++ }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin(ctx, s)
	s.wait()
	if times > 1 {
		t.Errorf("the process was ended %d times", times)
	}
	return log.String(), died
}

func TestAPartThatEndsUntoldEndsTheProcess(t *testing.T) {
	broken := errors.New("it broke")
	closed := make(chan struct{})
	close(closed)
	for name, c := range map[string]struct {
		begin func(ctx context.Context, s *supervisor)
		want  string
	}{
		"with an error": {func(ctx context.Context, s *supervisor) {
			s.start(ctx, part("the tail", func(context.Context) error { return broken }))
		}, "the tail: it broke"},
		"without one": {func(ctx context.Context, s *supervisor) {
			s.start(ctx, part("the tail", func(context.Context) error { return nil }))
		}, "the tail: it ended although nobody stopped it"},
		"a part that cannot fail": {func(ctx context.Context, s *supervisor) {
			s.start(ctx, endless("heartbeats", func(context.Context) {}))
		}, "heartbeats: it ended although nobody stopped it"},
		"a part of an adapter": {func(ctx context.Context, s *supervisor) {
			s.start(ctx, watched("appending", func() <-chan struct{} { return closed }))
		}, "appending: it ended although nobody stopped it"},
		"work that fails": {func(ctx context.Context, s *supervisor) {
			s.start(ctx, step{run: func(context.Context) error { return broken }, mayEnd: true})
		}, "it broke"},
	} {
		t.Run(name, func(t *testing.T) {
			_, died := supervised(t, c.begin)
			if died == nil || died.Error() != c.want {
				t.Errorf("the process ended with %v, want %s", died, c.want)
			}
		})
	}
}

func TestOnlyTheFirstPartThatEndsIsTheReason(t *testing.T) {
	logged, died := supervised(t, func(ctx context.Context, s *supervisor) {
		s.start(ctx, endless("first", func(context.Context) {}))
		s.wait()
		s.start(ctx, endless("second", func(context.Context) {}))
	})
	if died == nil || !strings.HasPrefix(died.Error(), "first: ") || !strings.Contains(logged, "second: ") {
		t.Errorf("the process ended with %v, and the log says %s", died, logged)
	}
}

func TestAPartMayEndOnceItIsTold(t *testing.T) {
	untilDone := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, begin := range map[string]func(ctx context.Context, s *supervisor){
		"with its context": func(ctx context.Context, s *supervisor) {
			ctx, cancel := context.WithCancel(ctx)
			s.start(ctx, part("the tail", untilDone))
			s.start(ctx, step{run: untilDone, mayEnd: true})
			s.start(ctx, watched("appending", func() <-chan struct{} { return make(chan struct{}) }))
			cancel()
		},
		"while the node leaves": func(ctx context.Context, s *supervisor) {
			s.stopping()
			s.start(ctx, endless("serving", func(context.Context) {}))
		},
		"work that is done": func(ctx context.Context, s *supervisor) {
			s.start(ctx, step{run: func(context.Context) error { return nil }, mayEnd: true})
		},
		"a part that there is not": func(ctx context.Context, s *supervisor) {
			s.start(ctx, only(false, endless("keys", func(context.Context) {})))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if logged, died := supervised(t, begin); died != nil || logged != "" {
				t.Errorf("the process ended with %v, and the log says %q", died, logged)
			}
		})
	}
}

func TestAPartThatFailsWhileTheNodeLeavesIsLogged(t *testing.T) {
	logged, died := supervised(t, func(ctx context.Context, s *supervisor) {
		s.stopping()
		s.start(ctx, part("the tail", func(context.Context) error { return errors.New("it broke") }))
	})
	if died != nil || !strings.Contains(logged, "the tail: it broke") {
		t.Errorf("the process ended with %v, and the log says %q", died, logged)
	}
}

// A goroutine that the node starts beside the supervisor could end without a word.
func TestTheNodeStartsNoGoroutineBesideItsSupervisor(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("the files of the server: %v, %v", files, err)
	}
	starts := regexp.MustCompile(`^\s*go |\.Go\(|errgroup|AfterFunc`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "supervisor.go" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(source), "\n") {
			if !strings.HasPrefix(strings.TrimSpace(line), "//") && starts.MatchString(line) {
				t.Errorf("%s: %s", file, strings.TrimSpace(line))
			}
		}
	}
}

// It also holds for goroutines that an adapter owns: here those that append to a topic.
func TestTheProcessEndsWithAPartOfAnAdapter(t *testing.T) {
	cfg, err := configs.Load(configs.Sources{Environ: []string{
		"CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:0", "CHATTING_DATA_DIR=" + t.TempDir(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	server := fx.New(
		graphOf(cfg, slog.New(slog.NewTextHandler(&log, nil))), fx.NopLogger,
		fx.Invoke(func(lc fx.Lifecycle, appenders appenders, _ net.Listener) {
			lc.Append(fx.StartHook(appenders.presence.Close))
		}),
	)
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), harness.FrameWait)
	defer cancel()
	var signal fx.ShutdownSignal
	select {
	case signal = <-server.Wait():
	case <-ctx.Done():
		t.Error("the process goes on")
	}
	if err := server.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if want := "appending to chatting.presence: it ended although nobody stopped it"; signal.ExitCode != 1 || !strings.Contains(log.String(), want) {
		t.Errorf("exit code %d, and the log says %s", signal.ExitCode, log.String())
	}
}

// What has to run all the time and does not would be missed only when it is needed, as after an append that failed.
func TestTheNodeStartsEachPartThatRuns(t *testing.T) {
	source, err := os.ReadFile("life.go")
	if err != nil {
		t.Fatal(err)
	}
	runs := 0
	var look func(path string, parts reflect.Type)
	look = func(path string, parts reflect.Type) {
		for i := range parts.NumField() {
			part := parts.Field(i)
			if part.Type.Kind() == reflect.Struct && part.Type.PkgPath() == reflect.TypeFor[nodeParts]().PkgPath() && !part.Anonymous {
				look(path+part.Name+".", part.Type)
				continue
			}
			if _, has := part.Type.MethodByName("Run"); !has {
				continue
			}
			runs++
			started := regexp.MustCompile(`(?m)^\s*(only\([\w. !=]+, )?(endless|part)\("[^"]+", ` + regexp.QuoteMeta(path+part.Name) + `\.Run\)`)
			if !started.Match(source) {
				t.Errorf("%s%s has a method Run that the node does not start", path, part.Name)
			}
		}
	}
	look("p.", reflect.TypeFor[nodeParts]())
	if runs < 10 {
		t.Errorf("only %d parts run", runs)
	}
}

// What a constructor opened and nobody closes would be missed by whoever runs a server within another program, as tests do.
func TestTheNodeClosesEachPartThatIsOpen(t *testing.T) {
	source, err := os.ReadFile("life.go")
	if err != nil {
		t.Fatal(err)
	}
	own, open := reflect.TypeFor[nodeParts]().PkgPath(), 0
	var look func(path string, parts reflect.Type)
	look = func(path string, parts reflect.Type) {
		for i := range parts.NumField() {
			part := parts.Field(i)
			isOpen := false
			for _, end := range []string{"Close", "Wait"} {
				if _, has := part.Type.MethodByName(end); !has {
					continue
				}
				isOpen, open = true, open+1
				if call := path + part.Name + "." + end; !regexp.MustCompile(regexp.QuoteMeta(call) + `\b`).Match(source) {
					t.Errorf("the node does not call %s", call)
				}
			}
			if !isOpen && part.Type.Kind() == reflect.Struct && part.Type.PkgPath() == own && !part.Anonymous { // else it closes its own
				look(path+part.Name+".", part.Type)
			}
		}
	}
	look("p.", reflect.TypeFor[nodeParts]())
	if open < 10 {
		t.Errorf("only %d parts are open", open)
	}
}
