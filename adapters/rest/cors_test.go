package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"chatting/adapters/problem"
	"chatting/adapters/rest/exchange"
	"chatting/domain"
)

const (
	pageOrigin  = "https://a.example"
	allowOrigin = "Access-Control-Allow-Origin"
)

func withCORS(_ *world, o *Options, _ *Deps) {
	o.CORSOrigins, o.CORSHeaders = []string{pageOrigin, "capacitor://localhost", "null"}, []string{"x-game"}
}

// A browser shows an error to nobody without these headers: the page learns of no status and no Retry-After.
func TestEveryAnswerTellsWhichPagesMayReadIt(t *testing.T) {
	limited := func(_ *world, _ *Options, d *Deps) { d.Writes = onceIn[domain.UserID](time.Hour, 1) }
	slow := func(_ *world, o *Options, _ *Deps) { o.BodyLimit, o.ReadTimeout = 1000, 100*time.Millisecond }
	away := func(w *world, _ *Options, _ *Deps) {
		w.tokensErr = domain.NewError(domain.CodeUnavailable, "It is away.")
	}
	starting := func(_ *world, _ *Options, d *Deps) {
		d.Ready = func() error { return domain.NewError(domain.CodeUnavailable, "It starts.") }
	}
	const json = "Content-Type: application/json\r\n"
	for name, row := range map[string]struct {
		change  func(*world, *Options, *Deps)
		request string // its line, and further headers
		body    string
		status  int
	}{
		"served":                  {nil, "GET " + blockedPath + " HTTP/1.1\r\n", "", 200},
		"health":                  {nil, "GET /healthz HTTP/1.1\r\n", "", 200},
		"unknown path":            {nil, "GET /nowhere HTTP/1.1\r\n", "", 404},
		"unknown path of the API": {nil, "GET /api/nowhere/ HTTP/1.1\r\n", "", 404},
		"unknown method":          {nil, "FOO " + blockedPath + " HTTP/1.1\r\n", "", 405},
		"options, no preflight":   {nil, "OPTIONS " + blockedPath + " HTTP/1.1\r\n", "", 405},
		"rewritten path":          {nil, "GET /a//b HTTP/1.1\r\n", "", 400},
		"malformed":               {nil, "GET /a b HTTP/1.1\r\n", "", 400},
		"no token":                {nil, "GET " + blockedPath + " HTTP/1.1\r\nAuthorization: x\r\n", "", 401},
		"wrong field":             {nil, "POST " + blockedPath + " HTTP/1.1\r\n" + json, "{}", 400},
		"unsupported media type":  {nil, "POST " + blockedPath + " HTTP/1.1\r\n", "x", 415},
		"too long":                {slow, "POST " + blockedPath + " HTTP/1.1\r\n" + json, strings.Repeat("x", 2000), 413},
		"long head":               {slow, "GET /healthz HTTP/1.1\r\nA: " + strings.Repeat("x", 20000) + "\r\n", "", 431},
		"not in time":             {slow, "POST " + blockedPath + " HTTP/1.1\r\nContent-Length: 9\r\n", "", 408},
		"too many":                {limited, "DELETE " + blockedPath + " HTTP/1.1\r\n", "", 429},
		"away":                    {away, "GET " + blockedPath + " HTTP/1.1\r\n", "", 503},
		"not ready":               {starting, "GET " + blockedPath + " HTTP/1.1\r\n", "", 503},
		"panic":                   {func(w *world, _ *Options, _ *Deps) { w.panicWith = "x" }, "GET " + blockedPath + " HTTP/1.1\r\n", "", 500},
		"chunks too long": {
			slow, "POST " + blockedPath + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "7d0\r\n" + strings.Repeat("x", 2000) + "\r\n0\r\n\r\n", 413,
		},
		"a length beyond all":      {slow, "POST " + blockedPath + " HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n", "", 413},
		"a trailer for the head":   {nil, "POST " + blockedPath + " HTTP/1.1\r\nTrailer: Host\r\n", "", 400},
		"HEAD of what is too long": {slow, "HEAD " + blockedPath + " HTTP/1.1\r\nContent-Length: 2000\r\n", "", 413},
	} {
		changes := []func(*world, *Options, *Deps){withCORS}
		if row.change != nil {
			changes = append(changes, row.change)
		}
		w := newWorld(t, changes...)
		if name == "too many" {
			w.call(t, "DELETE", blockedPath, "", asUser1)
		}
		for origin, want := range map[string]string{pageOrigin: pageOrigin, "https://b.example": ""} {
			head := row.request + "Host: x\r\nOrigin: " + origin + "\r\n"
			if !strings.Contains(head, "Authorization") {
				head += asUser1 + "\r\n"
			}
			if row.body != "" && !strings.Contains(head, "chunked") {
				head += "Content-Length: " + strconv.Itoa(len(row.body)) + "\r\n"
			}
			got := w.answerTo(t, head+"\r\n"+row.body, strings.HasPrefix(head, "HEAD"))
			if got.status != row.status || got.header.Get(allowOrigin) != want || got.header.Get("Vary") != "Origin" ||
				(want != "") != strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
				t.Errorf("%s, from %s: %d %v %s, want %d", name, origin, got.status, got.header, got.body, row.status)
			}
		}
	}
}

func TestPreflightsAllowWhatLibrariesSend(t *testing.T) {
	w := newWorld(t, withCORS, func(_ *world, _ *Options, d *Deps) {
		d.Ready = func() error { return errors.New("it starts") } // which the page may learn when it asks
	})
	for _, path := range []string{blockedPath, onlinePath, "/nowhere"} {
		for _, origin := range []string{pageOrigin, "capacitor://localhost", "null"} {
			got := w.call(t, "OPTIONS", path, "", "Origin: "+origin, "Access-Control-Request-Method: PUT",
				"Access-Control-Request-Headers: authorization", "Access-Control-Request-Headers: x-csrftoken", "Access-Control-Request-Private-Network: true")
			allowed := strings.Split(strings.ToLower(got.header.Get("Access-Control-Allow-Headers")), ", ")
			for _, want := range []string{"authorization", "content-type", "x-requested-with", "x-csrftoken", "traceparent", "tracestate", "baggage", "x-game"} {
				if !slices.Contains(allowed, want) {
					t.Errorf("%s: %s is not among %v", path, want, allowed)
				}
			}
			if got.status != 204 || got.body != "" || got.header.Get(allowOrigin) != origin || got.header.Get("Access-Control-Allow-Private-Network") != "true" ||
				!strings.Contains(got.header.Get("Vary"), "Access-Control-Request-Headers") {
				t.Errorf("%s, from %s: %d %v", path, origin, got.status, got.header)
			}
		}
	}
}

func TestARefusedOriginIsLoggedWithTheOptionThatLetsItIn(t *testing.T) {
	for _, row := range []struct {
		path, origin, want string // want is "" for no line
	}{
		{blockedPath, "HTTPS://B.example:443", "origin=https://b.example option=http.cors_origins"}, {"/api/nowhere", "ionic://localhost", "origin=ionic://localhost option=http.cors_origins"},
		{blockedPath, "https://b.example/secret", `origin="" option=http.cors_origins`},
		{blockedPath, pageOrigin, ""}, {blockedPath, "http://" + "HOST", ""}, {"/healthz", "https://b.example", ""}, {systemPath, "https://b.example", ""},
	} {
		for _, change := range []func(*world, *Options, *Deps){withCORS, func(*world, *Options, *Deps) {}} {
			w := newWorld(t, change)
			if row.origin == pageOrigin && w.api.edge.cors.CORS == nil {
				continue
			}
			w.call(t, "GET", row.path, "", asUser1, "Origin: "+strings.Replace(row.origin, "HOST", strings.TrimPrefix(w.url, "http://"), 1))
			logs := w.logs.String()
			if strings.Contains(logs, row.want) != (row.want != "") && row.want != "" || strings.Contains(logs, "option=") != (row.want != "") || strings.Contains(logs, "secret") {
				t.Errorf("%s from %s: log is %s", row.path, row.origin, logs)
			}
		}
	}
}

// The contract names the bodies of some refusals of the API. Any other refusal is problem details with a code.
func TestEveryRefusalIsAProblemWithACodeOrTheContracts(t *testing.T) {
	w := newWorld(t, withHistory(newHistory()), func(w *world, _ *Options, _ *Deps) {
		w.mount = func(app *fiber.App) {
			app.Get("/ws/chatting/", func(c *fiber.Ctx) error { return fiber.ErrUpgradeRequired })
		}
	})
	paths := []string{"/nowhere", "/api", "/api/nowhere/", "/s2sapi/nowhere/", "/favicon.ico"}
	for pattern := range w.api.edge.log.patterns() {
		paths = append(paths, strings.ReplaceAll(pattern, ":partner", "x"))
	}
	refusals := 0
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO"} {
			target := path
			if method == "CONNECT" {
				target = "http://127.0.0.1" + path
			}
			for _, token := range []string{"", "Authorization: Bearer x\r\n", asUser1 + "\r\nVia: 1.1 x\r\n"} {
				got := w.answerTo(t, method+" "+target+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+token+"Content-Length: 0\r\n\r\n", method == "HEAD")
				if got.status < 300 {
					continue
				}
				refusals++
				if method == "HEAD" {
					if got.body != "" {
						t.Errorf("%s %s: %q", method, path, got.body)
					}
					continue
				}
				var details problem.Details
				err := json.Unmarshal([]byte(got.body), &details)
				isProblem := err == nil && got.header.Get("Content-Type") == problem.MediaType && details.Code != "" && details.Status == got.status &&
					details.Title == http.StatusText(got.status) && details.Type == "about:blank" && details.Detail != ""
				isContracts := err == nil && got.header.Get("Content-Type") == exchange.JSONType && (strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/s2sapi/")) &&
					slices.Contains([]int{400, 401, 405}, got.status)
				if !isProblem && !isContracts {
					t.Errorf("%s %s: %d %v %s", method, path, got.status, got.header, got.body)
				}
			}
		}
	}
	if refusals < 200 {
		t.Errorf("%d refusals", refusals)
	}
}

// A body's codings are a list over all lines of the header.
func TestABodyInAnyCodingIsUnsupported(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		codings []string
		want    int
	}{
		{[]string{"identity"}, 201}, {[]string{"Identity, identity"}, 201}, {[]string{"identity", ""}, 201}, {[]string{"gzip"}, 415}, {[]string{"identity, gzip"}, 415},
		{[]string{"identity", "gzip"}, 415}, {[]string{"", "br"}, 415},
	} {
		headers := []string{asUser1, asJSON}
		for _, coding := range row.codings {
			headers = append(headers, "Content-Encoding: "+coding)
		}
		if got := w.call(t, "POST", blockedPath, `{"target_id":7}`, headers...); got.status != row.want {
			t.Errorf("%q: %d %s, want %d", row.codings, got.status, got.body, row.want)
		}
	}
}
