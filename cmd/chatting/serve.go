package main

import (
	"context"
	"errors"
	"io"

	"chatting/configs"
)

// serve runs the server until ctx ends.
func serve(ctx context.Context, cfg configs.Config, version string, stderr io.Writer) error {
	return errors.New("not wired yet")
}
