package server

import (
	"errors"
	"fmt"
	"syscall"

	"chatting/adapters/embedded"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/installation"
	"chatting/configs"
)

// listenError tells why the server cannot listen on the address of an option.
func listenError(key, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return configs.CausedBy(key, fmt.Errorf("%s is in use by another process: set another address", address))
	}
	return configs.CausedBy(key, fmt.Errorf("cannot listen on %s: %w", address, installation.PlainCause(err)))
}

// brokerError tells why the embedded broker cannot start.
func brokerError(cfg configs.Config, err error) error {
	var listening *embedded.ListenError
	if errors.As(err, &listening) {
		return listenError("embedded_kafka.addr", cfg.EmbeddedKafka.Addr.String(), listening.Err)
	}
	if errors.As(err, new(embedded.AddressError)) {
		return exit.With(exit.Usage, configs.CausedBy("embedded_kafka.addr", err))
	}
	return configs.CausedBy("data_dir", err)
}
