package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatting/configs"
)

// unitFile is the unit of systemd.
const unitFile = "chatting.service"

func unit(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "configs", "systemd", unitFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// unitSetting returns the one value that the unit gives a setting.
func unitSetting(t *testing.T, name string) string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^`+name+`=(.*)$`).FindAllStringSubmatch(unit(t), -1)
	if len(found) != 1 {
		t.Fatalf("%s is set %d times", name, len(found))
	}
	return found[0][1]
}

// unitDuration reads a time span whose unit is named, as Go writes it.
func unitDuration(t *testing.T, name string) time.Duration {
	t.Helper()
	span, err := time.ParseDuration(unitSetting(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return span
}

func TestTheUnitFitsTheDefaultsOfTheServer(t *testing.T) {
	variable, value, _ := strings.Cut(unitSetting(t, "Environment"), "=")
	cfg, err := configs.Load(configs.Sources{Environ: []string{variable + "=" + strings.Replace(value, "%S", "/var/lib", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.DataDir != "/var/lib/"+unitSetting(t, "StateDirectory") {
		t.Errorf("the data is in %s", cfg.DataDir)
	}
	if stop := unitDuration(t, "TimeoutStopSec"); stop <= cfg.Shutdown.Deadline {
		t.Errorf("the node is killed after %s, before it has left", stop)
	}
	// docs/operations.md: a node keeps an eighth for itself, and 8,256 places for HTTP.
	files, err := strconv.Atoi(unitSetting(t, "LimitNOFILE"))
	if err != nil || files-files/8-8256 < cfg.Limit.Connections {
		t.Errorf("%d files are too few for %d connections, %v", files, cfg.Limit.Connections, err)
	}
}

func TestSystemdAcceptsTheUnitAndFindsItHardened(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("CHATTING_TEST_INFRA_DIR: test/infra/up installs systemd-analyze, and it is not in PATH: the unit is only read")
	}
	program, err := os.Executable() // any: systemd looks whether there is one
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), unitFile)
	here := strings.Replace(unit(t), "ExecStart=/usr/local/bin/chatting ", "ExecStart="+program+" ", 1)
	if err := os.WriteFile(path, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"verify", "--man=no", path},
		// In tenths of its scale from 0 to 10, of which it calls up to 2 well protected.
		{"security", "--offline=true", "--no-pager", "--threshold=15", path},
	} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", arguments...).CombinedOutput()
		if err != nil || arguments[0] == "verify" && len(out) > 0 {
			t.Errorf("%s: %v: %s", arguments[0], err, out)
		}
	}
}
