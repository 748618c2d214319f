package logging

import (
	"strings"
	"testing"

	"chatting/configs"
)

func TestTheLogHasWhatItsLevelSays(t *testing.T) {
	for _, row := range []struct{ level, format, want string }{
		{"debug", "text", "level=DEBUG level=INFO level=WARN level=ERROR"},
		{"info", "auto", `"level":"INFO" "level":"WARN" "level":"ERROR"`},
		{"warn", "json", `"level":"WARN" "level":"ERROR"`},
		{"error", "text", "level=ERROR"},
	} {
		var out strings.Builder
		cfg, err := configs.Load(configs.Sources{Environ: []string{"CHATTING_LOG_LEVEL=" + row.level, "CHATTING_LOG_FORMAT=" + row.format}})
		if err != nil {
			t.Fatal(err)
		}
		logger := New(cfg.Log, &out)
		for _, say := range []func(string, ...any){logger.Debug, logger.Info, logger.Warn, logger.Error} {
			say("x")
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			for _, field := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" ,{}\n", r) }) {
				if strings.Contains(field, "level") {
					got = append(got, field)
				}
			}
		}
		if strings.Join(got, " ") != row.want {
			t.Errorf("%s, %s: the log has %q, want %q", row.level, row.format, got, row.want)
		}
	}
}
