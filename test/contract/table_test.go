package contract

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// The table stands in table/*.txt, to be read as a specification. Its notation:
//
//	row: NAME             begins a row; what follows belongs to it
//	answers: both         who answers so: both, ours or original
//	original: WORDS       where only ours answers so: what the original does
//	server: NAME          which of the servers below is asked; plain where nothing is said
//	each: TEXT            makes a row of it for each such line, {each} standing for the text; with TEXT => OTHER,
//	                      {then} stands for the other
//	  STEP                indented: what is done and seen, one after the other
//
// A line that begins with # is a comment. The steps of sockets, ann being a user, ann.2 that user's second connection:
//
//	ann connects [at PATH] [with HEADER: VALUE]     opens a socket
//	ann is refused STATUS [at PATH] [with HEADER: VALUE]   tries to, and gets this answer
//	ann logs in [seeing bob cat]                    connects, sends a good token, gets the answer with these online friends
//	ann > TEXT                                      sends a text frame
//	ann < JSON                                      the next frame that arrives is this
//	ann sends binary|first|next|last|ping|close …   sends a binary message; a text message in fragments; a control frame
//	ann gets ping|pong [TEXT] [after TIME]          that control frame arrives
//	ann answers no pings                            from now on
//	ann closed CODE [REASON] [after TIME]           the server closes with this code, and ours with this reason (* any)
//	ann leaves                                      closes with 1000 and gets 1000 back
//	ann is cut off                                  the TCP connection ends with no word said
//	ann watches bob cat                             has added them as friends; for before ann logs in
//
// A frame that arrives must be the next one expected, on each connection, and nothing may have arrived beside at the row's
// end: so nothing is between one expected frame and the next of the same conversation. "after TIME" means not before that
// since the client last said a word.
//
// Requests, with the good token of ann, or none for nobody:
//
//	ann GET /path?x=y                               or another method, and a body: ann POST /path {"target_id":7}
//	  with HEADER: VALUE                            further headers; a body is application/json where nothing is said
//	= STATUS [JSON]                                 the answer; without JSON its body is empty, with * anything
//	~ STATUS [JSON]                                 the same, asked again until it is so
//	  with HEADER: VALUE                            a header of the answer
//
// What the user-management service does, where there is one:
//
//	service verify|friends ann = STATUS JSON        answers so about this user
//	service verify|friends ann = hangs|drops        never answers; ends the connection instead of answering
//	service answered verify|friends ann N           it has done so N times more
//
// Placeholders in all of these: {ann} the id of a user that nobody else has; {token ann} a good token of hers, {token ann
// again} another, {token ann for 2s} one that expires, {token ann expired} one that did; {token ann as refresh} one whose
// token_type says so; {token id JSON} one that names this user; {repeat 3 ab};
// {hex ff}. In what is expected: "{time}", "{uuid}" (with a name, {uuid a}, the same at each mention and unlike others),
// "{any}" some text. In what is sent, those with a name stand for what they were before.
//
// What is expected is complete: a further field is a failure, and so is a number where a text should be. A field whose
// name begins with +, a body after + or a header +with is what ours answers more than the original.

//go:embed table/*.txt
var tableFiles embed.FS

// row is an exchange of the contract.
type row struct {
	file     string
	line     int
	name     string
	answers  string
	original string
	server   string
	steps    []step
}

// step is a line of a row, or a request with its answer.
type step struct {
	line          int
	subject, verb string
	rest          string
	headers       []string
	answer        *answer
}

// answer is what is expected of a request.
type answer struct {
	eventually bool
	status     int
	body       string
	oursBody   bool // the body is ours alone
	headers    []string
	ours       []string // headers that are ours alone
}

const (
	both     = "both"
	ours     = "ours"
	original = "original"
)

// readTable returns all rows, or what is wrong with the first line that is none.
func readTable() ([]row, error) {
	names, err := fs.Glob(tableFiles, "table/*.txt")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, name := range names {
		text, err := tableFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		parsed, err := parseTable(strings.TrimPrefix(name, "table/"), string(text))
		if err != nil {
			return nil, err
		}
		rows = append(rows, parsed...)
	}
	return rows, nil
}

// tableParser goes through one file.
type tableParser struct {
	file  string
	rows  []row
	row   *row
	lines []tableLine // the row's steps
	eachs []string
}

type tableLine struct {
	number int
	text   string
}

func parseTable(file, text string) ([]row, error) {
	p := &tableParser{file: file}
	for i, line := range strings.Split(text, "\n") {
		if err := p.take(i+1, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return p.rows, nil
}

func (p *tableParser) take(number int, line string) error {
	switch {
	case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		return nil
	case strings.HasPrefix(line, " "):
		if p.row == nil {
			return errors.New("a step before the first row")
		}
		p.lines = append(p.lines, tableLine{number, strings.TrimPrefix(line, "  ")})
		return nil
	}
	field, value, ok := strings.Cut(line, ": ")
	switch {
	case !ok:
		return fmt.Errorf("no field: %q", line)
	case field == "row":
		if err := p.finish(); err != nil {
			return err
		}
		p.row, p.lines, p.eachs = &row{file: p.file, line: number, name: value, server: "plain"}, nil, nil
	case p.row == nil || len(p.lines) > 0:
		return fmt.Errorf("the field %s does not stand at a row's beginning", field)
	case field == "answers":
		p.row.answers = value
	case field == "original":
		p.row.original = value
	case field == "server":
		p.row.server = value
	case field == "each":
		p.eachs = append(p.eachs, value)
	default:
		return fmt.Errorf("unknown field %s", field)
	}
	return nil
}

var (
	verbs = regexp.MustCompile(`^(connects|is|logs|>|<|sends|gets|answers|closed|leaves|watches|verify|friends|friendaddme|answered|[A-Z]+)$`)
	names = regexp.MustCompile(`^[a-z]+(\.[2-9])?$`)
)

// step adds what a line says to a row.
func (r *row) step(number int, line string) error {
	last := &step{verb: "none", answer: &answer{}}
	if len(r.steps) > 0 {
		last = &r.steps[len(r.steps)-1]
	}
	word, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	switch word {
	case "with", "+with":
		switch {
		case !isRequest(*last):
			return errors.New("a header of nothing")
		case last.answer == nil:
			last.headers = append(last.headers, rest)
		case word == "with":
			last.answer.headers = append(last.answer.headers, rest)
		default:
			last.answer.ours = append(last.answer.ours, rest)
		}
		return nil
	case "=", "~":
		if !isRequest(*last) || last.answer != nil {
			return errors.New("an answer to nothing")
		}
		status, body, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(status)
		if err != nil {
			return fmt.Errorf("no status: %w", err)
		}
		body, oursBody := strings.CutPrefix(body, "+")
		last.answer = &answer{eventually: word == "~", status: n, body: body, oursBody: oursBody}
		return nil
	}
	if isRequest(*last) && last.answer == nil {
		return errors.New("a request without its answer stands before this")
	}
	verb, rest, _ := strings.Cut(rest, " ")
	if !names.MatchString(word) || !verbs.MatchString(verb) {
		return fmt.Errorf("no step: %q", line)
	}
	r.steps = append(r.steps, step{line: number, subject: word, verb: verb, rest: rest})
	return nil
}

func isRequest(s step) bool { return s.verb[0] >= 'A' && s.verb[0] <= 'Z' }

// finish checks the row that ends here, and adds it as often as its each lines say.
func (p *tableParser) finish() error {
	r := p.row
	if r == nil {
		return nil
	}
	wrong := func(what string) error { return fmt.Errorf("the row %q of line %d %s", r.name, r.line, what) }
	switch {
	case len(p.lines) == 0:
		return wrong("has no steps")
	case r.answers != both && r.answers != ours && r.answers != original:
		return wrong("does not say who answers so")
	case (r.answers == ours) != (r.original != ""):
		return wrong("says what the original does where both answer so, or does not say it where only ours does")
	}
	if len(p.eachs) == 0 {
		return p.add(*r, strings.NewReplacer())
	}
	for _, each := range p.eachs {
		value, then, _ := strings.Cut(each, " => ")
		variant := *r
		variant.name += ": " + value
		if err := p.add(variant, strings.NewReplacer("{each}", value, "{then}", then)); err != nil {
			return err
		}
	}
	return nil
}

// add reads the steps of a row.
func (p *tableParser) add(r row, put *strings.Replacer) error {
	for _, line := range p.lines {
		if err := r.step(line.number, put.Replace(line.text)); err != nil {
			return fmt.Errorf("line %d: %w", line.number, err)
		}
	}
	if last := r.steps[len(r.steps)-1]; isRequest(last) && last.answer == nil {
		return fmt.Errorf("the row %q of line %d ends with a request without its answer", r.name, r.line)
	}
	p.rows = append(p.rows, r)
	return nil
}
