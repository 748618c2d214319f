// Command release builds what a release consists of, from the commit that is checked out: for each platform an archive with the
// program and its documents, a list of what the program was made from (CycloneDX), and the checksums of all of them. Two runs
// on one commit, with one version of Go, write the same bytes, wherever they run.
//
//	go run ./.ci/release -version v1.2.3 -out dist
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sbomTool lists the modules of a program. It is pinned: another version writes another list.
const sbomTool = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

// sumsFile has the checksums, as sha256sum -c reads them.
const sumsFile = "SHA256SUMS"

// allPlatforms are those that the server is released for. The program has no C code.
var allPlatforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// release is one release that is built.
type release struct {
	version   string    // such as v1.2.3
	root      string    // the folder of the checkout
	out       string    // where the files go; it is made
	platforms []string  // each os/arch
	date      time.Time // what archives say of all files
}

func main() {
	version := flag.String("version", "", "the `version`, such as v1.2.3; by default the tag of the commit")
	out := flag.String("out", "dist", "the `folder` to write to; it must be empty or missing")
	platforms := flag.String("platforms", strings.Join(allPlatforms, ","), "the `platforms`, separated by commas")
	flag.Parse()
	r := release{version: *version, root: ".", out: *out, platforms: strings.Split(*platforms, ",")}
	if err := r.build(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// versions are those that a release may have.
var versions = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// build writes the release. What it has written when it fails is left there.
func (r *release) build(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	files, err := r.documents(ctx)
	if err != nil {
		return err
	}
	for _, platform := range r.platforms {
		if err := r.buildFor(ctx, platform, files); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	return r.writeSums()
}

// prepare finds out what the caller did not say, and refuses what could not be built again.
func (r *release) prepare(ctx context.Context) error {
	changed, err := r.git(ctx, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("the checkout has changes that are not committed:\n%s", changed)
	}
	if r.version == "" {
		if r.version, err = r.git(ctx, "describe", "--tags", "--exact-match"); err != nil {
			return fmt.Errorf("the commit has no tag, and -version is not given: %w", err)
		}
	}
	if !versions.MatchString(r.version) {
		return fmt.Errorf("%q is no version: write it as v1.2.3", r.version)
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = r.git(ctx, "log", "-1", "--format=%ct"); err != nil {
			return err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.date = time.Unix(seconds, 0).UTC()
	if there, err := os.ReadDir(r.out); err == nil && len(there) > 0 {
		return fmt.Errorf("%s is not empty: what is there would look like a part of the release", r.out)
	}
	return os.MkdirAll(r.out, 0o755) //nolint:gosec // a release is for everybody
}

// documents returns what every archive has beside the program, in a fixed order.
func (r *release) documents(ctx context.Context) ([]entry, error) {
	list, err := r.git(ctx, "ls-files", "--", "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "configs", ":(glob)docs/*")
	if err != nil {
		return nil, err
	}
	var files []entry
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		if strings.HasSuffix(name, ".go") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return nil, err
		}
		files = append(files, entry{name: name, content: content})
	}
	return files, nil
}

// buildFor writes the archive of one platform and the list of what its program was made from.
func (r *release) buildFor(ctx context.Context, platform string, files []entry) error {
	system, arch, both := strings.Cut(platform, "/")
	if !both {
		return errors.New("write a platform as linux/amd64")
	}
	building, err := os.MkdirTemp("", "release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(building)
	name := "chatting"
	if system == "windows" {
		name += ".exe"
	}
	program := filepath.Join(building, name)
	if err := r.compile(ctx, system, arch, program); err != nil {
		return err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	if !namesCommit(info) {
		return errors.New("the program does not name its commit: build from a clone of the repository, not from a linked work tree")
	}
	licenses, err := r.licenses(ctx, info)
	if err != nil {
		return err
	}
	base := fmt.Sprintf("chatting_%s_%s_%s", r.version, system, arch)
	bom := filepath.Join(r.out, base+".cdx.json")
	if err := r.listParts(ctx, program, bom); err != nil {
		return err
	}
	all := append([]entry{{name: name, content: content, program: true}, {name: licensesFile, content: licenses}}, files...)
	return writeArchive(filepath.Join(r.out, base), system == "windows", "chatting_"+r.version, all, r.date)
}

// compile builds the program. Nothing of this machine is in it: neither paths, nor settings of the caller.
func (r *release) compile(ctx context.Context, system, arch, program string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", //nolint:gosec // arguments of a person who releases
		"-ldflags", "-s -w -X main.version="+r.version, "-o", program, "./cmd/chatting")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch,
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GOWORK=off")
	_, err := r.run(build)
	return err
}

// namesCommit tells whether a program says which commit it was built from. Go finds none in some checkouts, and goes on.
func namesCommit(info *buildinfo.BuildInfo) bool {
	return slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
}

// listParts writes the list of the modules that a program was made from. It has no time and no number of its own.
func (r *release) listParts(ctx context.Context, program, path string) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	list := exec.CommandContext(ctx, "go", "run", sbomTool, "bin", //nolint:gosec // as above
		"-json", "-noserial", "-notimestamp", "-version", r.version, "-output", absolute, program)
	// The list has a checksum of the tool, so the tool is built as the program is.
	list.Env = append(os.Environ(), "GOFLAGS=-trimpath", "CGO_ENABLED=0", "GOOS=", "GOARCH=")
	_, err = r.run(list)
	return err
}

// writeSums writes the checksums of all files of the release.
func (r *release) writeSums() error {
	written, err := os.ReadDir(r.out) // in the order of their names
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, file := range written {
		content, err := os.ReadFile(filepath.Join(r.out, file.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(content), file.Name())
	}
	return os.WriteFile(filepath.Join(r.out, sumsFile), sums.Bytes(), 0o644) //nolint:gosec // for everybody
}

func (r *release) git(ctx context.Context, arguments ...string) (string, error) {
	return r.run(exec.CommandContext(ctx, "git", arguments...)) //nolint:gosec // as above
}

// run runs a command in the checkout and returns what it printed, without the last line's end.
func (r *release) run(command *exec.Cmd) (string, error) {
	command.Dir = r.root
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(slices.Concat(command.Args[:2], []string{"…"}), " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
