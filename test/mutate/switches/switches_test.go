package switches

import "testing"

func TestEachSwitchDoesTheRightThingUnlessItIsOn(t *testing.T) {
	defer func(id int) { active = id }(active)
	for name, c := range map[string]struct {
		do           func() any
		right, wrong any
	}{
		"Not":                   {func() any { return Not(1, true) }, true, false},
		"Less, equal":           {func() any { return Less(1, 2, 2) }, false, true},
		"Less":                  {func() any { return Less(1, 1, 2) }, true, true},
		"Less, more":            {func() any { return Less(1, 3, 2) }, false, false},
		"LessOrEqual, equal":    {func() any { return LessOrEqual(1, 2, 2) }, true, false},
		"LessOrEqual":           {func() any { return LessOrEqual(1, 1, 2) }, true, true},
		"LessOrEqual, more":     {func() any { return LessOrEqual(1, 3, 2) }, false, false},
		"Greater, equal":        {func() any { return Greater(1, 2, 2) }, false, true},
		"Greater":               {func() any { return Greater(1, 3, 2) }, true, true},
		"GreaterOrEqual, equal": {func() any { return GreaterOrEqual(1, 2, 2) }, true, false},
		"GreaterOrEqual, less":  {func() any { return GreaterOrEqual(1, 1, 2) }, false, false},
		"Plus":                  {func() any { return Plus(1, 5, 3) }, 8, 2},
		"Minus":                 {func() any { return Minus(1, 5, 3) }, 2, 8},
		"Times":                 {func() any { return Times(1, 6, 3) }, 18, 2},
		"Over":                  {func() any { return Over(1, 6, 3) }, 2, 18},
		"Remainder":             {func() any { return Remainder(1, 5, 3) }, 2, 15},
		"Negative":              {func() any { return Negative(1, 5) }, -5, 5},
	} {
		for id, want := range map[int]any{0: c.right, 1: c.wrong, 2: c.right} {
			active = id
			if got := c.do(); got != want {
				t.Errorf("%s with %d on: %v, want %v", name, id, got, want)
			}
		}
	}
}
