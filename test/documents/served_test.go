package documents

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"chatting/test/harness"
)

// fetch gets a path of a server.
func fetch(t *testing.T, server *server, path string) (status int, content []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.HTTP+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if content, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, content
}

// overHTTP loads schemas from a server.
type overHTTP struct {
	t      *testing.T
	server *server
}

// Load implements jsonschema.URLLoader.
func (o overHTTP) Load(url string) (any, error) {
	path, ours := strings.CutPrefix(url, "http://"+o.server.HTTP)
	if !ours {
		o.t.Errorf("a schema leads to %s", url)
	}
	_, content := fetch(o.t, o.server, path)
	return jsonschema.UnmarshalJSON(bytes.NewReader(content))
}

func TestARunningServerServesItsDocuments(t *testing.T) {
	s := startServer(t)
	for path, file := range map[string]string{"/docs": "api.html", "/openapi.yaml": "openapi.yaml", "/asyncapi.yaml": "asyncapi.yaml"} {
		want, err := os.ReadFile(filepath.Join(root, "docs", file))
		if err != nil {
			t.Fatal(err)
		}
		if status, content := fetch(t, s, path); status != http.StatusOK || !bytes.Equal(content, want) {
			t.Errorf("%s: %d, and it is not %s", path, status, file)
		}
	}
	// Whoever has the address of a schema has all schemas that it refers to.
	for _, name := range harness.LoadSchemas(t).Names() {
		compiler := jsonschema.NewCompiler()
		compiler.UseLoader(overHTTP{t, s})
		if _, err := compiler.Compile("http://" + s.HTTP + "/schemas/" + name + ".json"); err != nil {
			t.Error(err)
		}
	}
}

func TestAServerKeepsItsDocumentsIfItIsConfiguredTo(t *testing.T) {
	s := startServer(t, "CHATTING_HTTP_DOCUMENTS=false")
	for _, path := range []string{"/docs", "/openapi.yaml", "/asyncapi.yaml", "/schemas/cloudevent.json"} {
		if status, content := fetch(t, s, path); status != http.StatusNotFound || !bytes.Contains(content, []byte("not_found")) {
			t.Errorf("%s: %d %s", path, status, content)
		}
	}
}
