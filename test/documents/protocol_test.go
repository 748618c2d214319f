package documents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

const protocol = "../../docs/protocol.md"

// A dialogue is a fenced block of docs/protocol.md with the language "dialogue", and options of the server behind that. The
// document itself explains its lines to readers. The test runs each dialogue against a server with these options.
//
// Users 41 to 49 stand for users that no other dialogue has; 41b is a second connection of 41. What the server makes up (times,
// ids, rooms) differs from what is written. A UUID that is written twice has to be the same both times.
type dialogue struct {
	line    int
	options string // as in CHATTING_ variables, "" for none
	steps   []string
}

func readDialogues(t *testing.T) []dialogue {
	t.Helper()
	content, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	var all []dialogue
	inside := false
	for i, line := range strings.Split(string(content), "\n") {
		switch options, begins := strings.CutPrefix(line, "```dialogue"); {
		case begins:
			all = append(all, dialogue{line: i + 1, options: strings.TrimSpace(options)})
			inside = true
		case strings.HasPrefix(line, "```"):
			inside = false
		case inside && strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#"):
			d := &all[len(all)-1]
			d.steps = append(d.steps, line)
		}
	}
	if len(all) < 10 {
		t.Fatalf("%s has %d dialogues", protocol, len(all))
	}
	return all
}

func TestTheDialoguesOfTheProtocolAreWhatTheServerDoes(t *testing.T) {
	servers := map[string]*server{}
	for i, d := range readDialogues(t) {
		s := servers[d.options]
		if s == nil {
			var settings []string
			for option := range strings.FieldsSeq(d.options) {
				key, value, _ := strings.Cut(option, "=")
				settings = append(settings, "CHATTING_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))+"="+value)
			}
			s = startServer(t, settings...)
			servers[d.options] = s
		}
		t.Run(fmt.Sprintf("line %d", d.line), func(t *testing.T) {
			p := &play{
				t: t, server: s, first: 1000 * (i + 1), sockets: map[string]*websocket.Conn{}, tokens: map[string]string{},
				known: map[string]string{},
			}
			p.run(d.steps)
		})
	}
}

// play is a dialogue that is being run.
type play struct {
	t       *testing.T
	server  *server
	first   int // is added to the numbers of users
	sockets map[string]*websocket.Conn
	known   map[string]string // UUIDs and resume tokens of the server by those of the document
	tokens  map[string]string // by user
	status  int               // of the answer to the latest request
	body    []byte
}

// platform is who calls /s2sapi/. On a trial server it needs no token.
const platform = "platform"

var (
	user    = regexp.MustCompile(`\b4[1-9]\b`)
	uuid    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	resume  = regexp.MustCompile(`"resume":"([A-Za-z0-9_-]{20,})"`)
	isStep  = regexp.MustCompile(`^(platform|4[1-9]b?) (→|←|×|closes|GET|POST|PUT|DELETE)(?: (.*))?$`)
	isReply = regexp.MustCompile(`^= (\d{3})(?: (.*))?$`)
)

func (p *play) run(steps []string) {
	for _, step := range steps {
		p.t.Log(step)
		if reply := isReply.FindStringSubmatch(step); reply != nil {
			p.replied(reply[1], reply[2])
			continue
		}
		parts := isStep.FindStringSubmatch(step)
		if parts == nil {
			p.t.Fatalf("%q is no step of a dialogue", step)
		}
		switch who, verb, rest := parts[1], parts[2], parts[3]; verb {
		case "→":
			p.send(who, rest)
		case "←":
			p.expect(rest, p.next(who))
		case "×":
			p.closed(who, rest)
		case "closes":
			p.leave(who)
		default:
			path, body, _ := strings.Cut(rest, " ")
			p.request(who, verb, path, body)
		}
	}
	for who, conn := range p.sockets { // nothing came that is not in the document
		if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"type":"ping"}`)); err != nil {
			p.t.Fatal(err)
		}
		if frame := p.next(who); !bytes.Contains(frame, []byte(`"pong"`)) && !bytes.Contains(frame, []byte(`"rate_limited"`)) {
			p.t.Errorf("after the dialogue %s gets %s", who, frame)
		}
		_ = conn.Close()
	}
}

// actual returns text with this play's users, and with the server's UUIDs where they are known.
func (p *play) actual(text string) string {
	text = user.ReplaceAllStringFunc(text, func(number string) string {
		n, _ := strconv.Atoi(number)
		return strconv.Itoa(p.first + n)
	})
	text = resume.ReplaceAllStringFunc(text, func(member string) string {
		if known, ok := p.known[resume.FindStringSubmatch(member)[1]]; ok {
			return `"resume":"` + known + `"`
		}
		return member
	})
	return uuid.ReplaceAllStringFunc(text, func(id string) string {
		if known, ok := p.known[id]; ok {
			return known
		}
		return id
	})
}

func (p *play) user(who string) int {
	n, _ := strconv.Atoi(who[:2])
	return p.first + n
}

// token returns a good token of a user.
func (p *play) token(who string) string {
	p.t.Helper()
	number := who[:2]
	if p.tokens[number] == "" {
		p.tokens[number] = p.server.token(p.user(who))
	}
	return p.tokens[number]
}

// next returns the next frame of a connection.
func (p *play) next(who string) []byte {
	p.t.Helper()
	conn := p.socket(who)
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	_, frame, err := conn.ReadMessage()
	if err != nil {
		p.t.Fatalf("%s gets no frame: %v", who, err)
	}
	if err := harness.CheckFrame(frame); err != nil {
		p.t.Error(err)
	}
	return frame
}

func (p *play) socket(who string) *websocket.Conn {
	p.t.Helper()
	if conn := p.sockets[who]; conn != nil {
		return conn
	}
	conn, response, err := websocket.DefaultDialer.DialContext(p.t.Context(), "ws://"+p.server.HTTP+"/ws/chatting/", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	_ = response.Body.Close()
	p.sockets[who] = conn
	return conn
}

func (p *play) send(who, frame string) {
	p.t.Helper()
	frame = strings.Replace(p.actual(frame), `"token":"…"`, `"token":"`+p.token(who)+`"`, 1)
	if err := p.socket(who).WriteMessage(websocket.TextMessage, []byte(frame)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *play) closed(who, end string) {
	p.t.Helper()
	conn := p.socket(who)
	_ = conn.SetReadDeadline(time.Now().Add(harness.FrameWait))
	_, frame, err := conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || strconv.Itoa(closed.Code)+" "+closed.Text != end {
		p.t.Fatalf("%s got %s, %v instead of %s", who, frame, err, end)
	}
	delete(p.sockets, who)
}

// leave closes a connection as a client does, and waits until its user is offline for everybody.
func (p *play) leave(who string) {
	p.t.Helper()
	conn := p.socket(who)
	if err := conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")); err != nil {
		p.t.Fatal(err)
	}
	p.closed(who, "1000 client_closed")
	for other := range p.sockets {
		if p.user(other) == p.user(who) {
			return
		}
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), harness.FrameWait)
	defer cancel()
	harness.Until(ctx, p.t, who+" is offline", func() bool {
		p.request("49", http.MethodGet, "/api/chatting/is-online/?id="+who[:2], "")
		return bytes.Contains(p.body, []byte(`"is_online":false`))
	})
}

func (p *play) request(who, method, path, body string) {
	p.t.Helper()
	url := "http://" + p.server.HTTP + p.actual(path)
	request, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(p.actual(body)))
	if err != nil {
		p.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if who != platform {
		request.Header.Set("Authorization", "Bearer "+p.token(who))
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	p.status = answer.StatusCode
	p.body, err = io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		p.t.Fatal(err)
	}
}

// replied compares the answer to the latest request.
func (p *play) replied(status, body string) {
	p.t.Helper()
	if got := strconv.Itoa(p.status); got != status {
		p.t.Fatalf("the answer is %s: %s", got, p.body)
	}
	if body == "" {
		if len(p.body) > 0 {
			p.t.Fatalf("the answer has a body: %s", p.body)
		}
		return
	}
	p.expect(body, p.body)
}

// expect compares what the document has with what the server sent.
func (p *play) expect(written string, sent []byte) {
	p.t.Helper()
	var want, got any
	if err := json.Unmarshal([]byte(p.actual(written)), &want); err != nil {
		p.t.Fatalf("%s: %v", written, err)
	}
	if err := json.Unmarshal(sent, &got); err != nil {
		p.t.Fatalf("%s: %v", sent, err)
	}
	if !p.same("", want, got) {
		p.t.Fatalf("the document has %s, the server sent %s", p.actual(written), sent)
	}
}

// same tells whether two values are the same but for what the server makes up. It learns the server's UUIDs.
func (p *play) same(name string, want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		fields, ok := got.(map[string]any)
		if !ok || len(fields) != len(want) {
			return false
		}
		for name, value := range want {
			if field, there := fields[name]; !there || !p.same(name, value, field) {
				return false
			}
		}
		return true
	case []any:
		items, ok := got.([]any)
		if !ok || len(items) != len(want) {
			return false
		}
		for i := range want {
			if !p.same("", want[i], items[i]) {
				return false
			}
		}
		return true
	case string:
		return p.sameText(name, want, got)
	case float64:
		number, ok := got.(float64)
		return ok && (number == want || name == "retry_after_ms" && number > 0)
	default:
		return reflect.DeepEqual(want, got)
	}
}

func (p *play) sameText(name, want string, got any) bool {
	text, ok := got.(string)
	switch {
	case !ok:
		return false
	case name == "resume":
		p.known[want] = text // each frame has one of its own
		return resume.MatchString(`"resume":"` + text + `"`)
	case name == "time" || name == "expires_at" || name == "token_expires_at" || name == "recovered_from":
		_, err := time.Parse("2006-01-02T15:04:05.000Z", text)
		_, wrong := time.Parse("2006-01-02T15:04:05.000Z", want)
		return err == nil && wrong == nil
	case (name == "id" || name == "room_id" || name == "message_id" || name == "next") && uuid.MatchString(want) && want != text:
		for _, known := range p.known {
			if known == want || known == text {
				return false // one of them stands for something else
			}
		}
		p.known[want] = text
		return true
	default:
		return want == text
	}
}

// What the protocol says about codes has to be complete. A test of the package ws holds the table of close codes against the server.
func TestTheProtocolNamesEveryErrorCode(t *testing.T) {
	content, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	codes, ok := readAsyncAPI(t).Components.Messages["error"].Payload["properties"].(map[string]any)
	if !ok {
		t.Fatal("the error frame has no properties")
	}
	code, _ := codes["code"].(map[string]any)
	names, _ := code["enum"].([]any)
	if len(names) == 0 {
		t.Fatal("the error frame has no codes")
	}
	for _, name := range names {
		if !bytes.Contains(content, fmt.Appendf(nil, "| `%s` |", name)) {
			t.Errorf("%s has no row for the error %s", protocol, name)
		}
	}
}

func TestTheCloseCodesOfTheDocumentsAreTheSame(t *testing.T) {
	content, err := os.ReadFile(protocol)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(content), "| Code | Reason | Meaning | What to do |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	want, do := []string{}, ""
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if len(cells) != 4 {
			t.Fatalf("%q is no row", line)
		}
		if cells[3] != "The same." {
			do = cells[3]
		}
		cells[3] = do
		want = append(want, strings.Join(cells, " | "))
	}
	var got []string
	for _, c := range readAsyncAPI(t).Channels["socket"].CloseCodes {
		got = append(got, fmt.Sprintf("%d | `%s` | %s | %s", c.Code, c.Reason, c.When, c.Do))
	}
	if len(want) < 10 || !slices.Equal(got, want) {
		t.Errorf("docs/asyncapi.yaml has the close codes\n%s\nand %s\n%s", strings.Join(got, "\n"), protocol, strings.Join(want, "\n"))
	}
}
