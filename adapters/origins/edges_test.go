package origins

import (
	"slices"
	"strings"
	"testing"
)

func TestAnEntryHasOneForm(t *testing.T) {
	for entry, want := range map[string]string{
		"HTTPS://Play.Example:443/": "https://play.example", "HTTPS://*.Example.com:443/": "https://*.example.com", "http://*.a:0081": "http://*.a:81",
		"https://*.Bücher.example": "https://*.xn--bcher-kva.example", "NULL": "null", "FILE:///": "file://", "app://.": "app://.", "http://a:443": "http://a:443",
		"http://a:65535": "http://a:65535", "https://a:1": "https://a:1", "http://[0:0::1]:80": "http://[::1]", "http://127.0.0.1": "http://127.0.0.1", "http://z9.a-z_0": "http://z9.a-z_0",
	} {
		if got, err := Entry(entry); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", entry, got, err, want)
		}
	}
}

func TestWhatIsNoOriginHasNoName(t *testing.T) {
	for _, header := range []string{
		"a/://x", "a:://x", "a`b://x", "a{b://x", "a@b://x", "a[b://x", "+a://x", "9a://x", "-a://x", ".a://x", "ä://x", "a b://x",
		"http://[127.0.0.1]", "http://[fe80::1%25eth0]", "http://[fe80::1%eth0]", "http://[::1:80", "http://[::1]x", "http://[]", "http://[", "http://[::1]]", "http://::1",
		"http://1.2.3", "http://1.2.3.4.5", "http://256.1.1.1", "http://a.1", "http://0x7f.1", "http://:80", "http://a:80:80", "app://a`b", "app://a{b", "app://a/b", "app://a:b:c",
		"http://" + strings.Repeat("a.", 146) + "aa",
	} {
		if name := Name(header); name != "" {
			t.Errorf("%.60q is named %.60q", header, name)
		}
	}
	for _, header := range []string{"a+b-c.z019://x", "z://az.09-_", "http://1.2.3.4", "http://a.1b", "https://[2001:db8::1]:8443", "http://x:1"} {
		if got := Name(header); got != header {
			t.Errorf("%q is named %q", header, got)
		}
	}
}

func TestAnOriginIsNoLongerThanANameWithSchemeAndPort(t *testing.T) {
	longest := "app://" + strings.Repeat("a", maxOrigin-len("app://"))
	if Name(longest) != longest {
		t.Error("the longest is refused")
	}
	if got := Name(longest + "a"); got != "" {
		t.Errorf("one that is longer is named %q", got)
	}
}

func TestAnEntryForASocketOrForNoDomainIsRefused(t *testing.T) {
	for entry, want := range map[string]string{
		"ws://a": "names the page", "wss://a": "names the page", "WS://*.a": "names the page", "app://*..": "before a domain", "app://*.": "before a domain", "http://*.1.2.3.4": "before a domain",
		"http://*.[2001:db8::1]": "before a domain",
	} {
		if got, err := Entry(entry); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v", entry, got, err)
		}
	}
}

func TestNobodyMayReadTheAnswersOfAServerWithoutCORS(t *testing.T) {
	var off *CORS
	if off.Allows([][]byte{[]byte("https://a")}) {
		t.Error("a page may")
	}
	on, err := NewCORS([]string{"https://a"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		lines []string
		want  bool
	}{{nil, false}, {[]string{"https://a"}, true}, {[]string{"https://b"}, false}, {[]string{"https://a", "https://a"}, false}} {
		var lines [][]byte
		for _, line := range row.lines {
			lines = append(lines, []byte(line))
		}
		if got := on.Allows(lines); got != row.want {
			t.Errorf("%q: %t", row.lines, got)
		}
	}
}

func TestAPreflightIsAnsweredWithAllThatAPageMayDo(t *testing.T) {
	c, err := NewCORS([]string{"https://a"}, []string{"x-game", "x-more"})
	if err != nil {
		t.Fatal(err)
	}
	asked := "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
	want := []Header{
		{"Vary", asked}, {"Access-Control-Allow-Origin", "https://a"}, {"Access-Control-Allow-Methods", "GET,HEAD,POST,PUT,DELETE"},
		{"Access-Control-Allow-Headers", "Authorization, Content-Type, X-Requested-With, X-CSRFToken, traceparent, tracestate, baggage, x-game, x-more"},
		{"Access-Control-Max-Age", "600"}, {"Access-Control-Allow-Private-Network", "true"},
	}
	if got := c.Preflight([][]byte{[]byte("https://a")}, true); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	want = []Header{{"Vary", "Origin"}, {"Access-Control-Allow-Origin", "https://a"}, {"Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate, Allow"}}
	if got := c.Headers([][]byte{[]byte("https://a")}); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
