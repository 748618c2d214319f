package async_test

import (
	"errors"
	"strings"
	"testing"

	"chatting/application/async"
)

func TestTheValueOfAPanicIsNotDescribed(t *testing.T) {
	describe := func(f func()) (text string) {
		defer func() { text = async.DescribePanic(recover()) }()
		f()
		return ""
	}
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"a text":   {func() { panic("eyJ.token") }, "string"},
		"an error": {func() { panic(errors.New("eyJ.token")) }, "*errors.errorString"},
		"bytes":    {func() { panic([]byte("eyJ.token")) }, "[]uint8"},
		"an index": {func() { _ = []int{}[len(name(t))] }, "index out of range"},
		"a map":    {func() { put(nil) }, "nil map"},
	} {
		got := describe(c.do)
		if strings.Contains(got, "token") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func put(m map[string]int) { m["eyJ.token"] = 1 }

func name(t *testing.T) string { return t.Name() }
