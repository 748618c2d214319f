package web

import "testing"

// The page of the API is long, and most of it is tables. axe-core finds nothing, and nothing is wider than a phone.
func TestThePageOfTheAPIIsForEverybody(t *testing.T) {
	b := startBrowser(t)
	reader := b.open("reader", startServer(t).page+"docs")
	for _, view := range []struct {
		name          string
		width, height int64
		scheme        string
	}{
		{"light", 1180, 780, "light"}, {"dark", 1180, 780, "dark"}, {"phone", 390, 844, "light"}, {"narrow", 320, 640, "dark"},
	} {
		reader.look(view.width, view.height, view.scheme)
		reader.accessible("docs " + view.name)
		reader.picture("docs-" + view.name)
	}
}
