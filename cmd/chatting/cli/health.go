package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chatting/adapters/netcause"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
)

// healthTimeout bounds one question; a server gives its own checks 2 s.
const healthTimeout = 5 * time.Second

func newHealthCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a server whether it serves users",
		Long: `Ask a server on this machine whether it serves users: its broker, database and tail are well, and it is not
leaving. If its history is behind the log, the answer says how far. With --live, ask only whether the process
answers. The exit code is 0, or 4 if it does not. Use this as the health check of containers, which have no curl.`,
		Example: `  chatting health
  chatting health --live
  chatting health --url http://node1:8000/readyz`,
	}
	load := configFlags(cmd, s, "http.addr")
	address := addText(cmd, "url", "URL", "", "the URL to ask instead of http.addr of the configuration")
	live := cmd.Flags().Bool("live", false, "ask only whether the process answers (/healthz)")
	asJSON := jsonFlag(cmd, "print an object with url, serves, and what the server says of itself as answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		target := address.value
		if target == "" {
			cfg, err := load()
			if err != nil {
				return err
			}
			host, err := ownAddress(cfg)
			if err != nil {
				return err
			}
			target = "http://" + host + "/readyz"
			if *live {
				target = "http://" + host + "/healthz"
			}
		} else if *live {
			return usage(errors.New("--live and --url exclude each other"))
		} else if u, err := url.Parse(target); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			return usage(fmt.Errorf("--url: %q is no http:// or https:// URL", configs.ShownURL(target)))
		}
		told, err := askHealth(cmd.Context(), target)
		if *asJSON {
			if err := printJSON(s.Out, healthJSON{shownTarget(target), err == nil, told.whole}); err != nil {
				return err
			}
		}
		if err != nil {
			return exit.With(exit.Unavailable, fmt.Errorf("%s: %w", shownTarget(target), err))
		}
		if *asJSON {
			return nil
		}
		_, err = fmt.Fprintln(s.Out, "ok"+told.note())
		return err
	}
	return cmd
}

// shownTarget returns what was asked: the paths of this server are known to everybody, other parts of a URL are not shown.
func shownTarget(target string) string {
	shown := configs.ShownURL(target)
	if host, _ := strings.CutSuffix(shown, "/***"); target == host+"/readyz" || target == host+"/healthz" {
		return target
	}
	return shown
}

// ownAddress returns host:port of a server with this configuration as its own machine reaches it.
func ownAddress(cfg configs.Config) (string, error) {
	if cfg.HTTP.Addr.Port() == 0 {
		return "", usage(errors.New("http.addr has no fixed port: say where the server is with --url"))
	}
	return cfg.HTTP.Addr.Reachable(), nil
}

// healthJSON is what health found out, as JSON.
type healthJSON struct {
	URL    string          `json:"url"`
	Serves bool            `json:"serves"`
	Answer json.RawMessage `json:"answer,omitempty"` // absent if the answer was no JSON
}

// health is what a server says of itself.
type health struct {
	whole json.RawMessage // nil if it is no JSON

	Detail  string            `json:"detail"`
	Checks  map[string]string `json:"checks"`
	History struct {
		Behind        int64 `json:"records_behind"`
		StandingStill int64 `json:"standing_still_seconds"`
	} `json:"history"`
	Groups map[string]struct {
		KeptOut int64 `json:"kept_out_seconds"`
	} `json:"consumer_groups"`
}

// note returns what an operator should know of a server that serves users nevertheless; "" for nothing.
func (h health) note() string {
	var notes []string
	if h.History.Behind > 0 {
		note := fmt.Sprintf("the history is %d records behind the log", h.History.Behind)
		if h.History.StandingStill > 0 {
			note += fmt.Sprintf(", and has stood still for %d s", h.History.StandingStill)
		}
		notes = append(notes, note)
	}
	for _, group := range slices.Sorted(maps.Keys(h.Groups)) {
		if seconds := h.Groups[group].KeptOut; seconds > 0 {
			notes = append(notes, fmt.Sprintf(
				"consumers of other programs have kept this server out of its consumer group %s for %d s", group, seconds))
		}
	}
	if len(notes) == 0 {
		return ""
	}
	return ": " + strings.Join(notes, "; ")
}

// askHealth returns what the server says if the answer is 200, and else an error that has it.
func askHealth(ctx context.Context, target string) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return health{}, errors.New("the URL is not valid") // the library's error repeats it
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return health{}, netcause.Of(err)
	}
	defer response.Body.Close()
	var told health
	// An answer of another shape is told by its status alone.
	body, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	_ = json.Unmarshal(body, &told)
	if json.Valid(body) {
		told.whole = body
	}
	if response.StatusCode == http.StatusOK {
		return told, nil
	}
	failing := []string{response.Status}
	if told.Detail != "" {
		failing = append(failing, told.Detail)
	}
	var checks []string
	for name, state := range told.Checks {
		if state != "ok" {
			checks = append(checks, name+" "+state)
		}
	}
	slices.Sort(checks)
	return told, errors.New(strings.Join(append(failing, checks...), ": "))
}
