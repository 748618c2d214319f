package configs

import (
	"fmt"
	"strings"
)

// MarkdownTable returns the table of all options for the README.
func MarkdownTable() string {
	var out strings.Builder
	out.WriteString("| Variable | Key in the file | Default | Meaning |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`)
	for _, o := range options {
		variable := "`" + o.Env() + "`"
		if o.Secret {
			variable += " or `…_FILE`"
		}
		if o.Flag {
			variable += ", `--" + o.FlagName() + "`"
		}
		value := "none"
		if o.Default != "" {
			value = "`" + o.Default + "`"
		}
		fmt.Fprintf(&out, "| %s | `%s` | %s | %s (%s) |\n", variable, o.Key, value, cell.Replace(o.Doc), o.Unit)
	}
	return out.String()
}
