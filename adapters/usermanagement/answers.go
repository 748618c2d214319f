package usermanagement

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"chatting/domain"
)

// entry is a JSON object of an answer. A map, because encoding/json would take "ID" for "id" in a struct.
type entry map[string]json.RawMessage

// parseVerified reads the answer to a verification: one object with an id.
func parseVerified(body []byte) (domain.UserID, bool) {
	var answer entry
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, false
	}
	return readID(answer["id"])
}

// parseFriends reads a friends list: one list of objects with an id each. Later entries of the same id are dropped.
func parseFriends(body []byte) ([]domain.UserID, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('[') {
		return nil, errors.New("the answer is no JSON list")
	}
	friends := []domain.UserID{}
	seen := make(map[domain.UserID]struct{})
	for n := 0; decoder.More(); n++ {
		if n == maxFriends {
			return nil, fmt.Errorf("the list has more than %d entries", maxFriends)
		}
		var listed entry
		if err := decoder.Decode(&listed); err != nil {
			return nil, fmt.Errorf("entry %d of the list is no JSON object", n)
		}
		friend, ok := readID(listed["id"])
		if !ok {
			return nil, fmt.Errorf("entry %d of the list has no good id", n)
		}
		if _, again := seen[friend]; again {
			continue
		}
		seen[friend] = struct{}{}
		friends = append(friends, friend)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("the list is not complete")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the list")
	}
	return friends, nil
}

// readID reads a JSON number that is written as an integer, or a string of one: digits only, no leading zero. It is
// never a float64, which would round large ids.
func readID(value json.RawMessage) (domain.UserID, bool) {
	digits := string(value)
	if len(value) > 0 && value[0] == '"' {
		if err := json.Unmarshal(value, &digits); err != nil {
			return 0, false
		}
	}
	user, err := domain.ParseUserID(digits)
	if err != nil || user.String() != digits {
		return 0, false
	}
	return user, true
}
