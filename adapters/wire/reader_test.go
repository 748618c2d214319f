package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"chatting/adapters/wire"
)

// read returns the members of an object, each as name=value.
func read(data string) ([]string, error) {
	r := wire.Read([]byte(data))
	defer r.Close()
	var found []string
	_, err := r.Object(func(name []byte) error {
		key := string(name)
		value, err := r.Value()
		found = append(found, fmt.Sprintf("%s=%s", key, value))
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, r.End()
}

func TestEachMemberComesAsItWasWritten(t *testing.T) {
	for data, want := range map[string][]string{
		`{}`:                      nil,
		" {\t} \r\n":              nil,
		`{"a":1}`:                 {"a=1"},
		`{"a" : -1.50e+7 , "b":}`: nil,
		`{ "a" : [ 1, {"a":"]"} ] , "b" : { "c" : [ ] } }`: {`a=[ 1, {"a":"]"} ]`, `b={ "c" : [ ] }`},
		`{"a":"\"}\\","a":null,"A":true,"":false}`:         {`a="\"}\\"`, "a=null", "A=true", "=false"},
		`{"\u0061\n\ud800":"\ud800"}`:                      {"a\n\ufffd=" + `"\ud800"`},
		"{\"\xff\":\"\xff\"}":                              {"\xff=\"\xff\""},
	} {
		got, err := read(data)
		if (err != nil) == json.Valid([]byte(data)) || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", data, got, err, want)
		}
	}
}

func TestWhatIsNoObjectIsLeftToBeRead(t *testing.T) {
	for _, data := range []string{`[{"a":1}]`, `null`, ` "x" `, `5`} {
		r := wire.Read([]byte(data))
		if _, err := r.Object(func([]byte) error { return nil }); !errors.Is(err, wire.ErrNoObject) {
			t.Errorf("%s: %v", data, err)
		}
		value, err := r.Value()
		if err != nil || string(value) != strings.TrimSpace(data) || r.End() != nil {
			t.Errorf("%s: %s, %v", data, value, err)
		}
		r.Close()
	}
}

func TestAnObjectIsReturnedAsItStands(t *testing.T) {
	const data = ` {"data": {"a": 1 } ,"b":2} `
	r := wire.Read([]byte(data))
	defer r.Close()
	var inner string
	whole, err := r.Object(func(name []byte) error {
		if string(name) != "data" {
			_, err := r.Value()
			return err
		}
		raw, err := r.Object(func([]byte) error {
			_, err := r.Value()
			return err
		})
		inner = string(raw)
		return err
	})
	if err != nil || inner != `{"a": 1 }` || string(whole) != strings.TrimSpace(data) || r.End() != nil {
		t.Errorf("%q in %q, %v", inner, whole, err)
	}
}

func TestAnErrorOfTheCallerEndsTheReading(t *testing.T) {
	r := wire.Read([]byte(`{"a":1,"b":2}`))
	defer r.Close()
	enough := errors.New("enough")
	calls := 0
	if _, err := r.Object(func([]byte) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%v after %d members", err, calls)
	}
}

// What is nested deeply must not make the stack of a goroutine grow: many connections may send it at once.
func TestWhatIsNestedDeeplyTakesNoStack(t *testing.T) {
	defer debug.SetMaxStack(debug.SetMaxStack(256 << 10)) // a deeper one ends the process
	const most = 10_000
	lists := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for data, valid := range map[string]bool{
		`{"a":` + lists(most-1) + `}`: true,
		`{"a":` + lists(most) + `}`:   false,
		`{` + lists(most-1) + `}`:     false,
		`{"a":` + strings.Repeat(`{"a":`, most-2) + `{}` + strings.Repeat("}", most-1): true,
		`{"a":` + strings.Repeat(`{"a":`, most-1) + `{}` + strings.Repeat("}", most):   false,
		strings.Repeat(`{`, 50_000):    false,
		strings.Repeat(`{"a":`, 5_000): false,
	} {
		if json.Valid([]byte(data)) != valid {
			t.Fatalf("%.20s… of %d bytes is valid: %t", data, len(data), !valid)
		}
		if _, err := read(data); (err == nil) != valid {
			t.Errorf("%.20s… of %d bytes: %v", data, len(data), err)
		}
	}
}

func TestTextsAndIntegers(t *testing.T) {
	for value, want := range map[string]string{
		`""`: "", `"x"`: "x", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t", `"\u00fc\ud83d\ude00"`: "ü😀", `"\ud83d"`: "\ufffd", `"\ud83dx"`: "\ufffdx", `"\ud83d\u0041"`: "\ufffdA", `"\ude00\ud83d"`: "\ufffd\ufffd",
	} {
		if got, ok := wire.Text([]byte(value)); !ok || string(got) != want {
			t.Errorf("%s is %q, %t", value, got, ok)
		}
	}
	for _, value := range []string{"", "null", "5", "[]", "{}", "true"} {
		if got, ok := wire.Text([]byte(value)); ok {
			t.Errorf("%s is the text %q", value, got)
		}
	}
	for value, want := range map[string]int64{"0": 0, "-0": 0, "7": 7, "-9223372036854775808": -1 << 63, "9223372036854775807": 1<<63 - 1} {
		if got, ok := wire.Integer([]byte(value)); !ok || got != want {
			t.Errorf("%s is %d, %t", value, got, ok)
		}
	}
	for _, value := range []string{"9223372036854775808", "1.0", "1e2", `"7"`, "null", "true", "[]"} {
		if got, ok := wire.Integer([]byte(value)); ok {
			t.Errorf("%s is the integer %d", value, got)
		}
	}
}

// The verdict and the texts are those of encoding/json.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"a":1}`, `{"a":"\ud83d\ude00","b":[{"c":null}]}`, ` {"a" : -1.5E+7 } `, `{"a":01}`, `{"a":1,}`, `{"a":"` + "\x01" + `"}`, "{\"\xff\":\"\xed\xa0\x80\"}", `{"a":"\ud800\u0041\ude00"}`, `null`, `{} {}`, `{"a"}`, `{[]:1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		var want map[string]json.RawMessage
		isObject := json.Unmarshal(data, &want) == nil && want != nil
		got := map[string]json.RawMessage{}
		r := wire.Read(data)
		defer r.Close()
		_, err := r.Object(func(name []byte) error {
			key := strings.ToValidUTF8(string(name), "\ufffd")
			value, err := r.Value()
			got[key] = value
			return err
		})
		if err == nil {
			err = r.End()
		}
		if !bytes.Equal(data, before) {
			t.Fatal("the data was changed")
		}
		if (err == nil) != isObject {
			t.Fatalf("%q: %v; an object for encoding/json: %t", data, err, isObject)
		}
		if !isObject {
			return
		}
		for name, value := range want {
			if strings.Contains(name, "\ufffd") { // which of several bad bytes are one character is not the same
				continue
			}
			if !bytes.Equal(got[name], value) {
				t.Fatalf("%q has %q %s, want %s", data, name, got[name], value)
			}
			var text *string
			if json.Unmarshal(value, &text) == nil && text != nil {
				if read, ok := wire.Text(value); !ok || strings.ToValidUTF8(string(read), "\ufffd") != strings.ToValidUTF8(*text, "\ufffd") && bytes.Equal(value, bytes.ToValidUTF8(value, nil)) {
					t.Fatalf("%s is %q, want %q", value, read, *text)
				}
			}
			var n *int64
			if isInt := json.Unmarshal(value, &n) == nil && n != nil; isInt {
				if read, ok := wire.Integer(value); !ok || read != *n {
					t.Fatalf("%s is %d, want %d", value, read, *n)
				}
			} else if read, ok := wire.Integer(value); ok {
				t.Fatalf("%s is %d, and no integer", value, read)
			}
		}
	})
}

func TestHalfASurrogatePairIsFoundAnywhere(t *testing.T) {
	for raw, want := range map[string]bool{
		``: false, `"x"`: false, `"\n\\\/\""`: false, `"\ud7ff\ue000"`: false, `"\u0041"`: false, `"\ud800\udc00"`: false, `"\udbff\udfff"`: false, `"\uD83D\uDE00x\uD83D\uDE00"`: false,
		`"\\ud800"`: false, `"\\\\ud800"`: false, `"x\nd800"`: false, `"\\\ud83d\ude00"`: false,
		`"\ud800"`: true, `"\udbff"`: true, `"\udc00"`: true, `"\udfff"`: true, `"\udc00\udc00"`: true, `"\udc00\ud800"`: true, `"\ud800\ud800"`: true, `"\ud800\udbff"`: true, `"\ud800\ue000"`: true,
		`"\ud800x"`: true, `"\ud800\n"`: true, `"\ud800\\udc00"`: true, `"\ud800xudc00"`: true, `"\ud800\u0041"`: true, `"\ud83d\ude00\ud801"`: true, `"\ud83d\ude00\udc01"`: true,
		`"\u0041\ud802"`: true, `"\\\ud803"`: true, `"a\"\ud804"`: true, `"\ud800 ","\udc00"`: true,
	} {
		if got := wire.LoneSurrogate([]byte(raw)) != 0; got != want {
			t.Errorf("%s: %t", raw, got)
		}
	}
}
