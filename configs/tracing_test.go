package configs

import (
	"maps"
	"strings"
	"testing"
)

func TestWhereTracesGo(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://127.0.0.1:4318":                  "http://127.0.0.1:4318/v1/traces",
		"https://otlp.example/":                  "https://otlp.example/v1/traces",
		"https://otlp.example/otlp":              "https://otlp.example/otlp/v1/traces",
		"http://collector.traces:4318/v1/traces": "http://collector.traces:4318/v1/traces",
		"http://[::1]:4318//":                    "http://[::1]:4318/v1/traces",
		"otlp.example:4318":                      "",
		"grpc://otlp.example:4317":               "",
		"https://":                               "",
		"https://otlp.example/#x":                "",
		"https://user:hush@otlp.example":         "https://otlp.example/v1/traces",
		"https://otlp.example/?key=hush":         "",
		"https://otlp.example/ x":                "",
	} {
		c, err := Load(Sources{Environ: []string{"CHATTING_TRACING_ENDPOINT=" + endpoint}})
		at, headers, _ := c.Tracing.Collector()
		switch {
		case err == nil && (!c.Tracing.Endpoint.IsSet() || at != want):
			t.Errorf("%s: they go to %s", endpoint, at)
		case err == nil && strings.Contains(endpoint, "@") != (headers["Authorization"] == "Basic dXNlcjpodXNo"):
			t.Errorf("%s: with %v", endpoint, headers)
		case err != nil && (want != "" || !strings.Contains(err.Error(), "tracing.endpoint") || strings.Contains(err.Error(), "hush")):
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

func TestHeadersForTheCollectorAreReadAsOpenTelemetryWritesThem(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"api-key=hush":                         {"api-key": "hush"},
		" api-key = hush , x=1,":               {"api-key": "hush", "x": "1"},
		"Authorization=Basic%20aHVzaA==":       {"Authorization": "Basic aHVzaA=="},
		"Authorization=Bearer hush\nx-y=a%2Cb": {"Authorization": "Bearer hush", "x-y": "a,b"},
		"empty=":                               {"empty": ""},
		"hush":                                 nil,
		"=hush":                                nil,
		"a b=hush":                             nil,
		"x=hush%0d%0ay: z":                     nil,
		"x=hush%zz":                            nil,
		"ü=hush":                               nil,
	} {
		got, err := ParseHeaders(text)
		if !maps.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q is read as %v, %v", text, got, err)
		}
		_, err = Load(Sources{Environ: []string{"CHATTING_TRACING_HEADERS=" + text, "CHATTING_TRACING_ENDPOINT=https://otlp.example"}})
		if (err == nil) != (want != nil) || err != nil && (!strings.Contains(err.Error(), "tracing.headers") || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := Load(Sources{Environ: []string{"CHATTING_TRACING_HEADERS=x=hush"}}); err == nil || !strings.Contains(err.Error(), "tracing.endpoint") {
		t.Errorf("headers for nobody: %v", err)
	}
}

func TestARatioIsFrom0To1(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "1": 1, "0.25": .25, "1e-3": .001, "1.01": -1, "-0.1": -1, "NaN": -1, "10%": -1, "inf": -1} {
		c, err := Load(Sources{Environ: []string{"CHATTING_TRACING_SAMPLE_RATIO=" + text}})
		if (err == nil) != (want >= 0) || err == nil && c.Tracing.SampleRatio != want {
			t.Errorf("%s is %g, %v", text, c.Tracing.SampleRatio, err)
		}
	}
}
