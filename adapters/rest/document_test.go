package rest

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// TestEveryRouteIsInTheDocumentAndNoOther holds the routes of the whole API against docs/openapi.yaml.
func TestEveryRouteIsInTheDocumentAndNoOther(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// Every path is served with and without its last slash.
	parameter := regexp.MustCompile(`\{[^}]*\}|:[^/]*`)
	operation := func(method, path string) string {
		return method + " " + parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), "{}")
	}
	var documented, routed []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, operation(method, path))
		}
	}
	w := newWorld(t, withHistory(newHistory()), onTrial(&newcomers{}))
	for _, route := range w.api.App().GetRoutes(true) { // without the middleware
		if route.Method != http.MethodHead {
			routed = append(routed, operation(route.Method, route.Path))
		}
	}
	for _, list := range []*[]string{&documented, &routed} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if !slices.Equal(documented, routed) {
		t.Errorf("the document has %q,\nthe server %q", documented, routed)
	}
}
