package origins

import (
	"net/url"
	"strings"
	"testing"
)

func TestASetHasTheOriginsThatItsEntriesDescribe(t *testing.T) {
	for _, row := range []struct {
		entry    string
		has, not []string
	}{
		{
			"https://play.example",
			[]string{"https://play.example", "https://PLAY.example", "HTTPS://play.example", "https://play.example:443", "https://play.example/", "https://play.example:0443", "https://play.example:"},
			[]string{
				"http://play.example", "https://play.example:8443", "https://x.play.example", "https://play.example.evil", "https://play.example.",
				"https://evilplay.example", "https://play.example//", "https://play.example/x", "https://u@play.example", "https://play.example?", "https://play.example#",
				"https://play.example https://play.example", "https://play.example,https://play.example", " https://play.example", "play.example", "//play.example", "", "/", "null",
				"https://play.example:x", "https://play.example:-443", "https://play.example\\", "https://play.example:443:443", "https://*", "*",
			},
		},
		{"HTTPS://Play.Example:443/", []string{"https://play.example"}, []string{"http://play.example:443"}},
		{"http://a:80", []string{"http://a", "http://a:80"}, []string{"http://a:443", "https://a:80"}},
		{"https://a:80", []string{"https://a:80"}, []string{"https://a", "http://a"}},
		{"http://localhost:3000/", []string{"http://localhost:3000"}, []string{"http://localhost", "http://localhost:30000"}},
		{
			"https://*.example.com",
			[]string{"https://a.example.com", "https://a.b.example.com", "https://A.EXAMPLE.com:443", "https://xn--bcher-kva.example.com", "https://a.example.com/"},
			[]string{
				"https://example.com", "https://evil-example.com", "https://evilexample.com", "http://a.example.com", "https://a.example.com:8443", "https://.example.com",
				"https://a..example.com", "https://a.example.com.evil", "https://*.example.com", "https://evil/.example.com", "https://evil?.example.com", "https://evil#.example.com",
				"https://evil@a.example.com", "https://evil\\.example.com", "https://evil%2f.example.com", "https://evil:1.example.com", "https://[::1].example.com", "https://a b.example.com",
			},
		},
		{"https://*.example.com:8443", []string{"https://a.example.com:8443"}, []string{"https://a.example.com", "https://example.com:8443"}},
		{"HTTPS://*.Example.com:443/", []string{"https://a.example.com"}, nil},
		{"http://*.localhost", []string{"http://game.localhost"}, []string{"http://localhost"}},
		{"capacitor://localhost", []string{"capacitor://localhost", "Capacitor://LocalHost/"}, []string{"ionic://localhost", "http://localhost", "capacitor://localhost:1", "capacitor://"}},
		{"ionic://localhost/", []string{"ionic://localhost"}, nil},
		{"tauri://localhost", []string{"tauri://localhost"}, []string{"https://tauri.localhost"}},
		{"app://.", []string{"app://.", "app://./"}, []string{"app://", "app://x"}},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", []string{"chrome-extension://abcdefghijklmnopabcdefghijklmnop"}, []string{"chrome-extension://"}},
		{"null", []string{"null", "Null"}, []string{"file://", "null/", "http://null", "", "null, null"}},
		{"file://", []string{"file://", "file:///", "FILE://"}, []string{"null", "file:", "file:/", "file:///etc", "file://x"}},
		{"https://bücher.example", []string{"https://xn--bcher-kva.example", "https://BÜCHER.example", "https://bücher。example"}, []string{"https://bucher.example"}},
		{"https://*.bücher.example", []string{"https://a.xn--bcher-kva.example"}, []string{"https://xn--bcher-kva.example"}},
		{"https://xn--bcher-kva.example", []string{"https://bücher.example"}, nil},
		{"https://faß.example", []string{"https://xn--fa-hia.example"}, []string{"https://fass.example"}},
		{"http://[::1]:8080", []string{"http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080"}, []string{"http://[::1]", "http://::1:8080", "http://[::1", "http://[::1%25lo]:8080", "http://[127.0.0.1]:8080"}},
		{"https://[2001:DB8::1]:443", []string{"https://[2001:db8::1]"}, []string{"https://[2001:db8::2]"}},
		{"http://127.0.0.1:5173", []string{"http://127.0.0.1:5173"}, []string{"http://127.1:5173", "http://127.0.0.1.:5173", "http://127.0.0.01:5173", "http://2130706433:5173"}},
		{"http://my_service:8000", []string{"http://my_service:8000"}, nil},
		{"https://play.example.", []string{"https://play.example."}, []string{"https://play.example"}},
		{"*", []string{"https://a", "null", "file://", "anything", ""}, nil},
	} {
		set, err := NewSet([]string{row.entry})
		if err != nil {
			t.Errorf("%q: %v", row.entry, err)
			continue
		}
		for _, origin := range row.has {
			if !set.Has(origin) {
				t.Errorf("%q does not let in %q", row.entry, origin)
			}
		}
		for _, origin := range row.not {
			if set.Has(origin) {
				t.Errorf("%q lets in %q", row.entry, origin)
			}
		}
	}
	if (Set{}).Has("https://a") {
		t.Error("the empty set has an origin")
	}
}

func TestWhatIsNoEntryIsRefusedInPlainWords(t *testing.T) {
	for entry, want := range map[string]string{
		"": "write scheme://host", "example.com": "write scheme://host", "http://": "write scheme://host", "://x": "write scheme://host", "1a://x": "write scheme://host",
		"https:/a": "write scheme://host", "*://a": "write scheme://host", "https://a/b": "more than scheme, host and port", "https://a?x": "more than scheme, host and port",
		"https://u:secret@a": "more than scheme, host and port", "https://a/?sig=secret": "more than scheme, host and port",
		"u:secret@https://a": "write scheme://host", "u:secret@a": "write scheme://host", "//u:secret@a/secret": "write scheme://host", "https://u:p@a": "more than scheme, host and port", "https://a#": "more than scheme, host and port", "https://*": "first in a host", "https://a.*.b": "first in a host",
		"https://*a.b": "first in a host", "https://*.*.b": "first in a host", "https://a:*": "first in a host", "https://a b": "host is not valid", "https://a,https://b": "more than",
		"https://a..b": "host is not valid", "https://.a": "host is not valid", "https://1.2.3": "host is not valid", "https://[1::g]": "host is not valid",
		"https://[::1]x": "host is not valid", "app://a b": "host is not valid", "https://a:0": "port is not valid", "https://a:65536": "port is not valid", "https://a:+1": "port is not valid",
		"wss://a": "names the page", "https://*.": "write scheme://host", "https://*.127.0.0.1": "before a domain", "https://*.[::1]": "before a domain", "file://*.": "before a domain",
		"https://" + strings.Repeat("a", 400): "too long", "https://\u200d.example": "host is not valid",
	} {
		got, err := Entry(entry)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q is shown: %v", entry, err)
		}
		if err == nil || !strings.Contains(err.Error(), "no origin: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %q, %v", entry, got, err)
		}
		if _, err := NewSet([]string{"https://a", entry}); err == nil {
			t.Errorf("%q is taken into a set", entry)
		}
	}
}

func TestPagesOfTheServerItselfAreOwn(t *testing.T) {
	for _, row := range []struct {
		origin, host string
		want         bool
	}{
		{"http://chat.example", "chat.example", true}, {"http://CHAT.example", "chat.example:80", true}, {"https://chat.example:443/", "Chat.example", true},
		{"http://chat.example:8000", "chat.example:8000", true}, {"http://chat.example", "chat.example:8000", false}, {"https://chat.example", "chat.example:80", false},
		{"http://[::1]:8000", "[::1]:8000", true}, {"http://evil", "chat.example", false}, {"null", "null", false}, {"file://", "", false}, {"capacitor://localhost", "localhost", false},
		{"http://chat.example", "", false}, {"http://", "", false}, {"http://a", "u@a", false}, {"http://a", "a/x", false}, {"http://a/x", "a", false},
	} {
		if got := IsOwn(row.origin, row.host); got != row.want {
			t.Errorf("%q at %q: %t", row.origin, row.host, got)
		}
	}
}

func TestARefusedOriginIsNamedAsTheEntryThatLetsItIn(t *testing.T) {
	for header, want := range map[string]string{
		"HTTPS://Play.Example:443/": "https://play.example", "null": "null", "file:///": "file://", "capacitor://localhost": "capacitor://localhost",
		"https://a/secret": "", "https://user:secret@a": "", "secret": "",
	} {
		got := Name(header)
		if got != want {
			t.Errorf("%q is named %q", header, got)
		}
		if set, err := NewSet([]string{got}); got != "" && (err != nil || !set.Has(header)) {
			t.Errorf("the entry %q does not let %q in: %v", got, header, err)
		}
	}
}

func TestCORS(t *testing.T) {
	value := func(headers []Header, name string) string {
		for _, header := range headers {
			if header.Name == name {
				return header.Value
			}
		}
		return ""
	}
	const allow = "Access-Control-Allow-Origin"
	sent := func(origins ...string) (lines [][]byte) {
		for _, origin := range origins {
			lines = append(lines, []byte(origin))
		}
		return lines
	}
	if c, err := NewCORS(nil, nil); c != nil || err != nil || c.Headers(sent("https://a")) != nil || c.Preflight(sent("https://a"), false) != nil {
		t.Error("without origins there is CORS")
	}
	if _, err := NewCORS([]string{"a"}, nil); err == nil {
		t.Error("a wrong origin is taken")
	}
	c, err := NewCORS([]string{"https://a", "null"}, []string{"x-game"})
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]string{"https://a": "https://a", "https://A:443/": "https://A:443/", "null": "null", "https://b": ""} {
		headers, preflight := c.Headers(sent(origin)), c.Preflight(sent(origin), true)
		if value(headers, allow) != want || value(preflight, allow) != want || value(headers, "Vary") != "Origin" || !strings.HasPrefix(value(preflight, "Vary"), "Origin,") {
			t.Errorf("%s: %v, %v", origin, headers, preflight)
		}
		if given := want != ""; given != strings.Contains(value(headers, "Access-Control-Expose-Headers"), "Retry-After") ||
			given != strings.HasSuffix(value(preflight, "Access-Control-Allow-Headers"), "baggage, x-game") ||
			given != (value(preflight, "Access-Control-Allow-Private-Network") == "true") {
			t.Errorf("%s: %v, %v", origin, headers, preflight)
		}
	}
	if got := value(c.Preflight(sent("https://a"), false), "Access-Control-Allow-Private-Network"); got != "" {
		t.Errorf("nobody asked for the private network: %q", got)
	}
	for _, lines := range [][][]byte{nil, sent("https://a", "https://a")} {
		if got := c.Headers(lines); value(got, allow) != "" || value(got, "Vary") != "Origin" {
			t.Errorf("%q: %v", lines, got)
		}
	}
	if c, _ = NewCORS([]string{"*"}, nil); value(c.Headers(sent("https://x")), allow) != "*" {
		t.Error("* is not told as *")
	}
}

// FuzzOrigin checks that an origin that is let in is the one of the page, as the standard library reads URLs.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"https://a.example", "https://*.example:1", "null", "file:///", "app://.", "http://[::1]:80/", "https://bücher.example", "https://\u3002", "https://a%2e", "HTTPS://A:0443",
	} {
		f.Add(seed)
	}
	all, err := NewSet([]string{"https://*.example.com"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if name := Name(text); name != "" {
			if Name(name) != name || len(name) > 4*maxOrigin || strings.ContainsAny(name, "@?# \\*\r\n") {
				t.Errorf("%q is named %q, and that %q", text, name, Name(name))
			}
			if set, err := NewSet([]string{text}); err == nil && !set.Has(name) {
				t.Errorf("the entry %q does not let in %q", text, name)
			}
		}
		if entry, err := Entry(text); err == nil {
			if again, err := Entry(entry); err != nil || again != entry {
				t.Errorf("%q is %q, and that %q, %v", text, entry, again, err)
			}
		}
		for _, origin := range []string{text, "https://" + text, "https://" + text + ".example.com"} {
			if !all.Has(origin) {
				continue
			}
			u, err := url.Parse(Name(origin))
			if err != nil || u.Scheme != "https" || !strings.HasSuffix(u.Hostname(), ".example.com") || u.User != nil {
				t.Errorf("%q is let in below example.com: %v", origin, err)
			}
			if ascii := strings.IndexFunc(origin, func(r rune) bool { return r > '~' }) < 0; ascii {
				if u, err = url.Parse(origin); err != nil || !strings.HasSuffix(strings.ToLower(u.Hostname()), ".example.com") {
					t.Errorf("%q is let in below example.com, and is %v", origin, u)
				}
			}
		}
	})
}
