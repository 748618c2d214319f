package wire

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

var (
	// ErrSyntax tells that the bytes are not JSON. It does not quote them: they may be what somebody said.
	ErrSyntax = errors.New("not valid JSON")
	// ErrNoObject tells that the next value is not an object. It has not been read.
	ErrNoObject = errors.New("not a JSON object")
	// ErrAmbiguous tells that readers of an object could disagree about which member is the one of a name.
	ErrAmbiguous = errors.New("a field is ambiguous")
)

// Reader reads one JSON value that others wrote, each byte once. It checks the grammar (RFC 8259) and nothing else: what a name
// means, and whether it may come twice, is for the caller to say. Close ends its use.
type Reader struct {
	decoder jsontext.Decoder
	buffer  bytes.Buffer
	data    []byte
}

var grammarOnly = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// Read returns a reader of data, which must not change until Close.
func Read(data []byte) *Reader {
	r := readers.Get().(*Reader)
	r.data = data
	r.reset(data)
	return r
}

// Close gives the reader back. What Value returned stays valid.
func (r *Reader) Close() {
	r.data = nil
	r.reset(nil) // holds on to nobody's data
	readers.Put(r)
}

func (r *Reader) reset(data []byte) {
	r.buffer = *bytes.NewBuffer(data)
	r.decoder.Reset(&r.buffer, grammarOnly...)
}

// Object reads an object, calls member for each of its members, and returns the object as Value does. member has to read
// the value. The name is what stands between the quotes, its escapes resolved, and is not to be kept. An error of member
// ends the reading.
func (r *Reader) Object(member func(name []byte) error) ([]byte, error) {
	if r.decoder.PeekKind() != jsontext.KindBeginObject {
		return nil, ErrNoObject
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return nil, ErrSyntax
	}
	start := r.decoder.InputOffset() - 1
	for r.decoder.PeekKind() != jsontext.KindEndObject {
		if r.decoder.PeekKind() != jsontext.KindString {
			return nil, ErrSyntax // before the decoder follows whatever is nested there
		}
		raw, err := r.decoder.ReadValue()
		if err != nil {
			return nil, ErrSyntax
		}
		name, _ := Text(raw)
		if err := member(name); err != nil {
			return nil, err
		}
	}
	if _, err := r.decoder.ReadToken(); err != nil {
		return nil, ErrSyntax
	}
	return r.data[start:r.decoder.InputOffset()], nil
}

// Value reads any value and returns it as it stands in the data, without the blanks around it.
func (r *Reader) Value() ([]byte, error) {
	switch r.decoder.PeekKind() {
	case jsontext.KindBeginObject, jsontext.KindBeginArray:
		return r.nested()
	default:
		value, err := r.decoder.ReadValue()
		if err != nil {
			return nil, ErrSyntax
		}
		return value, nil
	}
}

// Field reads the value of the member of that name. If names has the name, the value goes to its place in values, where nil
// stands for a member that was not there so far; else it is dropped. ErrAmbiguous is for a name that comes twice, and for
// one that differs from one of names in case only: some parsers take no notice of case.
func (r *Reader) Field(name []byte, names []string, values [][]byte) error {
	place := slices.IndexFunc(names, func(known string) bool { return string(name) == known })
	if place < 0 && slices.ContainsFunc(names, func(known string) bool { return bytes.EqualFold(name, []byte(known)) }) ||
		place >= 0 && values[place] != nil {
		return ErrAmbiguous
	}
	value, err := r.Value()
	if place >= 0 {
		values[place] = value
	}
	return err
}

// nested reads an object or a list token by token: the decoder's own way goes one call deeper at each level, and what
// others nest would make the stacks of many goroutines grow.
func (r *Reader) nested() ([]byte, error) {
	outside := r.decoder.StackDepth()
	start := int64(-1)
	for {
		if _, err := r.decoder.ReadToken(); err != nil {
			return nil, ErrSyntax
		}
		if start < 0 {
			start = r.decoder.InputOffset() - 1
		}
		if r.decoder.StackDepth() == outside {
			return r.data[start:r.decoder.InputOffset()], nil
		}
	}
}

// End tells with ErrSyntax that something follows.
func (r *Reader) End() error {
	if _, err := r.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return ErrSyntax
	}
	return nil
}

// IsNull tells whether a value is null.
func IsNull(value []byte) bool { return string(value) == "null" }

// Text returns the text of a value that is a string, in which halves of surrogate pairs are replaced; false for another
// value. Without escapes it is part of the value.
func Text(value []byte) ([]byte, bool) {
	if len(value) == 0 || value[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], true
	}
	text, _ := jsontext.AppendUnquote(nil, value) // it complains of the halves that it has replaced
	return text, true
}

// Integer returns a value that is an integer of 64 bits in plain notation; false for another one.
func Integer(value []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	return n, err == nil
}

// LoneSurrogate returns the first escape of a surrogate without its other half (RFC 8259 §8.2) in a JSON text, or 0. Go's
// strings cannot hold one, and Text replaces it.
func LoneSurrogate(data []byte) uint16 {
	for {
		escape := bytes.IndexByte(data, '\\')
		if escape < 0 {
			return 0
		}
		data = data[escape:]
		unit := escapedUnit(data)
		switch {
		case !utf16.IsSurrogate(unit):
			data = data[2:]
		case utf16.DecodeRune(unit, escapedUnit(data[6:])) == utf8.RuneError:
			return uint16(unit)
		default:
			data = data[12:]
		}
	}
}

// escapedUnit returns the UTF-16 code unit of the escape \uXXXX that data begins with, or 0.
func escapedUnit(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0
	}
	unit, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(unit)
}
