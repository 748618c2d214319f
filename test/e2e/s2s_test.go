package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chatting/test/harness"
)

// saySystem posts a system message to a user who is offline, and returns the status: 404 tells that the caller may.
func (s *server) saySystem(header, value string) int {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://"+s.HTTP+"/s2sapi/system-message/",
		strings.NewReader(`{"target_id":1,"message":"m"}`))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if header != "" {
		request.Header.Set(header, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestOtherServersNeedATokenOnceAnythingIsConfigured(t *testing.T) {
	key := "CHATTING_JWT_SECRET=" + strings.Repeat("k", 32)
	for name, row := range map[string]struct {
		settings []string
		without  int  // the status of a caller on this machine without a token
		makes    bool // a token in the data directory
	}{
		"trial":                    {nil, 404, false},
		"trial that trusts no one": {[]string{"CHATTING_S2S_TRUST_LOOPBACK=false"}, 401, true},
		"token key":                {[]string{key}, 401, true},
		"token key, trusting":      {[]string{key, "CHATTING_S2S_TRUST_LOOPBACK=true"}, 404, false},
		"every interface":          {[]string{"CHATTING_HTTP_ADDR=:0"}, 401, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := &server{Node: harness.StartNode(t, dir, embedded(row.settings...)...), t: t, dir: dir}
			s.HTTP = "127.0.0.1" + s.HTTP[strings.LastIndexByte(s.HTTP, ':'):]
			if got := s.saySystem("", ""); got != row.without {
				t.Errorf("without a token: %d, want %d", got, row.without)
			}
			if got := s.saySystem("X-Forwarded-For", "127.0.0.1"); got == 404 {
				t.Error("a proxy's request without a token was taken")
			}
			token, err := os.ReadFile(filepath.Join(dir, "data", "s2s-token"))
			if made := err == nil; made != row.makes {
				t.Fatalf("a token was made: %t", made)
			}
			if !row.makes {
				return
			}
			bearer := "Bearer " + strings.TrimSpace(string(token))
			if got := s.saySystem("Authorization", bearer); got != 404 {
				t.Errorf("with the token: %d", got)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			s.Node = harness.StartNode(t, dir, embedded(row.settings...)...)
			s.HTTP = "127.0.0.1" + s.HTTP[strings.LastIndexByte(s.HTTP, ':'):]
			if got := s.saySystem("Authorization", bearer); got != 404 {
				t.Errorf("with the token after a restart: %d", got)
			}
		})
	}
}
