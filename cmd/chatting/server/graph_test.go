package server

import (
	"log/slog"
	"testing"

	"go.uber.org/fx"

	"chatting/configs"
)

func TestEveryPartOfTheGraphIsProvided(t *testing.T) {
	cfg, err := configs.Load(configs.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if err := fx.ValidateApp(graphOf(cfg, slog.New(slog.DiscardHandler))); err != nil {
		t.Error(err)
	}
}

// graphOf is the graph of a server with an identity of its own.
func graphOf(cfg configs.Config, logger *slog.Logger) fx.Option {
	return graph(newIdentity(cfg), cfg, logger)
}
