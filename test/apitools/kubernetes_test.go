package apitools

import (
	"path/filepath"
	"strings"
	"testing"
)

// The oldest version that has preStop with sleep, and a current one.
func TestKubernetesAcceptsTheManifests(t *testing.T) {
	manifests, err := filepath.Glob(absolute(t, "../../configs/kubernetes/*.yaml"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	python := filepath.Join(tools(t), "python", "bin", "python")
	for _, version := range []string{"1.30", "1.37"} {
		arguments := append([]string{"-m", "kubernetes_validate", "--strict", "-k", version}, manifests...)
		said := run(t, nil, python, arguments...)
		if passed := strings.Count(said, " passed "); passed != len(manifests) {
			t.Errorf("%d of %d manifests are as %s has it:\n%s", passed, len(manifests), version, said)
		}
	}
}
