package server

import (
	"errors"
	"strings"
	"testing"

	"chatting/adapters/auth"
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
