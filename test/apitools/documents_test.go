package apitools

import (
	"path/filepath"
	"testing"
)

func TestRedoclyHasNothingToSay(t *testing.T) {
	cli := filepath.Join(tools(t), "node_modules", "@redocly", "cli", "bin", "cli.js")
	lint := func(document string, more ...string) {
		run(t, []string{"REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true"},
			"node", append([]string{cli, "lint", "--config", absolute(t, "redocly.yaml"), document}, more...)...)
	}
	lint(absolute(t, "../../docs/openapi.yaml"))
	for _, document := range variants(t) { // which have all components of the document, and fewer paths
		lint(document, "--skip-rule=no-unused-components")
	}
}

// variants returns the OpenAPI documents that are made of openapi.yaml.
func variants(t *testing.T) []string {
	t.Helper()
	documents, err := filepath.Glob(absolute(t, "../../docs/openapi-*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

func TestTheParserOfAsyncAPIHasNothingToSay(t *testing.T) {
	said := run(t, nil, "node", absolute(t, "asyncapi.mjs"), filepath.Join(tools(t), "node_modules"), absolute(t, "../../docs/asyncapi.yaml"))
	if said != "" {
		t.Error(said)
	}
}
