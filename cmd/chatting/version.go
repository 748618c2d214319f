package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by releases: go build -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the version and how it was built, "v1.2.3 (3f2a…, 2026-01-02T03:04:05Z, go1.26.8, linux/amd64)": the version
// of the release, or else the module's, which Go takes from the version control system; the commit and its date, if Go knew them.
func buildVersion() string {
	name, revision, date := version, "", ""
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
			case setting.Key == "vcs.time":
				date = setting.Value + ", "
			}
		}
	}
	if name == "" || name == "(devel)" {
		name = "unreleased"
	}
	if revision != "" {
		revision += ", "
	}
	return fmt.Sprintf("%s (%s%s%s, %s/%s)", name, revision, date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
