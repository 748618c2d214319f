package texthook

import (
	"crypto/sha256"

	"chatting/application/messaging"
	"chatting/domain"
)

const (
	// maxGiven bounds the answers that are remembered, and maxGivenText the bytes of each: together 16 MiB.
	maxGiven     = 4096
	maxGivenText = 4 << 10
)

// question is a named message and the hash of its text. The zero question stands for a message without a name, which cannot be
// sent again.
type question struct {
	id   domain.EventID
	text [sha256.Size]byte
}

func questionOf(command messaging.ChatCommand) question {
	id := command.ID()
	if id == (domain.EventID{}) {
		return question{}
	}
	return question{id: id, text: sha256.Sum256([]byte(command.Text.String()))}
}

// passed stands for the message's own text. No text is like it: it is no UTF-8.
const passed = "\xff"

// recall returns the text that an earlier answer let pass; false if none is known.
func (c *Client) recall(about question, own domain.Text) (text domain.Text, known bool) {
	if about == (question{}) {
		return domain.Text{}, false
	}
	given, known := c.given.Get(about)
	switch {
	case !known:
		return domain.Text{}, false
	case given == passed:
		return own, true
	}
	text, err := domain.NewText(given)
	return text, err == nil
}

// remember keeps an answer. A refusal is not kept: nothing was sent. Nor is a long text: the hook is asked again.
func (c *Client) remember(about question, given string) {
	if about != (question{}) && len(given) <= maxGivenText {
		c.given.Add(about, given)
	}
}
