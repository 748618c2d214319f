// Package docs holds the documents of the API, for the server that hands them out: OpenAPI, AsyncAPI, the JSON schemas of events,
// api.html, the page that a test of this package makes from them (make generate), and the guides to which it leads.
package docs

import "embed"

// Files has the documents by their names in this folder.
//
//go:embed *.yaml clients.md protocol.md events.md api.html schemas/*.json
var Files embed.FS
