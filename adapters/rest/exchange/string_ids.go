package exchange

import (
	"github.com/gofiber/fiber/v2"

	"chatting/adapters/wire"
)

// stringIDsKey is where a request keeps that its answer is to have the ids of users as decimal strings.
const stringIDsKey = "rest.string_ids"

// ReadStringIDs reads whether the request wants the ids of users as decimal strings. Its error is an answer: a client that means to
// want them, and gets numbers, may take one user for another.
func ReadStringIDs(c *fiber.Ctx) error {
	named, given := QueryText(c, wire.IDsParameter)
	switch {
	case !given || named == "false":
	case named == "true":
		c.Locals(stringIDsKey, true)
	default:
		return Refused(wire.IDsParameter, "Must be true or false.")
	}
	return nil
}

// WantsStringIDs tells what ReadStringIDs has read of the request.
func WantsStringIDs(c *fiber.Ctx) bool {
	wants, _ := c.Locals(stringIDsKey).(bool)
	return wants
}
