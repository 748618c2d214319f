// Package apidocs serves the documents of the API as files: /openapi.yaml, /openapi-string-ids.yaml, /asyncapi.yaml, the JSON
// schemas by their $id, the guides for those who write clients and readers, as text, and /docs, a page that is made from the
// others. The page needs no script and nothing from another host. Documents say nothing of a server or its users, so they need no
// token.
package apidocs

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io/fs"
	"path"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/asset"
	"chatting/docs"
)

// PagePath is the path of the page for people.
const PagePath = "/docs"

const pageFile = "api.html"

// Mount adds the routes of all documents to app, with GET and HEAD. It fails only if the program was built without a document.
func Mount(app *fiber.App) error {
	served := map[string]string{PagePath: pageFile}
	for _, pattern := range []string{"*.yaml", "*.md", "schemas/*.json"} {
		found, err := fs.Glob(docs.Files, pattern)
		if err != nil {
			return err
		}
		for _, name := range found {
			served["/"+name] = name
		}
	}
	for route, name := range served {
		d, err := read(name)
		if err != nil {
			return err
		}
		app.Get(route, d.Serve)
	}
	return nil
}

// contentTypes by the end of a file's name.
var contentTypes = map[string]string{
	".yaml": "application/yaml", // RFC 9512, which has no charset: YAML is UTF-8
	".json": "application/schema+json",
	".md":   fiber.MIMETextPlainCharsetUTF8, // some browsers save text/markdown, and show this
	".html": fiber.MIMETextHTMLCharsetUTF8,
}

func read(name string) (*asset.File, error) {
	body, err := docs.Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	policy := noScript
	if name == pageFile {
		style, err := styleHash(body)
		if err != nil {
			return nil, err
		}
		policy += "; style-src 'sha256-" + style + "'"
	}
	headers := map[string]string{fiber.HeaderContentSecurityPolicy: policy}
	return asset.New(body, contentTypes[path.Ext(name)], headers), nil
}

// noScript is the policy for a browser that shows a document: it loads nothing, runs nothing, and appears in no other page.
const noScript = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// styleHash returns the hash by which the policy allows the page's own style sheet, and no other.
func styleHash(page []byte) (string, error) {
	_, rest, begins := bytes.Cut(page, []byte("<style>"))
	style, _, ends := bytes.Cut(rest, []byte("</style>"))
	if !begins || !ends {
		return "", errors.New("apidocs: the page has no style sheet")
	}
	digest := sha256.Sum256(style)
	return base64.StdEncoding.EncodeToString(digest[:]), nil
}
