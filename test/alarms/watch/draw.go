package watch

import (
	"context"
	_ "embed" // the page
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// ErrNoBrowser tells that what draws the dashboard is not there: test/web/install installs it.
var ErrNoBrowser = errors.New("CHATTING_TEST_CHROMIUM and CHATTING_TEST_UPLOT are not both set")

//go:embed dashboard.html
var dashboardPage string

// drawLimit is how long drawing may take until it counts as stuck.
const drawLimit = 2 * time.Minute

// Draw draws the dashboard with what Ask has kept, as a page and as a picture, and returns their files. It is ErrNoBrowser where
// there is no browser.
func (d *Dashboard) Draw(ctx context.Context, dir string) (files []string, err error) {
	browser, library := os.Getenv("CHATTING_TEST_CHROMIUM"), os.Getenv("CHATTING_TEST_UPLOT")
	if browser == "" || library == "" {
		return nil, ErrNoBrowser
	}
	path, err := d.writePage(dir, library)
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox,
		chromedp.WSURLReadTimeout(drawLimit), chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"))
	ctx, cancel := context.WithTimeout(ctx, drawLimit)
	defer cancel()
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, end := chromedp.NewContext(ctx)
	defer end()
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(1600, 1000), chromedp.Navigate("file://"+path)); err != nil {
		return nil, err
	}
	title, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.title"))
	if err != nil {
		return nil, err
	}
	if title != "drawn" {
		return nil, fmt.Errorf("%s is not drawn: open it to see why", path)
	}
	taken, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: new(true)})
	if err != nil {
		return nil, err
	}
	picture := strings.TrimSuffix(path, ".html") + ".png"
	return []string{path, picture}, os.WriteFile(picture, taken.Data, 0o644)
}

// writePage writes the page, with all that it needs in it.
func (d *Dashboard) writePage(dir, library string) (path string, err error) {
	parts := make(map[string]string)
	for name, file := range map[string]string{"STYLE": "uPlot.min.css", "LIBRARY": "uPlot.iife.min.js"} {
		text, err := os.ReadFile(filepath.Join(library, file))
		if err != nil {
			return "", err
		}
		parts[name] = string(text)
	}
	data, err := json.Marshal(d) // < is escaped: no label can end the script
	if err != nil {
		return "", err
	}
	text := dashboardPage
	for _, name := range []string{"STYLE", "LIBRARY"} {
		text = strings.Replace(text, ">"+name, ">"+parts[name], 1)
	}
	text = strings.Replace(text, "= DATA;", "= "+string(data)+";", 1)
	path, err = filepath.Abs(filepath.Join(dir, "dashboard.html"))
	if err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o644)
}
