package wire

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"chatting/domain"
)

// fieldOf returns the field x of a body that holds only it.
func fieldOf(t *testing.T, literal string) Value {
	t.Helper()
	parsed, err := ParseBody([]byte(`{"x":` + literal + `}`))
	if err != nil {
		t.Fatalf("%.60s: %v", literal, err)
	}
	return parsed["x"]
}

func TestAUserIsAnIntegerInWhateverWayItIsWritten(t *testing.T) {
	const most = 1<<63 - 1
	for literal, want := range map[string]domain.UserID{
		`7`: 7, `10`: 10, `7.0`: 7, `7.000`: 7, `0.7e1`: 7, `0.007E3`: 7, `70e-1`: 7, `700e-2`: 7, `7e0`: 7, `7e+1`: 70, `1.5e1`: 15, `12.50e2`: 1250, `100`: 100, `1020`: 1020,
		`9223372036854775807`: most, `922337203685477580.7e1`: most, `9223372036854775807000e-3`: most, `0.0000000000000000000007e22`: 7,
		`1e18`: 1e18, `1000000000000000000`: 1e18,
		`1e19`: Nobody, `9223372036854775808`: Nobody, `99999999999999999999`: Nobody, `1e400`: Nobody, `1e2147483648`: Nobody, `10e9223372036854775807`: Nobody, `1e99999999999999999999`: Nobody,
		`0`: Nobody, `-0`: Nobody, `0.0`: Nobody, `0e5`: Nobody, `0e-5`: Nobody, `0.00e-99999999999999999999`: Nobody, `-7`: Nobody, `-7.0`: Nobody, `-1e400`: Nobody,
		`"7"`: 7, `" 7 "`: 7, `"\t\n7\u00a0\u3000"`: 7, `"+7"`: 7, `"007"`: 7, `"7.0"`: 7, `"7.000 "`: 7, `"7."`: 7, `"9223372036854775807"`: most,
		`"9223372036854775808"`: Nobody, `"-9223372036854775809"`: Nobody, `"-7"`: Nobody, `"0"`: Nobody, `"-0"`: Nobody,
		`"` + strings.Repeat("0", maxIntegerText-1) + `7"`: 7,
	} {
		if got, complaint := fieldOf(t, literal).AsUser(); got != want || complaint != "" {
			t.Errorf("%.60s is %d, %q, want %d", literal, got, complaint, want)
		}
	}
	for literal, want := range map[string]string{
		`null`: sentenceNull, `true`: SentenceInteger, `false`: SentenceInteger, `[7]`: SentenceInteger, `{"x":7}`: SentenceInteger,
		`1.5`: SentenceInteger, `-1.5`: SentenceInteger, `15e-1`: SentenceInteger, `7e-1`: SentenceInteger, `1e-400`: SentenceInteger, `1.5e-9223372036854775808`: SentenceInteger, `1e-99999999999999999999`: SentenceInteger,
		`0.01e1`: SentenceInteger, `10e-2`: SentenceInteger,
		`""`: SentenceInteger, `" "`: SentenceInteger, `"+"`: SentenceInteger, `"-"`: SentenceInteger, `"+-7"`: SentenceInteger, `"--7"`: SentenceInteger, `"7-"`: SentenceInteger,
		`"1.5"`: SentenceInteger, `".0"`: SentenceInteger, `"7.0x"`: SentenceInteger, `"7.0.0"`: SentenceInteger, `"7e0"`: SentenceInteger, `"7 7"`: SentenceInteger, `"1_0"`: SentenceInteger,
		`"٧"`: SentenceInteger, `"x"`: SentenceInteger, `"0x7"`: SentenceInteger,
		`"` + strings.Repeat("7", maxIntegerText+1) + `"`: sentenceTooLarge,
	} {
		if got, complaint := fieldOf(t, literal).AsUser(); got != Nobody || complaint != want {
			t.Errorf("%.60s is %d, %q, want %q", literal, got, complaint, want)
		}
	}
	if _, complaint := (Value{}).AsUser(); complaint != sentenceRequired {
		t.Errorf("a missing one: %q", complaint)
	}
}

func TestATextIsTrimmedAndANumberIsItsLiteral(t *testing.T) {
	for literal, want := range map[string]string{
		`"m"`: "m", `" m \n"`: "m", `"\u001cm\u001f"`: "m", `"\u00a0\u3000m"`: "m", `"\u001b"`: "\x1b", `"a\u001cb"`: "a\x1cb", `"! m"`: "! m", `5`: "5", `-1.50`: "-1.50", `1E2`: "1E2", `5 `: "5",
		`"😀"`: "😀", `"\ud83d\ude00"`: "😀", `"\uD83D\uDE00x"`: "😀x", `"\ud800\udc00\udbff\udfff"`: "\U00010000\U0010ffff", `"\\ud800"`: `\ud800`, `"\\\ud83d\ude00"`: "\\😀",
		`"\ud7ff\ue000"`: "\ud7ff\ue000", `"x\nd800\td800"`: "x\nd800\td800", `"\u0041\n\/"`: "A\n/",
	} {
		if got, complaint := fieldOf(t, literal).AsText(); got != want || complaint != "" {
			t.Errorf("%s is %q, %q, want %q", literal, got, complaint, want)
		}
	}
	for literal, want := range map[string]string{
		`null`: sentenceNull, `true`: sentenceString, `[]`: sentenceString, `{}`: sentenceString, `""`: sentenceBlank, `" \t\n\u001c\u001f"`: sentenceBlank,
		`"a\u0000"`: sentenceNUL, `"\u0000"`: sentenceNUL, `"\u0000a"`: sentenceNUL,
		`"\ud800"`: lone(0xd800), `"\udbff"`: lone(0xdbff), `"\udc00"`: lone(0xdc00), `"\udfff"`: lone(0xdfff), `"\uDC00"`: lone(0xdc00),
		`"\udc00\udc00"`: lone(0xdc00), `"\udc00\ud800"`: lone(0xdc00), `"\ud83d\ud83d\ude00"`: lone(0xd83d), `"\ud83dx"`: lone(0xd83d), `"\ud83d\n"`: lone(0xd83d), `"\ud83d\\ude00"`: lone(0xd83d), `"\ud83dxude00"`: lone(0xd83d),
		`"\ud83d\udbff"`: lone(0xd83d), `"\ud83d\ue000"`: lone(0xd83d), `"x\u0041\ud83d\ude00\ud801"`: lone(0xd801), `"\n\ud802"`: lone(0xd802), `"\\\ud803"`: lone(0xd803),
		`"\ud83d\ude00\udc01"`: lone(0xdc01), `"\u0041\udc02"`: lone(0xdc02), `"\ud83d\u0041"`: lone(0xd83d), `"\ud804 "`: lone(0xd804), `" \udc03"`: lone(0xdc03),
	} {
		if got, complaint := fieldOf(t, literal).AsText(); got != "" || complaint != want {
			t.Errorf("%s is %q, %q, want %q", literal, got, complaint, want)
		}
	}
	if _, complaint := (Value{}).AsText(); complaint != sentenceRequired {
		t.Errorf("a missing one: %q", complaint)
	}
}

func TestAStringIsNoNumber(t *testing.T) {
	if got, complaint := fieldOf(t, `" m "`).AsString(); got != "m" || complaint != "" {
		t.Errorf("a text is %q, %q", got, complaint)
	}
	for literal, want := range map[string]string{`5`: sentenceString, `true`: sentenceString, `null`: sentenceNull, `""`: sentenceBlank} {
		if got, complaint := fieldOf(t, literal).AsString(); got != "" || complaint != want {
			t.Errorf("%s is %q, %q, want %q", literal, got, complaint, want)
		}
	}
}

func lone(unit uint16) string {
	return fmt.Sprintf("Surrogate characters are not allowed: U+%X.", unit)
}

func TestOnlyWhatIsMissingOrNullIsAbsent(t *testing.T) {
	if !(Value{}).IsAbsent() || !fieldOf(t, "null").IsAbsent() {
		t.Error("a missing or null field is there")
	}
	for _, literal := range []string{`""`, `0`, `false`, `[]`, `{}`, `"null"`} {
		if fieldOf(t, literal).IsAbsent() {
			t.Errorf("%s is absent", literal)
		}
	}
}

func TestASystemMessageIsReadFromItsFields(t *testing.T) {
	longest, longRoom := strings.Repeat("x", domain.MaxTextBytes), strings.Repeat("방", maxRoomID)
	for body, want := range map[string]domain.SystemMessage{
		`{"target_id":7,"message":"m"}`: {To: 7},
		`{"target_id":0,"message":"m"}`: {To: Nobody},
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":8}`:         {To: 7, Room: "r", Opponent: 8},
		`{"target_id":7,"message":"m","type":"invite_game","room_id":5}`:                           {To: 7, Room: "5"},
		`{"target_id":7,"message":"m","type":"invite_game","room_id":null,"opponent_id":8}`:        {To: 7},
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"r","opponent_id":null}`:      {To: 7, Room: "r"},
		`{"target_id":7,"message":"m","type":"chat","room_id":[],"opponent_id":"x"}`:               {To: 7},
		`{"target_id":7,"message":"m","type":["invite_game"],"room_id":"r","opponent_id":8}`:       {To: 7},
		`{"target_id":7,"message":"m","type":"invite_game","room_id":"` + longRoom + `"}`:          {To: 7, Room: domain.RoomID(longRoom)},
		`{"target_id":7,"message":"` + longest + `","room_id":"` + strings.Repeat("r", 300) + `"}`: {To: 7},
	} {
		parsed, err := ParseBody([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsed.SystemMessage()
		text, _ := parsed["message"].AsText()
		if err != nil || got.Text.String() != text || got.To != want.To || got.Room != want.Room || got.Opponent != want.Opponent {
			t.Errorf("%.100s is %.100v, %v", body, got, err)
		}
	}
	const good, tooLong = `"target_id":7,"message":"m"`, "Ensure this field has no more than "
	for body, want := range map[string]map[string]string{
		`{}`:                              {"target_id": sentenceRequired, "message": sentenceRequired},
		`{"target_id":7}`:                 {"message": sentenceRequired},
		`{"target_id":1.5,"message":"m"}`: {"target_id": SentenceInteger},
		`{"target_id":7,"message":"x` + longest + `"}`:                            {"message": tooLong + "65536 bytes."},
		`{` + good + `,"type":"invite_game","room_id":"방` + longRoom + `"}`:       {"room_id": tooLong + "255 characters."},
		`{` + good + `,"type":"invite_game","room_id":" ","opponent_id":""}`:      {"room_id": sentenceBlank, "opponent_id": SentenceInteger},
		`{` + good + `,"type":"invite_game","room_id":[],"opponent_id":0}`:        {"room_id": sentenceString, "opponent_id": SentenceNever},
		`{` + good + `,"type":"invite_game","opponent_id":-1}`:                    {"opponent_id": SentenceNever},
		`{` + good + `,"type":"invite_game","room_id":"r","opponent_id":"x"}`:     {"opponent_id": SentenceInteger},
		`{"target_id":"x","type":"invite_game","room_id":true,"opponent_id":1e9}`: {"target_id": SentenceInteger, "message": sentenceRequired, "room_id": sentenceString},
	} {
		parsed, err := ParseBody([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := parsed.SystemMessage()
		var invalid InvalidError
		said := map[string]string{}
		if errors.As(err, &invalid) {
			for field, sentences := range invalid {
				said[field] = strings.Join(sentences, "|")
			}
		}
		if !maps.Equal(said, want) || got != (domain.SystemMessage{}) {
			t.Errorf("%.100s: %v, %v, want %v", body, said, got, want)
		}
	}
}
