// Package web opens the page of a real server in Chromium and does there what people do. test/web/install installs what this needs,
// and prints the variables that lead here.
package web

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// stepLimit is how long one step in the browser may take until it counts as stuck.
const stepLimit = 2 * harness.FrameWait

// browser is a Chromium process. Each window of it has a profile of its own, as that of another person.
type browser struct {
	t        *testing.T
	ctx      context.Context
	pictures string
}

// startBrowser starts Chromium, or skips the test where there is none.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	program := os.Getenv("CHATTING_TEST_CHROMIUM")
	if program == "" {
		t.Skip("CHATTING_TEST_CHROMIUM is not set: this needs Chromium (test/web/install)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(stepLimit),
		// Whatever asks for another host finds none.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		// Windows that nobody looks at are as fast as the others.
		chromedp.Flag("disable-background-timer-throttling", true), chromedp.Flag("disable-renderer-backgrounding", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("force-color-profile", "srgb"),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(end)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting %s: %v", program, err)
	}
	pictures := os.Getenv("CHATTING_TEST_PICTURES")
	if pictures == "" {
		pictures = t.TempDir()
	}
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		t.Fatal(err)
	}
	return &browser{t, ctx, pictures}
}

// window is one window with one user.
type window struct {
	b    *browser
	name string
	ctx  context.Context
	// hosts are those that the page may make requests to.
	hosts []string
	// outages tells that the server may be away: the browser then says so on the console.
	outages bool

	mu       sync.Mutex
	troubles []string // what the console said, and requests to other hosts
	frames   []string // the latest ones, for a test that fails
}

// keptFrames is how many frames a window keeps.
const keptFrames = 40

func (w *window) frame(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = append(w.frames, text)
	w.frames = w.frames[max(0, len(w.frames)-keptFrames):]
}

// open opens a window of a person of their own at a URL. What goes wrong in it fails the test at its end. The page may make
// requests to its own host and to others that are named.
func (b *browser) open(name, address string, others ...string) *window {
	b.t.Helper()
	home, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	w := &window{b: b, name: name, hosts: append(others, home.Host)}
	ctx, end := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(w.listen))
	b.t.Cleanup(end)
	w.ctx = ctx
	if err := chromedp.Do(ctx); err != nil { // without a limit: the window lives as long as its first action may take
		b.t.Fatal(err)
	}
	w.run("opening the page", command(network.Enable, network.EnableParams{}), command(cdplog.Enable, cdp.Empty{}),
		command(runtime.Enable, cdp.Empty{}), chromedp.EmulateViewport(1180, 780), chromedp.Navigate(address))
	b.t.Cleanup(func() {
		if b.t.Failed() {
			w.picture("failed-" + name)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if b.t.Failed() {
			b.t.Logf("the latest frames of %s:\n%s", name, strings.Join(w.frames, "\n"))
		}
		for _, trouble := range w.troubles {
			b.t.Errorf("%s: %s", name, trouble)
		}
	})
	return w
}

// step is an action that returns nothing.
type step = chromedp.Action[chromedp.Void]

// command is the step that carries out a command of the browser's protocol.
func command[P, R any](c cdp.Command[P, R], parameters P) step {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, parameters)
		return err
	})
}

// listen notes what must not happen.
func (w *window) listen(event any) {
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		w.note("an exception: " + exception(event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning || event.Type == runtime.ConsoleAPICalledTypeAssert {
			w.note(fmt.Sprintf("the console: %s", event.Args[0].Value))
		}
	case *cdplog.EventEntryAdded:
		lost := event.Entry.Source == cdplog.EntrySourceNetwork || strings.Contains(event.Entry.Text, "WebSocket connection")
		if (event.Entry.Level == cdplog.EntryLevelError || event.Entry.Level == cdplog.EntryLevelWarning) && (!lost || !w.mayLoseServer()) {
			w.note(fmt.Sprintf("the console: %s %s", event.Entry.Text, event.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		w.noteOtherHost(event.Request.URL)
	case *network.EventWebSocketFrameSent:
		w.frame("→ " + string(event.Response.PayloadData))
	case *network.EventWebSocketFrameReceived:
		w.frame("← " + string(event.Response.PayloadData))
	case *network.EventWebSocketCreated:
		w.noteOtherHost(event.URL)
	}
}

func (w *window) noteOtherHost(address string) {
	if asked, err := url.Parse(address); err != nil || !slices.Contains(w.hosts, asked.Host) && asked.Scheme != "data" && asked.Scheme != "blob" {
		w.note("a request to another host: " + address)
	}
}

func (w *window) note(trouble string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.troubles = append(w.troubles, trouble)
}

func (w *window) mayLoseServer() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outages
}

// serverMayBeAway allows the browser to say on the console that it cannot reach the server.
func (w *window) serverMayBeAway() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outages = true
}

// run does some actions, and fails the test if they do not end well. what is their description.
func (w *window) run(what string, actions ...step) {
	w.b.t.Helper()
	if err := w.try(actions...); err != nil {
		w.b.t.Fatalf("%s: %s: %v\n%s", w.name, what, err, w.text("body"))
	}
}

func (w *window) try(actions ...step) error {
	ctx, cancel := context.WithTimeout(w.ctx, stepLimit)
	defer cancel()
	err := chromedp.Do(ctx, actions...)
	if ctx.Err() != nil && err != nil {
		return errors.Join(errors.New("it took too long"), err)
	}
	return err
}

// eval returns what an expression comes to, or what it promises.
func eval[T any](w *window, expression string) T {
	w.b.t.Helper()
	result, err := tryEval[T](w, expression)
	if err != nil {
		w.b.t.Fatalf("%s: %s: %v", w.name, expression, err)
	}
	return result
}

func tryEval[T any](w *window, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(w.ctx, stepLimit)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// until waits until an expression is true.
func (w *window) until(what, expression string) {
	w.b.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepLimit)
	defer cancel()
	for {
		holds, err := tryEval[bool](w, "Promise.resolve("+expression+").then(Boolean)")
		if err == nil && holds {
			return
		}
		if ctx.Err() != nil {
			w.picture("stuck-" + w.name)
			w.b.t.Fatalf("%s waited in vain: %s (%v)\n%s", w.name, what, err, w.text("body"))
		}
		harness.Pause(ctx, 20*time.Millisecond)
	}
}

// text returns what an element shows.
func (w *window) text(selector string) string {
	shown, _ := tryEval[string](w, fmt.Sprintf(`document.querySelector(%q)?.innerText ?? ""`, selector))
	return shown
}

// click clicks on an element that is seen, as a mouse does.
func (w *window) click(selector string) {
	w.b.t.Helper()
	w.run("clicking "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// picture keeps what the window shows.
func (w *window) picture(name string) {
	ctx, cancel := context.WithTimeout(w.ctx, stepLimit)
	defer cancel()
	taken, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: new(int64(80))})
	if err != nil {
		w.b.t.Logf("no picture of %s: %v", w.name, err)
		return
	}
	path := filepath.Join(w.b.pictures, name+".webp")
	if err := os.WriteFile(path, taken.Data, 0o644); err != nil {
		w.b.t.Error(err)
	}
}

// look makes the window one of a size, light or dark. A phone has a touch screen.
func (w *window) look(width, height int64, scheme string) {
	w.b.t.Helper()
	viewport := []chromedp.EmulateViewportOption{}
	if width < 600 {
		viewport = append(viewport, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2))
	}
	w.run("changing the view", chromedp.EmulateViewport(width, height, viewport...),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}))
}

// front makes the window the one that is looked at.
func (w *window) front() { w.run("coming to the front", command(page.BringToFront, cdp.Empty{})) }

func exception(details *runtime.ExceptionDetails) string {
	if details.Exception != nil {
		return details.Exception.Description
	}
	return details.Text
}
