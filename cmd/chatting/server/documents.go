package server

import (
	"github.com/gofiber/fiber/v2"

	"chatting/adapters/apidocs"
	"chatting/configs"
)

// mountDocuments lets the server hand out the documents of its API, unless the configuration takes them away.
func mountDocuments(cfg configs.Config, app *fiber.App) error {
	if !cfg.HTTP.Documents {
		return nil
	}
	return apidocs.Mount(app)
}
