package kafka

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"chatting/domain"
)

var (
	referenceKey  = domain.Between(9, 10)
	referenceTime = time.Date(2026, 11, 23, 12, 45, 19, 712_000_000, time.UTC)
	referenceID   = domain.DerivedID("test", "x")
)

// referenceEvents has an event of every kind, in the conversations 9:10, 0:10 and 0:9.
func referenceEvents(t testing.TB) []domain.Event {
	const room = "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11"
	bodies := []domain.Body{
		domain.ChatMessage{From: 9, To: 10, Text: mustText(t, "<b>\"hi\"</b> & ' ü 😀\u2028\n\x00")},
		domain.ChatMessage{From: 10, To: 9, Text: mustText(t, "")},
		domain.GameInvite{From: 9, To: 10, Status: domain.InviteOpened, Room: room, Expires: referenceTime.Add(time.Minute)},
		domain.GameInvite{From: 9, To: 10, Status: domain.InviteCancelled},
		domain.GameInvite{From: 10, To: 9, Status: domain.InviteAccepted, Room: room},
		domain.SystemMessage{To: 10, Text: mustText(t, "round 2"), Room: "r\u2029", Opponent: 8},
		domain.BlockChanged{Blocker: 9, Target: 10, Blocked: true, Version: 3},
		domain.BlockChanged{Blocker: 9, Target: 10, Version: 4},
		domain.ReadMark{Reader: 10, Partner: 9, Message: referenceID, Unread: 7, Receipt: true},
		domain.ReadMark{Reader: 9, Message: referenceID},
	}
	var events []domain.Event
	for _, body := range bodies {
		events = append(events, domain.Event{ID: referenceID, Time: referenceTime, Body: body, ClientMessageID: `n"\ 1`})
	}
	return events
}

// checkVerdict compares what a record is taken for with what it was taken for by the reference. The verdict differs only on a
// record in which a name that counts stands twice, or in another case: it is refused.
func checkVerdict(t *testing.T, key domain.Conversation, value []byte) {
	t.Helper()
	before := bytes.Clone(value)
	event, frame, err := DecodeEvent(key, value)
	want, wantFrame, wantErr := referenceDecodeEvent(key, value)
	short := value[:min(len(value), 2000)]
	switch {
	case !bytes.Equal(value, before):
		t.Fatalf("%q became %q", before, value)
	case err != nil && wantErr == nil:
		if !isAmbiguous(value) {
			t.Errorf("%q is refused: %v", short, err)
		}
	case err == nil && wantErr != nil:
		t.Errorf("%q is accepted, and was refused: %v", short, wantErr)
	case err == nil && isAmbiguous(value):
		t.Errorf("%q is accepted, and readers could disagree about it", short)
	case err == nil && (event != want || !bytes.Equal(frame, wantFrame) || (frame == nil) != (wantFrame == nil)):
		t.Errorf("%q is\n%+v\n%s\nand was\n%+v\n%s", short, event, frame, want, wantFrame)
	}
}

// isAmbiguous tells of a JSON object that is an event.
func isAmbiguous(value []byte) bool {
	ambiguous := false
	check := func(object json.RawMessage, known []string) (data json.RawMessage) {
		count := map[string]int{}
		decoder := json.NewDecoder(bytes.NewReader(object))
		if _, err := decoder.Token(); err != nil {
			return nil
		}
		for decoder.More() {
			name, _ := decoder.Token()
			var value json.RawMessage
			if decoder.Decode(&value) != nil {
				return nil
			}
			for _, ours := range known {
				if strings.EqualFold(name.(string), ours) {
					count[ours]++
					ambiguous = ambiguous || name != ours || count[ours] > 1
				}
			}
			if name == "data" {
				data = value
			}
		}
		return data
	}
	check(check(value, attributeNames[:]), referenceFieldNames)
	return ambiguous
}

// jsonMember is a member of an object.
type jsonMember struct{ name, value string }

func membersOf(t testing.TB, object []byte) []jsonMember {
	t.Helper()
	var found []jsonMember
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		name, err := decoder.Token()
		var value json.RawMessage
		if err == nil {
			err = decoder.Decode(&value)
		}
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, jsonMember{`"` + name.(string) + `"`, string(value)})
	}
	return found
}

func objectOf(list []jsonMember, between string) string {
	parts := make([]string, len(list))
	for i, m := range list {
		parts[i] = m.name + between + ":" + between + m.value
	}
	return between + "{" + between + strings.Join(parts, between+","+between) + between + "}" + between
}

// hostileValues are values of other types and sizes than are expected, and values in other notations.
var hostileValues = []string{
	`null`, `true`, `false`, `[]`, `{}`, `[1,[2]]`, `{"type":"x","type":null}`, `0`, `-0`, `1`, `9`, `10`, `-9`, `9.0`, `1e1`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `1e400`, `01`, `+1`, `.5`,
	`""`, `"x"`, `"9"`, `"\u0039"`, `"1.0"`, `"1\u002e0"`, `"0.3"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00x"`, `"\ud83d\u0041"`, `"\u00e9\/\b"`, `"\x"`, `"\u12"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\x01\"", "\"\x7f\"", `"` + "\u2028" + `"`, `"x`,
	`"2026-11-23T12:45:19.712Z"`, `"2026-11-23T21:45:19,7129999+09:00"`, `"2026-11-23T1:02:03Z"`, `"0000-01-01T00:00:00+00:01"`, `"9999-12-31T23:59:59-00:01"`, `"2026-02-30T00:00:00Z"`, `"2026-11-23 12:45:19Z"`,
	`"A1B90AD2-B63B-4D23-9053-16D9A9E54230"`, `"a1b90ad2-b63b-4d23-9053-16d9a9e54230"`, `"chatting.chat_message.v1"`, `"chat_message"`, `"system_message"`, `"invite_game"`, `"invite"`, `"expired"`, `"user_blocked"`, `"read_mark"`, `1073741824`, `1073741825`,
}

// hostileNames are other ways to write a name, and what is no name.
func hostileNames(quoted string) []string {
	name := strings.Trim(quoted, `"`)
	escaped := fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:])
	half := `"` + name + `\ud800"`
	return []string{
		strings.ToUpper(quoted), `"` + strings.ToUpper(name[:1]) + name[1:] + `"`, strings.ReplaceAll(quoted, "s", "ſ"), strings.ReplaceAll(quoted, "k", "\u212a"),
		escaped, half, `""`, "\"\xff" + name + `"`, `"x"`, name, `5`, `null`, `[]`,
	}
}

// change returns an object with one of its members changed in every way.
func change(list []jsonMember) (changed []string) {
	with := func(i int, m ...jsonMember) {
		changed = append(changed, objectOf(slices.Concat(list[:i], m, list[i+1:]), ""))
	}
	for i, m := range list {
		with(i)
		with(i, m, m)
		with(i, m, jsonMember{m.name, "null"})
		with(i, jsonMember{m.name, "null"}, m)
		for _, value := range hostileValues {
			with(i, jsonMember{m.name, value})
			with(i, m, jsonMember{`"x"`, value})
		}
		for _, name := range hostileNames(m.name) {
			with(i, jsonMember{name, m.value})
			with(i, m, jsonMember{name, m.value})
			with(i, m, jsonMember{name, "null"})
		}
		moved := slices.Concat(list[:i], list[i+1:])
		changed = append(changed, objectOf(append(moved, m), ""), objectOf(append([]jsonMember{m}, moved...), ""))
	}
	for _, blank := range []string{" ", "\t", "\r\n", "\v", "\u00a0", "/**/"} {
		changed = append(changed, objectOf(list, blank))
	}
	return changed
}

func TestARecordIsTakenForWhatItWasEverTakenFor(t *testing.T) {
	const deep = 10_000
	accepted := 0
	check := func(key domain.Conversation, value string) {
		checkVerdict(t, key, []byte(value))
		if _, _, err := DecodeEvent(key, []byte(value)); err == nil {
			accepted++
		}
	}
	for _, event := range referenceEvents(t) {
		value, err := referenceEncodeEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		key := event.Body.Conversation()
		check(key, string(value))
		check(domain.Between(9, 11), string(value))
		envelope := membersOf(t, value)
		for _, changed := range change(envelope) {
			check(key, changed)
		}
		last := len(envelope) - 1
		frame := membersOf(t, []byte(envelope[last].value))
		for _, changed := range change(frame) {
			check(key, objectOf(append(slices.Clone(envelope[:last]), jsonMember{`"data"`, changed}), ""))
		}
		for i := range value {
			check(key, string(value[:i]))
			for _, b := range []byte("\"\\\xff0}") {
				changed := bytes.Clone(value)
				changed[i] = b
				check(key, string(changed))
			}
		}
		for _, behind := range []string{" ", "\n", "\x00", "{}", ",", "}", "null", "\ufeff"} {
			check(key, string(value)+behind)
			check(key, behind+string(value))
		}
		for _, levels := range []int{100, deep - 2, deep - 1, deep, deep + 1, 3 * deep} {
			nested := strings.Repeat("[", levels) + strings.Repeat("]", levels)
			check(key, objectOf(append([]jsonMember{{`"x"`, nested}}, envelope...), ""))
			data := objectOf(append([]jsonMember{{`"x"`, nested}}, frame...), "")
			check(key, objectOf(append(slices.Clone(envelope[:last]), jsonMember{`"data"`, data}), ""))
		}
		for _, size := range []int{1<<20 - len(envelope[last].value), 1 << 20} {
			data := objectOf(frame, "")
			data = data[:1] + strings.Repeat(" ", size) + data[1:]
			check(key, objectOf(append(slices.Clone(envelope[:last]), jsonMember{`"data"`, data}), ""))
			check(key, objectOf(append(slices.Clone(envelope[:last]), jsonMember{`"data"`, data + " "}), ""))
		}
	}
	// Guards the test: most of what is compared would be worth little if all of it were refused.
	if accepted < 1000 {
		t.Errorf("only %d records were accepted", accepted)
	}
}

// FuzzDecodeEventAsEver has the fuzzer look for a record that is taken for something else than by the reference: the value
// itself, or one whose frame is the fuzzer's.
func FuzzDecodeEventAsEver(f *testing.F) {
	for _, event := range referenceEvents(f) {
		value, err := referenceEncodeEvent(event)
		if err != nil {
			f.Fatal(err)
		}
		list := membersOf(f, value)
		f.Add(value, []byte(list[len(list)-1].value))
		f.Add([]byte(objectOf(append(list, jsonMember{`"Data"`, "null"}), " ")), []byte(objectOf(membersOf(f, []byte(list[len(list)-1].value)), "\n")))
	}
	for _, value := range hostileValues {
		f.Add([]byte(value), []byte(value))
		f.Add([]byte(`{"id":`+value+`}`), []byte(`{"id":`+value+`,"id":1}`))
	}
	kinds := []string{"chat_message", "invite_game", "system_message", "user_blocked", "user_unblocked", "read_mark"}
	f.Fuzz(func(t *testing.T, value, frame []byte) {
		checkVerdict(t, referenceKey, value)
		for _, kind := range kinds {
			if !bytes.Contains(frame, []byte(kind)) {
				continue
			}
			key := referenceKey
			if kind == "system_message" {
				key = domain.Between(domain.System, 10)
			}
			checkVerdict(t, key, fmt.Appendf(nil, `{"specversion":"1.0","id":"%s","type":"chatting.%s.v1","unread":3,"data":%s}`, referenceID, kind, frame))
		}
	})
}

// FuzzEncodeEventAsEver has the fuzzer look for an event that is written otherwise than by the reference, or that does not
// come back as what it is: whoever finds its own record again need not read it.
func FuzzEncodeEventAsEver(f *testing.F) {
	f.Add(int64(9), int64(10), "hi", "4f4cbd2e-8a07-4e1c-9d53-3f1d2a0f7b11", "n", int64(8), int64(1), uint64(0), uint8(0))
	f.Add(int64(9), int64(9), "\u2028\u2029<&>\"\\\b\f\n\r\t\x00\x7f", "\xff\u2028", `\"`, int64(0), int64(2), uint64(1<<40), uint8(1))
	f.Add(int64(9), int64(10), "a\u2028", "b\u2029", "", int64(0), int64(1), uint64(1<<40), uint8(2))
	f.Add(int64(1), int64(1<<62), strings.Repeat("é", 300), "", "", int64(0), int64(1<<60), uint64(1<<50), uint8(2))
	f.Add(int64(9), int64(10), "", "", "", int64(1), int64(1<<40), uint64(1<<40), uint8(4))
	f.Add(int64(9), int64(9), "", "", "n", int64(0), int64(3), uint64(1<<40), uint8(4))
	statuses := []domain.InviteStatus{
		domain.InviteOpened, domain.InviteCancelled, domain.InviteAccepted, domain.InviteDeclined, domain.InviteExpired,
	}
	f.Fuzz(func(t *testing.T, from, to int64, text, room, name string, opponent, version int64, millis uint64, kind uint8) {
		said, err := domain.NewText(text)
		if err != nil || from <= 0 || to <= 0 || opponent < 0 || version <= 0 {
			t.Skip()
		}
		a, b := domain.UserID(from), domain.UserID(to)
		event := domain.Event{ID: domain.DerivedID("test", text), Time: time.UnixMilli(int64(millis % 253402300800000)).UTC()}
		if event.ClientMessageID, err = domain.NewClientMessageID(name); err != nil {
			event.ClientMessageID = ""
		}
		// What a use case makes comes back as it went; what is written here may be anything.
		whole := utf8.ValidString(room)
		switch kind % 5 {
		case 0:
			event.Body, whole = domain.ChatMessage{From: a, To: b, Text: said.EscapeHTML()}, true
		case 1:
			invite := domain.GameInvite{From: a, To: b, Status: statuses[int(version)%len(statuses)], Room: domain.RoomID(room)}
			if invite.Status == domain.InviteOpened {
				invite.Expires = event.Time.Add(time.Minute)
			}
			_, named := domain.ParseEventID(room)
			event.Body, whole = invite, whole && (named || !invite.Status.IsNew()) && invite.Expires.Year() <= 9999
		case 2:
			event.Body = domain.SystemMessage{To: b, Text: said, Room: domain.RoomID(room), Opponent: domain.UserID(opponent)}
		case 4:
			partner := b * domain.UserID(opponent%2) // or the system
			event.Body = domain.ReadMark{Reader: a, Partner: partner, Message: event.ID, Unread: int(version % 1001), Receipt: version%2 == 0}
			whole = true
		default:
			if a == b {
				t.Skip()
			}
			event.Body, whole = domain.BlockChanged{Blocker: a, Target: b, Blocked: version%2 == 1, Version: version}, true
		}
		value, err := EncodeEvent(event)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := referenceEncodeEvent(event); err != nil || !bytes.Equal(value, want) {
			t.Fatalf("it is written\n%s\nand was written\n%s, %v", value, want, err)
		}
		if got, _, err := DecodeEvent(event.Body.Conversation(), value); whole && (err != nil || got != event) {
			t.Fatalf("%s\ncomes back as %+v, %v\nand was     %+v", value, got, err, event)
		}
		own := newOwnMessages()
		own.note(event, value)
		read, readFrame, err := DecodeEvent(event.Body.Conversation(), value)
		got, frame, ok := own.take(event.Body.Conversation(), value)
		if ok && (err != nil || got != read || !bytes.Equal(frame, readFrame)) {
			t.Fatalf("%s\nis remembered as %+v\n%s\nand read as %+v\n%s, %v", value, got, frame, read, readFrame, err)
		}
	})
}
