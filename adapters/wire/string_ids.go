package wire

import "bytes"

// IDsParameter is the parameter of a REST request that asks for decimal strings.
const IDsParameter = "string_ids"

// AppendWithStringIDs appends a frame, or the body of an answer, in which the ids of users are decimal strings. JavaScript's numbers
// hold integers up to 2^53 only. What an error frame says of its target stays as the client sent it. The data is JSON: it was made
// here, or checked.
func AppendWithStringIDs(dst, data []byte) []byte {
	var w idWalk
	copied := 0
	for i := 0; i < len(data); {
		switch c := data[i]; {
		case c == '"':
			end := endOfText(data, i)
			text := data[i:end]
			for i = end; i < len(data) && isBlank(data[i]); {
				i++
			}
			if len(text) > 1 { // of JSON it always is
				w.text(text, i < len(data) && data[i] == ':')
			}
		case c == '-' || c >= '0' && c <= '9':
			end := i + 1
			for end < len(data) && isOfNumber(data[end]) {
				end++
			}
			if _, ok := Integer(data[i:end]); ok && w.isID {
				dst = append(append(dst, data[copied:i]...), '"')
				dst = append(append(dst, data[i:end]...), '"')
				copied = end
			}
			i = end
		default:
			w.bracket(c)
			i++
		}
	}
	return append(dst, data[copied:]...)
}

// idWalk knows where in a JSON value the reading is.
type idWalk struct {
	depth  int
	isID   bool // the name that was read last is that of ids
	isType bool // that name is the type of the outermost object
	system bool // the outermost object has said that its type is system_message
	asSent bool // within what an error frame has of its target
}

func (w *idWalk) bracket(c byte) {
	switch c {
	case '{', '[':
		w.depth++
	case '}', ']':
		w.depth--
	}
}

// text takes a text with its quotes: the name of a member, or a value.
func (w *idWalk) text(text []byte, isName bool) {
	outermost := w.depth == 1
	switch {
	case isName:
		name, _ := Text(text)
		if outermost {
			w.isType = string(name) == fieldNames[fieldType]
			// Of what has this type, only error frames have a from_id.
			w.asSent = w.system && string(name) == fieldNames[fieldFromID]
		}
		w.isID = !w.asSent && isIDName(name)
	case w.isType && outermost:
		value, _ := Text(text)
		w.system = string(value) == TypeSystem
	}
}

// isIDName tells whether a member of that name is the id of a user, or a list of ids. The ids of events are strings anyway.
func isIDName(name []byte) bool {
	switch string(name) {
	case "from_id", "to_id", "opponent_id", "online_friends", TargetField, "id":
		return true
	default:
		return false
	}
}

// endOfText returns where the text ends that begins with the quote at start.
func endOfText(data []byte, start int) int {
	for i := start + 1; i < len(data); {
		quote := bytes.IndexByte(data[i:], '"')
		if quote < 0 {
			break
		}
		i += quote + 1
		if escapes := i - 1 - len(bytes.TrimRight(data[start+1:i-1], `\`)) - (start + 1); escapes%2 == 0 {
			return i
		}
	}
	return len(data)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isOfNumber(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}
