// Package web serves the page at /, with which people chat, and the JavaScript client that it is made with. The files are in the
// folders page and client as they are served: there is no build step. The package knows nothing of chat: the page uses the
// server as any other client does.
package web

import (
	"bytes"
	"embed"
	"fmt"
	"path"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/asset"
)

//go:embed page client/client.js client/client.d.ts
var files embed.FS

// Options say what the page shows.
type Options struct {
	// Trial tells the page that it may make users: see rest.Deps.TrialUsers.
	Trial bool
	// Documents tells the page that the documents of the API are served, so that it can lead there.
	Documents bool
}

// Site are the files of the page, ready to be sent. They do not change while it is served.
type Site struct{ files map[string]*asset.File } // by their paths

const (
	scriptType = "text/javascript; charset=utf-8"
	styleType  = "text/css; charset=utf-8"
)

// served are the files by the path at which they are served.
var served = []struct{ path, file, mediaType string }{
	{"/", "page/index.html", "text/html; charset=utf-8"},
	{"/page/page.css", "page/page.css", styleType},
	{"/page/page.js", "page/page.js", scriptType},
	{"/page/dom.js", "page/dom.js", scriptType},
	{"/page/model.js", "page/model.js", scriptType},
	{"/page/lists.js", "page/lists.js", scriptType},
	{"/page/talk.js", "page/talk.js", scriptType},
	{"/page/unsent.js", "page/unsent.js", scriptType},
	{"/favicon.svg", "page/favicon.svg", "image/svg+xml"},
	{"/client.js", "client/client.js", scriptType},
	{"/client.d.ts", "client/client.d.ts", "text/plain; charset=utf-8"},
}

// New prepares the files.
func New(options Options) (*Site, error) {
	s := &Site{files: make(map[string]*asset.File, len(served))}
	for _, entry := range served {
		content, err := files.ReadFile(entry.file)
		if err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		headers := loadedHeaders
		if path.Ext(entry.file) == ".html" {
			headers = pageHeaders
			content = bytes.Replace(content, []byte("<html "), []byte("<html "+options.attributes()), 1)
		}
		s.files[entry.path] = asset.New(content, entry.mediaType, headers)
	}
	return s, nil
}

// attributes are what the page's own script and style sheet look for.
func (o Options) attributes() string {
	said := ""
	if o.Trial {
		said += "data-trial "
	}
	if o.Documents {
		said += "data-documents "
	}
	return said
}

// Mount adds a route for each file.
func (s *Site) Mount(app *fiber.App) {
	for route, f := range s.files {
		app.Get(route, f.Serve)
	}
}

// Of the page: it runs only its own script, talks only to its own server, and is shown in no other page. No sink that makes HTML
// or scripts of text takes any text.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// permissions takes from the page what it never asks for.
const permissions = "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), hid=(), display-capture=()"

// pageHeaders are those of what a browser shows, and loadedHeaders those of what a page loads. A file of the latter that is opened by
// itself runs nothing.
var (
	pageHeaders = map[string]string{
		fiber.HeaderContentSecurityPolicy: contentPolicy,
		fiber.HeaderPermissionsPolicy:     permissions,
		"Cross-Origin-Opener-Policy":      "same-origin",
		fiber.HeaderXFrameOptions:         "DENY",
	}
	loadedHeaders = map[string]string{
		fiber.HeaderContentSecurityPolicy: "default-src 'none'; style-src 'unsafe-inline'; sandbox",
	}
)
