package contract

import (
	"strings"
	"testing"
)

func TestMatcherTakesWhatIsTheSame(t *testing.T) {
	for want, got := range map[string]string{
		`{"a":1,"b":[{"c":"x"}],"d":null}`:     `{"d":null,"b":[ {"c":"\u0078"} ],"a":1}`,
		`{"time":"{time}"}`:                    `{"time":"2026-01-02T03:04:05.678Z"}`,
		`["{uuid a}","{uuid a}","{uuid b}"]`:   `["9b1d3c52-704e-4a86-8f2b-51c06de734a9","9b1d3c52-704e-4a86-8f2b-51c06de734a9","9b1d3c52-704e-5a86-8f2b-51c06de734a9"]`,
		`"parse error - {any} in {any}"`:       `"parse error - a in b"`,
		`{"+id":"{uuid}","n":202.0,"s":"{x}"}`: `{"id":"9b1d3c52-704e-4a86-8f2b-51c06de734a9","n":202.0,"s":"{x}"}`,
	} {
		if err := (&matcher{}).match(want, got); err != nil {
			t.Errorf("%s and %s: %v", want, got, err)
		}
	}
}

func TestMatcherNoticesEveryDifference(t *testing.T) {
	for _, pair := range [][2]string{
		{`{"a":1}`, `{"a":1,"b":2}`},
		{`{"a":1,"b":2}`, `{"a":1}`},
		{`{"a":1}`, `{"a":"1"}`},
		{`{"a":"1"}`, `{"a":1}`},
		{`{"a":202}`, `{"a":202.0}`},
		{`{"a":null}`, `{}`},
		{`{"a":null}`, `{"a":false}`},
		{`{"a":1}`, `{"a":1,"a":1}`},
		{`{"a":1}`, `{"a":1}{}`},
		{`{"a":1}`, `{"A":1}`},
		{`{"a":1}`, `[]`},
		{`[1]`, `[1,2]`},
		{`[1,2]`, `[2,1]`},
		{`{"a":{"b":1}}`, `{"a":{"b":1,"c":2}}`},
		{`"hello"`, `"hello "`},
		{`"a.c"`, `"abc"`},
		{`"{any}"`, `""`},
		{`"{any}"`, `1`},
		{`"{time}"`, `"2026-01-02T03:04:05.678"`},
		{`"{time}"`, `"2026-01-02T03:04:05.678+00:00"`},
		{`"{time}"`, `"2026-01-02T03:04:05Z"`},
		{`"{time}"`, `"2026-01-02T03:04:05.678901Z"`},
		{`"{time}"`, `"2026-13-02T03:04:05.678Z"`},
		{`"{uuid}"`, `"9B1D3C52-704E-4A86-8F2B-51C06DE734A9"`},
		{`"{uuid}"`, `"9b1d3c52704e4a868f2b51c06de734a9"`},
		{`["{uuid a}","{uuid a}"]`, `["9b1d3c52-704e-4a86-8f2b-51c06de734a9","9b1d3c52-704e-5a86-8f2b-51c06de734a9"]`},
		{`["{uuid a}","{uuid b}"]`, `["9b1d3c52-704e-4a86-8f2b-51c06de734a9","9b1d3c52-704e-4a86-8f2b-51c06de734a9"]`},
		{`{"+id":1}`, `{}`},
		{`{}`, `no JSON`},
	} {
		if (&matcher{}).match(pair[0], pair[1]) == nil {
			t.Errorf("%s is taken for %s", pair[1], pair[0])
		}
	}
}

func TestOriginalHasLocalTimesAndNotWhatIsOursAlone(t *testing.T) {
	m := &matcher{original: true}
	const want = `{"a":1,"+id":"{uuid}","time":"{time}"}`
	if err := m.match(want, `{"a":1,"time":"2026-01-02T03:04:05.678901"}`); err != nil {
		t.Error(err)
	}
	if m.match(want, `{"a":1,"id":"9b1d3c52-704e-4a86-8f2b-51c06de734a9","time":"2026-01-02T03:04:05.678901"}`) == nil {
		t.Error("a further field is taken")
	}
}

func TestTableSaysWhatIsWrongWithIt(t *testing.T) {
	const head = "row: x\nanswers: both\n"
	for text, complaint := range map[string]string{
		"  ann connects\n":                        "before the first row",
		head:                                      "has no steps",
		"row: x\n  ann connects\n":                "who answers so",
		"row: x\nanswers: us\n  ann connects\n":   "who answers so",
		"row: x\nanswers: ours\n  ann connects":   "what the original does",
		head + "original: y\n  ann connects":      "what the original does",
		head + "  ann connects\nserver: plain":    "beginning",
		head + "colour: red\n  ann connects":      "unknown field",
		head + "nonsense\n  ann connects":         "no field",
		head + "  ann flies":                      "no step",
		head + "  Ann connects":                   "no step",
		head + "  ann GET /":                      "without its answer",
		head + "  ann GET /\n  ann connects":      "without its answer",
		head + "  = 200":                          "answer to nothing",
		head + "  ann GET /\n  = 200\n  = 200":    "answer to nothing",
		head + "  ann GET /\n  = ok":              "no status",
		head + "  ann connects\n    with A: b":    "header of nothing",
		head + "each: flies\n  ann {each}":        "no step",
		head + "  ann connects\nrow: y\n  a is x": "who answers so",
	} {
		if _, err := parseTable("x.txt", text); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%q: %v, want %s", text, err, complaint)
		}
	}
}

// TestReplayNoticesWhatIsNotSo replays rows that are wrong about the server.
func TestReplayNoticesWhatIsNotSo(t *testing.T) {
	p := newProcess(t, "plain", []string{"CHATTING_JWT_SECRET=" + secret, "CHATTING_S2S_TRUST_LOOPBACK=true"})
	server := &target{url: p.awaitReady(), issue: issueJWT}
	if server.url == "" {
		t.Fatal("the server did not get ready")
	}
	const greeting = `{"type":"system_message","message":"You have successfully logged","online_friends":[],"to_id":{ann},"time":"{time}"}`
	const connect = "  ann connects\n  ann > {\"token\":\"{token ann}\"}\n  ann < " + greeting + "\n"
	for steps, complaint := range map[string]string{
		connect + "  ann > {}":                                                  "also frame",
		"  bob watches ann\n  bob logs in\n  ann logs in":                       "also frame",
		connect + "  ann > {}\n  ann closed 1000":                               "got frame",
		connect + "  ann sends close\n  ann closed 1001":                        "got closed 1000",
		connect + "  ann sends close\n  ann < {}":                               "got closed 1000",
		connect + "  ann sends close\n  ann closed 1000":                        "got closed 1000 client_closed",
		connect + "  ann sends close\n  ann closed 1000 restart":                "got closed 1000 client_closed",
		connect + "  ann sends close\n  ann closed 1000 client_closed after 1h": "after",
		connect + "  ann sends ping x\n  ann gets pong y":                       "got pong",
		connect + "  bob > {}":                                                  "no such connection",
		"  ann connects at /elsewhere":                                          "refused with 404",
		"  ann is refused 403":                                                  "101",
		"  ann is refused 400 with Origin: https://x.example":                   "403",
		"  ann logs in seeing bob":                                              "online_friends",
		"  ann > {unknown placeholder}":                                         "no such",
		"  ann GET /healthz\n  = 201 {}":                                        "instead of status 201",
		"  ann GET /healthz\n  = 200":                                           "instead of no body",
		"  ann GET /healthz\n  = 200 {}":                                        ".status is too much",
		"  ann GET /healthz\n  = 200 *\n    with X-Y: z":                        "with the header X-Y",
		"  ann GET /elsewhere\n  = 404 {}":                                      "of type application/problem+json",
		"  service verify ann = hangs":                                          "unsupported",
	} {
		rows, err := parseTable("x.txt", "row: x\nanswers: both\n"+steps)
		if err != nil {
			t.Fatal(err)
		}
		if err := replayRow(t.Context(), server, rows[0]); err == nil || !strings.Contains(err.Error(), complaint) {
			t.Errorf("%s: %v, want %s", steps, err, complaint)
		}
	}
}
