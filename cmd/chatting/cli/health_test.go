package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// healthServer answers every path with a status and a body, but /moved/ with a redirection to a path that is well.
func healthServer(t *testing.T, status int, body string) (address string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path)
		if r.URL.Path == "/moved/" {
			http.Redirect(w, r, "/readyz", http.StatusFound)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), asked
}

func TestHealthAsksTheServerOfTheConfiguration(t *testing.T) {
	address, asked := healthServer(t, 200, "{}")
	_, port, _ := strings.Cut(address, ":")
	for _, row := range []struct{ line, environ, path string }{
		{"health", "CHATTING_HTTP_ADDR=" + address, "/readyz"},
		{"health", "CHATTING_HTTP_ADDR=:" + port, "/readyz"},
		{"health --live", "CHATTING_HTTP_ADDR=0.0.0.0:" + port, "/healthz"},
		{"health --http-addr " + address, "", "/readyz"},
		{"health --url http://" + address + "/other", "CHATTING_HTTP_ADDR=:1", "/other"},
	} {
		*asked = nil
		o := command(t, []string{row.environ, "HTTP_PROXY=http://127.0.0.1:1"}, strings.Fields(row.line)...)
		if o.code != 0 || o.out != "ok\n" || o.err != "" || len(*asked) != 1 || (*asked)[0] != row.path {
			t.Errorf("%+v: %+v, asked %v", row, o, *asked)
		}
	}
}

func TestHealthTellsOfWhatStandsStillBehindAServerThatIsWell(t *testing.T) {
	for body, want := range map[string]string{
		`{"history":{"records_behind":0,"standing_still_seconds":0}}`: "ok\n",
		`{"history":{"records_behind":3}}`:                            "ok: the history is 3 records behind the log\n",
		`{"history":{"records_behind":12,"standing_still_seconds":34},"consumer_groups":{"a":{"kept_out_seconds":0},"c.history":{"kept_out_seconds":30}}}`: "ok: the history is 12 records behind the log, and has stood still for 34 s; " +
			"consumers of other programs have kept this server out of its consumer group c.history for 30 s\n",
	} {
		address, _ := healthServer(t, 200, body)
		if o := command(t, nil, "health", "--http-addr", address); o.code != 0 || o.out != want || o.err != "" {
			t.Errorf("%s: %+v", body, o)
		}
	}
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	for _, row := range []struct {
		status     int
		body, want string
	}{
		{503, `{"detail":"A part is away.","checks":{"tail":"ok","database":"timed out","broker":"failing"}}`,
			"/readyz: 503 Service Unavailable: A part is away: broker failing: database timed out"},
		{503, "upstream is gone", "/readyz: 503 Service Unavailable"},
		{204, "", "/readyz: 204 No Content"},
		{404, `[]`, "/readyz: 404 Not Found"},
	} {
		address, _ := healthServer(t, row.status, row.body)
		command(t, nil, "health", "--http-addr", address).complains(t, "http://"+address+row.want)
	}
	address, _ := healthServer(t, 200, "{}")
	command(t, nil, "health", "--url", "http://"+address+"/moved/").complains(t, "302 Found")
	command(t, nil, "health", "--http-addr", "127.0.0.1:1").complains(t, "http://127.0.0.1:1/readyz: dial tcp 127.0.0.1:1: connect: connection refused")
	command(t, nil, "health", "--http-addr", ":0").complains(t, "say where the server is with --url")
	command(t, nil, "health", "--url", "localhost:8000").complains(t, "is no http:// or https:// URL")
	command(t, nil, "health", "--url", "http://h/", "--live").complains(t, "exclude each other")
}
