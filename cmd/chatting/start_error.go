package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"chatting/adapters/auth"
	"chatting/adapters/embedded"
	"chatting/configs"
)

// causedBy returns an error of the start that names the option whose value caused it, unless it does already. It does not
// show the value, which may be a secret. nil stays nil.
func causedBy(key string, err error) error {
	if err == nil || strings.Contains(err.Error(), key) {
		return err
	}
	return fmt.Errorf("%s (%s): %w", key, configs.Option{Key: key}.Env(), err)
}

// databaseError tells a command why the database of the configuration cannot be used.
func databaseError(cfg configs.Config, err error) error {
	key := databaseOption(cfg)
	return fmt.Errorf("%s: %w (the option is %s, %s)", cfg.Database.URL, err, key, configs.Option{Key: key}.Env())
}

// listenError tells why the server cannot listen on the address of an option.
func listenError(key, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return causedBy(key, fmt.Errorf("%s is in use by another process: set another address", address))
	}
	return causedBy(key, fmt.Errorf("cannot listen on %s: %w", address, plainCause(err)))
}

// brokerError tells why the embedded broker cannot start.
func brokerError(cfg configs.Config, err error) error {
	var listening *embedded.ListenError
	if errors.As(err, &listening) {
		return listenError("embedded_kafka.addr", cfg.EmbeddedKafka.Addr.String(), listening.Err)
	}
	return causedBy("data_dir", err)
}

// keyError tells why the keys of tokens cannot be used.
func keyError(err error) error {
	var unusable *auth.OptionError
	if !errors.As(err, &unusable) {
		return err
	}
	return causedBy(map[auth.OptionName]string{
		auth.OptionSecret: "jwt.secret", auth.OptionPublicKeyFile: "jwt.public_key_file", auth.OptionJWKSURL: "jwks.url",
	}[unusable.Option], err)
}
