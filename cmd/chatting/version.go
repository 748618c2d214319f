package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by releases: go build -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the version and how it was built, "v1.2.3 (3f2a…, go1.26.8, linux/amd64)": that of the release,
// else the module's, which Go takes from the version control system.
func buildVersion() string {
	name, revision := version, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if name == "" {
			name = info.Main.Version
		}
		for _, setting := range info.Settings {
			switch {
			case setting.Key == "vcs.revision":
				revision = setting.Value[:min(12, len(setting.Value))] + revision
			case setting.Key == "vcs.modified" && setting.Value == "true":
				revision += " modified"
			}
		}
	}
	if name == "" || name == "(devel)" {
		name = "unreleased"
	}
	if revision != "" {
		revision += ", "
	}
	return fmt.Sprintf("%s (%s%s, %s/%s)", name, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
