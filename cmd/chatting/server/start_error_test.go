package server

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"chatting/adapters/auth"
	"chatting/adapters/embedded"
	"chatting/cmd/chatting/exit"
	"chatting/configs"
)

func TestAnErrorNamesItsOptionOnce(t *testing.T) {
	for want, err := range map[string]error{
		"data_dir (CHATTING_DATA_DIR): it is full":          configs.CausedBy("data_dir", errors.New("it is full")),
		"data_dir is full":                                  configs.CausedBy("data_dir", errors.New("data_dir is full")),
		"jwt.secret (CHATTING_JWT_SECRET): ":                keyError(&auth.OptionError{Option: auth.OptionSecret, Err: errors.New("x")}),
		"jwks.url (CHATTING_JWKS_URL): ":                    keyError(&auth.OptionError{Option: auth.OptionJWKSURL, Err: errors.New("x")}),
		"jwt.public_key_file (CHATTING_JWT_PUBLIC_KEY_FILE": keyError(&auth.OptionError{Option: auth.OptionPublicKeyFile, Err: errors.New("x")}),
		"it has no option":                                  keyError(errors.New("it has no option")),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	if err := configs.CausedBy("data_dir", nil); err != nil {
		t.Error(err)
	}
}

// What the configuration alone decides is not what a machine may have in its way.
func TestAStartThatTheConfigurationForbidsHasACodeOfItsOwn(t *testing.T) {
	cfg := configured(t)
	forbidden := errors.Join(embedded.AddressError("it is no loopback address"), nil)
	for name, row := range map[string]struct {
		err  error
		want exit.Code
	}{
		"an address that the broker may not have": {brokerError(cfg, forbidden), exit.Usage},
		"an address that somebody else has":       {brokerError(cfg, &embedded.ListenError{Addr: "x", Err: syscall.EADDRINUSE}), exit.Failed},
		"a directory that is full":                {brokerError(cfg, errors.New("it is full")), exit.Failed},
		"a key that is none":                      {keyError(&auth.OptionError{Option: auth.OptionPublicKeyFile, Err: errors.New("x")}), exit.Usage},
	} {
		if code := exit.CodeOf(row.err); code != row.want {
			t.Errorf("%s: %d, want %d: %v", name, code, row.want, row.err)
		}
	}
	if err := brokerError(cfg, forbidden); !strings.HasPrefix(err.Error(), "embedded_kafka.addr (CHATTING_EMBEDDED_KAFKA_ADDR): it is no loopback") {
		t.Error(err)
	}
}
