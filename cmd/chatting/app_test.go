package main

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
	if err := fx.ValidateApp(app(cfg, slog.New(slog.DiscardHandler))); err != nil {
		t.Error(err)
	}
}
