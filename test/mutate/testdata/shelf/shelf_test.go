package shelf

import "testing"

func TestFree(t *testing.T) {
	if free, ok := Free(3, 1); free != 2 || !ok {
		t.Error(free, ok)
	}
	if free, ok := Free(3, 4); free != 0 || ok {
		t.Error(free, ok)
	}
	if free, ok := Free(3, 3); free != 0 || ok {
		t.Error(free, ok)
	}
}

func TestCount(t *testing.T) {
	if n := Count(true, []string{"a", "b"}); n != 2 {
		t.Error(n)
	}
	if n := Count(false, nil); n != -1 {
		t.Error(n)
	}
}

func TestOpposite(t *testing.T) {
	if n := Opposite(2); n != -2 {
		t.Error(n)
	}
}

func TestMarked(t *testing.T) {
	if !Marked(0) || Marked(2) {
		t.Error(Marked(0), Marked(2))
	}
}
