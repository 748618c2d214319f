package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// licensesFile has the licenses of what the program was made from. Most of them ask that their text goes with the program.
const licensesFile = "THIRD-PARTY-LICENSES.txt"

// licenseNames are the files in which modules have them.
var licenseNames = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|unlicense)(-.*)?(\.md|\.txt)?$`)

// licenses returns the licenses of Go and of all modules that a program was made from. A module without one is an error:
// nobody may hand it on.
func (r *release) licenses(ctx context.Context, info *buildinfo.BuildInfo) ([]byte, error) {
	folders, err := r.moduleFolders(ctx)
	if err != nil {
		return nil, err
	}
	goRoot, err := r.run(exec.CommandContext(ctx, "go", "env", "GOROOT"))
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	if err := appendLicenses(&all, "Go "+info.GoVersion, goRoot); err != nil {
		return nil, err
	}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		name := module.Path + " " + module.Version
		if err := appendLicenses(&all, name, folders[name]); err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

// moduleFolders returns where the modules of the checkout are on this machine, each by "path version".
func (r *release) moduleFolders(ctx context.Context) (map[string]string, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}} {{.Version}}\t{{.Dir}}", "all")
	list.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	out, err := r.run(list)
	if err != nil {
		return nil, err
	}
	folders := make(map[string]string)
	for line := range strings.Lines(out) {
		name, folder, _ := strings.Cut(strings.TrimSpace(line), "\t")
		folders[name] = folder
	}
	return folders, nil
}

func appendLicenses(all *bytes.Buffer, name, folder string) error {
	files, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("the license of %s: %w", name, err)
	}
	found := false
	for _, file := range files {
		if file.IsDir() || !licenseNames.MatchString(file.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			return err
		}
		found = true
		fmt.Fprintf(all, "=== %s: %s\n\n%s\n\n", name, file.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("%s has no license", name)
	}
	return nil
}
