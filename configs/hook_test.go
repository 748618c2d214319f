package configs

import (
	"strings"
	"testing"
)

func TestTextsCrossNoNetworkInClearTextUnlessThatIsWanted(t *testing.T) {
	for url, allowed := range map[string]bool{
		"https://texts.example/check":          true,
		"http://127.0.0.1:9/check?key=1":       true,
		"http://127.9.9.9/":                    true,
		"http://localhost:9":                   true,
		"http://[::1]:9/":                      true,
		"http://texts.example/check":           false,
		"HTTP://texts.example/check":           false,
		"http://10.0.0.1/":                     false,
		"http://localhost.texts.example/":      false,
		"http://127.0.0.1.texts.example/":      false,
		"http://[::ffff:10.0.0.1]/":            false,
		"http://texts.example/?x=127.0.0.1":    false,
		"http://texts.example/localhost/check": false,
	} {
		_, err := Load(Sources{Environ: []string{"CHATTING_HOOK_URL=" + url}})
		if (err == nil) != allowed {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "hook.allow_http") || strings.Contains(err.Error(), "texts.example")) {
			t.Errorf("%s is refused with %q", url, err)
		}
		mustLoad(t, "", "CHATTING_HOOK_URL="+url, "CHATTING_HOOK_ALLOW_HTTP=true")
	}
}

func TestATokenForNoHookIsRefused(t *testing.T) {
	if _, err := Load(Sources{Environ: []string{"CHATTING_HOOK_TOKEN=" + longToken}}); err == nil || strings.Contains(err.Error(), longToken) {
		t.Errorf("got %v", err)
	}
	mustLoad(t, "", "CHATTING_HOOK_TOKEN="+longToken, "CHATTING_HOOK_URL=https://texts.example")
}
