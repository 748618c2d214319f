package configs

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Hook is the platform's service that is asked about texts before they are sent.
type Hook struct {
	URL         URL    // http or https; empty: nobody is asked
	Token       Secret // empty: none is sent
	AllowHTTP   bool   // to a host that is not this machine
	Timeout     time.Duration
	OnFailure   HookFailure
	Concurrency int
}

// HookFailure says what becomes of a text about which there is no answer.
type HookFailure string

// The ways to go on without an answer.
const (
	HookOpen   HookFailure = "open"   // the text is sent
	HookClosed HookFailure = "closed" // the message is refused
)

func (h *Hook) options() []Option {
	return []Option{
		{Key: "hook.url", value: webURL(&h.URL)},
		{Key: "hook.token", Secret: true, value: secret(&h.Token, 16, checkBearer)},
		{Key: "hook.allow_http", value: boolean(&h.AllowHTTP)},
		{Key: "hook.timeout", value: duration(&h.Timeout, 50*time.Millisecond, 10*time.Second)},
		{Key: "hook.on_failure", value: oneOf(&h.OnFailure, HookOpen, HookClosed)},
		{Key: "hook.concurrency", value: integer(&h.Concurrency, 1, 10000)},
	}
}

// checkHook refuses to send texts over a network in clear text, unless that is wanted.
func (c Config) checkHook() error {
	if !c.Hook.URL.IsSet() {
		if c.Hook.Token.IsSet() {
			return fmt.Errorf("%s is set, and %s is not", c.named("hook.token"), c.named("hook.url"))
		}
		return nil
	}
	hook, err := url.Parse(c.Hook.URL.Reveal())
	if err != nil {
		return errors.New(c.named("hook.url") + " is no URL") // webURL has parsed it
	}
	if hook.Scheme == "http" && !c.Hook.AllowHTTP && !IsLoopback(hook.Hostname()) {
		return fmt.Errorf("%s begins with http:// and names another machine: texts and the token would cross the network in clear text. "+
			"Use https://, or set %s", c.named("hook.url"), c.named("hook.allow_http"))
	}
	return nil
}

// IsLoopback tells whether a host is this machine.
func IsLoopback(host string) bool { return Address{host: host}.IsLoopback() }
