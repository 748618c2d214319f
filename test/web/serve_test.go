package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"chatting/test/harness"
)

// ask makes a request; headers are "Name: value".
func (s *served) ask(method, path, body string, headers ...string) (*http.Response, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, strings.TrimSuffix(s.page, "/")+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response, string(content)
}

const asJSON = "Content-Type: application/json"

func TestATrialServerMakesUsersForItsPage(t *testing.T) {
	s := startServer(t)
	response, body := s.ask("POST", "/trial/users", "{}", asJSON, "Origin: http://"+s.HTTP, "Sec-Fetch-Site: same-origin")
	var user struct {
		ID    int    `json:"user_id"`
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(body), &user); err != nil || response.StatusCode != 201 {
		t.Fatalf("%d %s", response.StatusCode, body)
	}
	client, err := harness.Connect(s.HTTP, user.Token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if client.User != user.ID {
		t.Errorf("the token of user %d is user %d", user.ID, client.User)
	}
	if response, body := s.ask("POST", "/trial/users", "{}", asJSON, "Host: evil.example", "Origin: http://evil.example"); response.StatusCode != 404 {
		t.Errorf("for a page under another name: %d %s", response.StatusCode, body)
	}
	if _, page := s.ask("GET", "/", ""); !strings.Contains(page, "<html data-trial ") {
		t.Error("the page does not know that it may make users")
	}
}

func TestAServerWithAKeyMakesNoUsers(t *testing.T) {
	s := startServer(t, "CHATTING_JWT_SECRET=0123456789abcdef0123456789abcdef")
	if response, body := s.ask("POST", "/trial/users", "{}", asJSON); response.StatusCode != 404 {
		t.Errorf("%d %s", response.StatusCode, body)
	}
	if _, page := s.ask("GET", "/", ""); strings.Contains(page, "data-trial ") {
		t.Error("the page offers users")
	}
}

func TestThePageCanBeTakenAway(t *testing.T) {
	s := startServer(t, "CHATTING_WEB_ENABLED=false")
	for _, path := range []string{"/", "/client.js", "/client.d.ts", "/favicon.svg", "/page/page.js", "/page/page.css"} {
		response, body := s.ask("GET", path, "")
		if response.StatusCode != 404 || !strings.Contains(body, `"code":"not_found"`) {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

// Browsers load modules of other hosts with CORS.
func TestPagesOfAllowedOriginsMayLoadTheClient(t *testing.T) {
	s := startServer(t, "CHATTING_HTTP_CORS_ORIGINS=https://play.example")
	for origin, allowed := range map[string]string{"https://play.example": "https://play.example", "https://evil.example": ""} {
		response, _ := s.ask("GET", "/client.js", "", "Origin: "+origin)
		header := response.Header
		if header.Get("Access-Control-Allow-Origin") != allowed || header.Get("Vary") != "Accept-Encoding, Origin" || header.Get("Cross-Origin-Resource-Policy") != "" {
			t.Errorf("%s: %d %v", origin, response.StatusCode, header)
		}
	}
}
