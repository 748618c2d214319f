package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/cmd/chatting/terminal"
	"chatting/domain"
)

// seenRecord is a record that anybody may have written.
type seenRecord struct {
	topic      string
	partition  int
	offset     int64
	time       time.Time
	key, value []byte // nil for none
	headers    [][2]string

	// noEvent says why the value is no event; "" where it is one. Then kind is its type.
	noEvent string
	kind    string
	// data are the fields of the event's data; of what is no event, those of the value, if it has any.
	data map[string]json.RawMessage
}

// see looks at what a record is. Its bytes are those of the tail's record.
func see(topic string, r *recordbatch.StoredRecord) seenRecord {
	s := seenRecord{
		topic: topic, partition: r.Partition, offset: r.Offset, time: r.Time, key: r.WholeKey, value: r.Value,
	}
	headers, _ := r.Headers() // of a record with very many, the first ones
	for _, h := range headers {
		s.headers = append(s.headers, [2]string{h.Key, string(h.Value)})
	}
	s.look()
	return s
}

// look finds out what the value is.
func (r *seenRecord) look() {
	if r.value == nil {
		r.noEvent = "no value"
		return
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.value, &fields); err != nil || fields == nil {
		r.noEvent = "no JSON object"
		return
	}
	r.data = fields
	version, kind := r.text("specversion"), r.text("type")
	if version != "1.0" || kind == "" {
		r.noEvent = "no CloudEvent"
		return
	}
	r.kind, r.data = kind, nil
	// data need not have fields.
	_ = json.Unmarshal(fields["data"], &r.data)
}

// text returns a field that is a string, "" for any other.
func (r *seenRecord) text(field string) string {
	var text string
	if json.Unmarshal(r.data[field], &text) != nil {
		return ""
	}
	return text
}

// user returns a field that names a user, as a number or as a text; 0 for any other.
func (r *seenRecord) user(field string) domain.UserID {
	text := strings.TrimSpace(string(r.data[field]))
	if quoted := r.text(field); quoted != "" {
		text = strings.TrimSpace(quoted)
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return domain.UserID(id)
}

// userFields are where records name the users that they are about.
var userFields = []string{"from_id", "to_id", "user_id", "target_id", "opponent_id", "user"}

// count returns how many elements the list of a field has.
func (r *seenRecord) count(field string) int {
	var list []json.RawMessage
	_ = json.Unmarshal(r.data[field], &list) // anybody may have written the record
	return len(list)
}

// concerns tells whether a record names a user, in its data or its key.
func (r *seenRecord) concerns(user domain.UserID) bool {
	for _, field := range userFields {
		if r.user(field) == user {
			return true
		}
	}
	return slices.Contains(strings.Split(string(r.key), ":"), user.String())
}

// shortKind is the type of an event without prefix and version, if it is ours.
func (r *seenRecord) shortKind() string {
	kind, ours := strings.CutPrefix(r.kind, typePrefix)
	if kind, first := strings.CutSuffix(kind, ".v1"); ours && first {
		return kind
	}
	return r.kind
}

// typePrefix is how the types of our events begin.
const typePrefix = "chatting."

// maxShown is how much of a value of an unknown form is shown in a line, in bytes.
const maxShown = 300

// line shows a record in a line of text.
func (r seenRecord) line(prefix string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %d:%d ", stamp(r.time), strings.TrimPrefix(r.topic, prefix+"."), r.partition, r.offset)
	if r.noEvent != "" {
		fmt.Fprintf(&b, "(%s)", r.noEvent)
		if r.value != nil {
			b.WriteString(" " + shorten(r.value))
		}
		return terminal.Printable([]byte(b.String()))
	}
	b.WriteString(r.shortKind())
	switch kind := r.shortKind(); {
	case kind == "presence_changed":
		fmt.Fprintf(&b, " %d %s", r.user("user_id"), r.text("status"))
	case kind == "moderation":
		fmt.Fprintf(&b, " %s -> %d %s", r.text("actor"), r.user("user_id"), r.text("act"))
		for _, field := range []string{"until", "reason"} {
			if text := r.text(field); text != "" {
				b.WriteString(" " + text)
			}
		}
	case kind == "announcement":
		to := r.text("to")
		if to == "" {
			to = fmt.Sprintf("%d users", r.count("user_ids"))
		}
		fmt.Fprintf(&b, " %s -> %s %s", r.text("actor"), to, r.text("message"))
	case kind == "texts_read":
		fmt.Fprintf(&b, " %s -> %d %s", r.text("actor"), r.user("user_id"), r.text("reason"))
	case kind == "system_message" && r.data["from_id"] == nil && r.data["to_id"] != nil:
		fmt.Fprintf(&b, " %s -> %d %s", r.text("from"), r.user("to_id"), r.text("message"))
		r.addRoom(&b)
	case r.data["from_id"] != nil && r.data["to_id"] != nil:
		fmt.Fprintf(&b, " %d -> %d", r.user("from_id"), r.user("to_id"))
		for _, field := range []string{"status", "message"} {
			if text := r.text(field); text != "" {
				b.WriteString(" " + text)
			}
		}
		r.addRoom(&b)
	default:
		b.WriteString(" " + shorten(r.value))
	}
	return terminal.Printable([]byte(b.String()))
}

func (r *seenRecord) addRoom(b *strings.Builder) {
	if room := r.text("room_id"); room != "" {
		b.WriteString(" (room " + room + ")")
	}
}

// shorten returns the beginning of a value.
func shorten(value []byte) string {
	if len(value) <= maxShown {
		return string(value)
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(string(value[:maxShown]), ""), len(value))
}

// json shows a record as a JSON object, the event with the values that it has.
func (r seenRecord) json() string {
	shown := struct {
		Topic       string          `json:"topic"`
		Partition   int             `json:"partition"`
		Offset      int64           `json:"offset"`
		Timestamp   string          `json:"timestamp"`
		Key         *string         `json:"key"`
		KeyBase64   string          `json:"key_base64,omitempty"`
		Event       json.RawMessage `json:"event"`
		Value       *string         `json:"value,omitempty"`
		ValueBase64 string          `json:"value_base64,omitempty"`
		Headers     [][2]string     `json:"headers,omitempty"`
	}{Topic: r.topic, Partition: r.partition, Offset: r.offset, Timestamp: stamp(r.time)}
	shown.Key, shown.KeyBase64 = asText(r.key)
	if r.noEvent == "" {
		shown.Event = r.value
	} else {
		shown.Value, shown.ValueBase64 = asText(r.value)
		shown.Headers = r.headers
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(shown); err != nil { // the event has been decoded: there is nothing that cannot be encoded
		panic(err)
	}
	return terminal.Printable(bytes.TrimRight(buffer.Bytes(), "\n"))
}

// asText returns bytes as a string, or in base64 where they are no text.
func asText(b []byte) (text *string, encoded string) {
	switch {
	case b == nil:
		return nil, ""
	case !utf8.Valid(b):
		return nil, base64.StdEncoding.EncodeToString(b)
	}
	s := string(b)
	return &s, ""
}

// eventFilter says which records are wanted: those that all of it matches.
type eventFilter struct {
	user  domain.UserID // 0: any
	types []string      // none: any
}

func (f eventFilter) passes(r seenRecord) bool {
	return (f.user == 0 || r.concerns(f.user)) && (len(f.types) == 0 || slices.Contains(f.types, r.kind))
}

// shortTypes are the types of our events, without prefix and version.
var shortTypes = []string{
	"chat_message", "invite_game", "system_message", "user_blocked", "user_unblocked", "read_mark", "presence_changed", "moderation",
	"announcement", "texts_read",
}

// readTypes reads a list of types: those of ours in short, and others, or later versions, in full.
func readTypes(list string) ([]string, error) {
	var types []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case slices.Contains(shortTypes, name):
			types = append(types, typePrefix+name+".v1")
		case strings.Contains(name, "."):
			types = append(types, name)
		default:
			return nil, fmt.Errorf("the types are %s; write others in full, such as %s%s.v2",
				strings.Join(shortTypes, ", "), typePrefix, shortTypes[0])
		}
	}
	return types, nil
}
