package contract

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"chatting/test/harness"
)

// replayRow runs the steps of a row, on sockets and users that nobody else has. The error says what was not so; it is
// errors.ErrUnsupported where the server cannot be asked this.
func replayRow(ctx context.Context, target *target, row row) error {
	r := &replay{
		ctx: ctx, target: target, users: map[string]int64{}, tokens: map[string]string{}, sockets: map[string]*socket{},
		matcher: matcher{original: target.original},
	}
	defer func() {
		for _, s := range r.sockets {
			s.close()
		}
	}()
	for _, s := range row.steps {
		if err := r.step(s); err != nil {
			return fmt.Errorf("%s:%d: %s %s %.300s: %w", row.file, s.line, s.subject, s.verb, s.rest, err)
		}
	}
	if err := r.nothingElse(); err != nil {
		return fmt.Errorf("%s:%d: %w", row.file, row.line, err)
	}
	return nil
}

// replay is a row that runs.
type replay struct {
	ctx     context.Context // the row's
	target  *target
	users   map[string]int64
	tokens  map[string]string // the good tokens of users, by name
	sockets map[string]*socket
	matcher matcher
}

func (r *replay) step(s step) error {
	rest, err := r.expand(s.rest)
	if err != nil {
		return err
	}
	switch {
	case isRequest(s):
		return r.request(s, r.matcher.recall(rest))
	case s.subject == "service":
		return r.instruct(s.verb, rest)
	}
	switch s.verb {
	case "connects":
		return r.connect(s.subject, rest)
	case "logs":
		return r.logIn(s.subject, rest)
	case "watches":
		return r.watch(userOf(s.subject), strings.Fields(rest))
	}
	if s.verb == "is" && strings.HasPrefix(rest, "refused ") {
		return r.refused(rest)
	}
	socket := r.sockets[s.subject]
	if socket == nil {
		return errors.New("there is no such connection")
	}
	switch s.verb + " " + rest {
	case "is cut off":
		socket.close()
		socket.closed = true
		return nil
	case "answers no pings":
		socket.mute.Store(true)
		return nil
	}
	switch s.verb {
	case ">":
		return socket.write(true, opText, []byte(r.matcher.recall(rest)))
	case "<":
		return r.expect(socket, "frame", rest)
	case "sends":
		return send(socket, rest)
	case "gets":
		kind, text, _ := strings.Cut(rest, " ")
		return r.expect(socket, kind, text)
	case "closed":
		return r.expect(socket, "closed", rest)
	case "leaves":
		if err := send(socket, "close 1000"); err != nil {
			return err
		}
		return r.expect(socket, "closed", "1000 client_closed")
	}
	return errors.New("there is no such step")
}

// userOf returns whose connection is named: ann's both ann and ann.2.
func userOf(connection string) string {
	user, _, _ := strings.Cut(connection, ".")
	return user
}

// id returns the id of a user that the row names.
func (r *replay) id(user string) int64 {
	if _, known := r.users[user]; !known {
		r.users[user] = r.target.newID()
	}
	return r.users[user]
}

// token returns the good token of a user that the row names.
func (r *replay) token(user string) (string, error) {
	if token, known := r.tokens[user]; known {
		return token, nil
	}
	token, err := r.target.issue(strconv.FormatInt(r.id(user), 10), time.Hour)
	r.tokens[user] = token
	return token, err
}

var placeholder = regexp.MustCompile(`\{[a-z]+( [^{}]*)?\}`)

// expand replaces the placeholders, other than those that are for comparing.
func (r *replay) expand(text string) (string, error) {
	var failed error
	expanded := placeholder.ReplaceAllStringFunc(text, func(found string) string {
		if wildcard.MatchString(found) {
			return found
		}
		value, err := r.placeholder(strings.Trim(found, "{}"))
		if err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w", found, err)
		}
		return value
	})
	return expanded, failed
}

func (r *replay) placeholder(text string) (string, error) {
	word, rest, more := strings.Cut(text, " ")
	switch {
	case !more:
		return strconv.FormatInt(r.id(word), 10), nil
	case word == "token":
		return r.namedToken(rest)
	case word == "hex":
		data, err := hex.DecodeString(rest)
		return string(data), err
	case word == "repeat":
		count, what, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		return strings.Repeat(what, n), err
	default:
		return "", errors.New("there is no such placeholder")
	}
}

func (r *replay) namedToken(text string) (string, error) {
	who, how, _ := strings.Cut(text, " ")
	lifetime, expires := strings.CutPrefix(how, "for ")
	purpose, purposeful := strings.CutPrefix(how, "as ")
	switch {
	case purposeful && r.target.issueAs == nil:
		return "", errors.ErrUnsupported
	case purposeful:
		return r.target.issueAs(strconv.FormatInt(r.id(who), 10), purpose)
	case who == "id":
		return r.target.issue(how, time.Hour)
	case how == "":
		return r.token(who)
	case how == "again":
		return r.target.issue(strconv.FormatInt(r.id(who), 10), 2*time.Hour)
	case how == "expired":
		return r.target.issue(strconv.FormatInt(r.id(who), 10), -time.Minute)
	case expires:
		ttl, err := time.ParseDuration(lifetime)
		if err != nil {
			return "", err
		}
		return r.target.issue(strconv.FormatInt(r.id(who), 10), ttl)
	default:
		return "", errors.New("there is no such token")
	}
}

const socketPath = "/ws/chatting/"

// dial opens a socket as "at PATH with HEADER: VALUE" says.
func (r *replay) dial(how string) (*socket, int, error) {
	how, header, _ := strings.Cut(how, "with ")
	path := socketPath
	if at, ok := strings.CutPrefix(strings.TrimSpace(how), "at "); ok {
		path = at
	}
	headers := http.Header{}
	if name, value, ok := strings.Cut(header, ": "); ok {
		headers.Set(name, strings.ReplaceAll(value, "HOST", strings.TrimPrefix(r.target.url, "http://")))
	}
	return dial(r.ctx, "ws"+strings.TrimPrefix(r.target.url, "http")+path, headers)
}

func (r *replay) connect(name, how string) error {
	if r.sockets[name] != nil {
		r.sockets[name].close()
	}
	socket, status, err := r.dial(how)
	if err == nil && socket == nil {
		err = fmt.Errorf("refused with %d", status)
	}
	if err != nil {
		return err
	}
	r.sockets[name] = socket
	return nil
}

func (r *replay) refused(how string) error {
	wanted, how, _ := strings.Cut(strings.TrimPrefix(how, "refused "), " ")
	socket, status, err := r.dial(how)
	if socket != nil {
		socket.close()
	}
	if err == nil && strconv.Itoa(status) != wanted {
		err = fmt.Errorf("the answer is %d", status)
	}
	return err
}

func (r *replay) logIn(name, how string) error {
	if err := r.connect(name, ""); err != nil {
		return err
	}
	token, err := r.token(userOf(name))
	if err != nil {
		return err
	}
	var online []string
	if seen, ok := strings.CutPrefix(how, "in seeing "); ok {
		for _, friend := range strings.Fields(seen) {
			online = append(online, strconv.FormatInt(r.id(friend), 10))
		}
	} else if how != "in" {
		return errors.New("there is no such step")
	}
	if err := r.sockets[name].write(true, opText, []byte(`{"token":"`+token+`"}`)); err != nil {
		return err
	}
	return r.expect(r.sockets[name], "frame", fmt.Sprintf(
		`{"type":"system_message","message":"You have successfully logged","online_friends":[%s],"to_id":%d,"time":"{time}"}`,
		strings.Join(online, ","), r.id(userOf(name))))
}

// send writes what a client seldom does.
func send(s *socket, how string) error {
	kind, text, _ := strings.Cut(how, " ")
	switch kind {
	case "binary":
		return s.write(true, opBinary, []byte(text))
	case "first":
		return s.write(false, opText, []byte(text))
	case "next":
		return s.write(false, opContinuation, []byte(text))
	case "last":
		return s.write(true, opContinuation, []byte(text))
	case "ping":
		return s.write(true, opPing, []byte(text))
	case "close":
		if text == "" {
			return s.write(true, opClose, nil)
		}
		code, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		return s.write(true, opClose, closePayload(code))
	default:
		return errors.New("there is no such frame")
	}
}

// expect compares the next thing that arrives.
func (r *replay) expect(s *socket, kind, want string) error {
	want, after, timed := strings.Cut(want, "after ")
	want = strings.TrimSpace(want)
	if kind == "frame" && timed {
		return errors.New("frames have no time")
	}
	got, err := s.next(kind)
	if err != nil {
		return err
	}
	switch {
	case got.kind != kind:
		return fmt.Errorf("got %s", got)
	case kind == "frame":
		if err := harness.CheckFrame([]byte(got.text)); err != nil && !r.target.original {
			return err
		}
		if err := r.matcher.match(want, got.text); err != nil {
			return fmt.Errorf("got %.2000s\n%w", compact(got.text), err)
		}
	case kind == "closed" && !r.isEnd(got, want), kind == "pong" && got.text != want:
		return fmt.Errorf("got %s (%s)", got, got.text)
	}
	if !timed {
		return nil
	}
	least, err := time.ParseDuration(after)
	if err != nil {
		return err
	}
	if got.silence < least { // how much later it comes is up to the machine
		return fmt.Errorf("it came after %s of silence", got.silence)
	}
	return nil
}

// isEnd tells whether the server closed as wanted. The original gives no reasons. * is any reason.
func (r *replay) isEnd(got happened, want string) bool {
	code, reason, _ := strings.Cut(want, " ")
	return strconv.Itoa(got.code) == code && (r.target.original || got.reason == reason || reason == "*" && got.reason != "")
}

// nothingElse ends the row's connections and complains about frames that no step expected. That users who watch each
// other see the others go, each once, is no surprise here.
func (r *replay) nothingElse() error {
	open, leaving := map[string]*socket{}, map[int64]bool{}
	for name, s := range r.sockets {
		if !s.closed {
			_ = send(s, "close 1000") // where it fails, the reading says what happened
			open[name], leaving[r.id(userOf(name))] = s, true
		}
	}
	for name, s := range open {
		gone := map[int64]bool{}
		for !s.closed {
			got, err := s.next("")
			if err != nil {
				return err
			}
			if got.kind != "frame" {
				continue
			}
			var frame struct {
				Type, Status string
				From         int64 `json:"from_id"`
			}
			_ = json.Unmarshal([]byte(got.text), &frame) // what is none is a surprise
			if frame.Type != "send_status" || frame.Status != "offline" || !leaving[frame.From] || gone[frame.From] {
				return fmt.Errorf("at the end %s got also %s", name, got)
			}
			gone[frame.From] = true
		}
	}
	return nil
}

// watch puts friends on a user's list, wherever the server has it from.
func (r *replay) watch(user string, friends []string) error {
	for _, friend := range friends {
		switch {
		case r.target.service != nil:
			r.target.service.watches(r.id(user), r.id(friend))
		case r.target.original:
			return errors.ErrUnsupported
		default:
			body := fmt.Sprintf(`{"target_id":%d}`, r.id(friend))
			if err := r.request(step{
				subject: user, verb: http.MethodPost, answer: &answer{status: http.StatusCreated, body: body},
			}, "/api/chatting/friends/ "+body); err != nil {
				return err
			}
		}
	}
	return nil
}

// instruct makes the user-management service behave as a row wants, or waits for it to have answered.
func (r *replay) instruct(verb, rest string) error {
	if r.target.service == nil {
		return errors.ErrUnsupported
	}
	if verb == "answered" {
		words := strings.Fields(rest)
		if len(words) != 3 {
			return errors.New("there is no such step")
		}
		n, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		return r.target.service.awaitAnswers(question(words[0], strconv.FormatInt(r.id(words[1]), 10)), n)
	}
	user, how, _ := strings.Cut(rest, " = ")
	instruction := told{how: how}
	if status, body, ok := strings.Cut(how, " "); ok {
		n, err := strconv.Atoi(status)
		if err != nil {
			return err
		}
		instruction = told{status: n, body: body}
	}
	r.target.service.tell(question(verb, strconv.FormatInt(r.id(user), 10)), instruction)
	return nil
}

var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// request makes a request and compares the answer, until it is the right one where the step says so.
func (r *replay) request(s step, target string) error {
	deadline := time.Now().Add(patience)
	for {
		err := r.requestOnce(s, target)
		if err == nil || !s.answer.eventually || time.Now().After(deadline) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.ctx.Done():
			return err
		}
	}
}

func (r *replay) requestOnce(s step, target string) error {
	path, body, _ := strings.Cut(target, " ")
	request, err := http.NewRequestWithContext(r.ctx, s.verb, r.target.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if s.subject != "nobody" {
		token, err := r.token(s.subject)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for _, header := range s.headers {
		header, err := r.expand(header)
		if err != nil {
			return err
		}
		name, value, _ := strings.Cut(header, ":")
		if name == "Host" {
			request.Host = strings.TrimSpace(value) // the header of this name is not sent
		}
		request.Header.Set(name, strings.TrimSpace(value))
		if name == "Content-Type" && strings.TrimSpace(value) == "" {
			request.Header.Del(name)
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := r.compareAnswer(*s.answer, response, string(got)); err != nil {
		return fmt.Errorf("got %d %.2000s %w", response.StatusCode, got, err)
	}
	return nil
}

func (r *replay) compareAnswer(want answer, response *http.Response, got string) error {
	if response.StatusCode != want.status {
		return fmt.Errorf("instead of status %d", want.status)
	}
	headers := want.headers
	if !r.target.original {
		headers = slices.Concat(headers, want.ours)
	}
	typed := false
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if found := response.Header.Get(name); found != value {
			return fmt.Errorf("with the header %s: %s", name, found)
		}
		typed = typed || name == "Content-Type"
	}
	if want.body == "*" || want.oursBody && r.target.original {
		return nil
	}
	body, err := r.expand(want.body)
	switch {
	case err != nil:
		return err
	case body == "" && got != "":
		return errors.New("instead of no body")
	case body == "":
		return nil
	case !typed && response.Header.Get("Content-Type") != "application/json":
		return fmt.Errorf("of type %s", response.Header.Get("Content-Type"))
	}
	return r.matcher.match(body, got)
}
