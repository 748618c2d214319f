package domain

import "encoding/hex"

// TraceParent names a span: the work that other work is part of. It is the traceparent of the W3C Trace Context,
// "00-<trace id>-<span id>-<flags>" in lower case, with 55 bytes. "" is none.
type TraceParent string

// traceParentLength is the length of a traceparent of version 00.
const traceParentLength = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// Where the parts of a traceparent stand.
const (
	traceIDBegin, traceIDEnd = 3, 35
	spanIDBegin, spanIDEnd   = 36, 52
	flagsBegin               = 53
)

// NewTraceParent reads a traceparent that somebody else wrote (https://www.w3.org/TR/trace-context/#traceparent-header). It returns ""
// for one that must be ignored. Of a later version it takes what version 00 has.
func NewTraceParent[T string | []byte](text T) TraceParent {
	if len(text) < traceParentLength || len(text) > traceParentLength && text[traceParentLength] != '-' ||
		text[2] != '-' || text[traceIDEnd] != '-' || text[spanIDEnd] != '-' {
		return ""
	}
	version, later := string(text[:2]), len(text) > traceParentLength
	flag, flagsOK := hexDigit(text[flagsBegin+1])
	_, highOK := hexDigit(text[flagsBegin])
	switch {
	case version == "ff", version == "00" && later, !isHex(text[:2]), !flagsOK, !highOK:
		return ""
	case !isHex(text[traceIDBegin:traceIDEnd]) || isZero(text[traceIDBegin:traceIDEnd]):
		return ""
	case !isHex(text[spanIDBegin:spanIDEnd]) || isZero(text[spanIDBegin:spanIDEnd]):
		return ""
	}
	flags := "-00"
	if flag&1 == 1 {
		flags = "-01"
	}
	return TraceParent("00" + string(text[2:spanIDEnd]) + flags)
}

// TraceParentOf names a span that is recorded. Neither id is zero.
func TraceParentOf(trace [16]byte, span [8]byte) TraceParent {
	text := make([]byte, 0, traceParentLength)
	text = hex.AppendEncode(append(text, "00-"...), trace[:])
	text = hex.AppendEncode(append(text, '-'), span[:])
	return TraceParent(append(text, "-01"...))
}

// IDs returns the ids of the trace and the span; zero for "".
func (t TraceParent) IDs() (trace [16]byte, span [8]byte) {
	if len(t) == traceParentLength {
		_, _ = hex.Decode(trace[:], []byte(t[traceIDBegin:traceIDEnd]))
		_, _ = hex.Decode(span[:], []byte(t[spanIDBegin:spanIDEnd]))
	}
	return trace, span
}

// IsSampled tells whether the span is recorded. What is done below one that is not is not recorded either.
func (t TraceParent) IsSampled() bool {
	return len(t) == traceParentLength && t[traceParentLength-1] == '1'
}

func isHex[T string | []byte](text T) bool {
	for i := range len(text) {
		if _, ok := hexDigit(text[i]); !ok {
			return false
		}
	}
	return true
}

// hexDigit returns the value of a digit. Upper case is none here.
func hexDigit(digit byte) (value byte, ok bool) {
	switch {
	case '0' <= digit && digit <= '9':
		return digit - '0', true
	case 'a' <= digit && digit <= 'f':
		return digit - 'a' + 10, true
	default:
		return 0, false
	}
}

func isZero[T string | []byte](text T) bool {
	for i := range len(text) {
		if text[i] != '0' {
			return false
		}
	}
	return true
}
