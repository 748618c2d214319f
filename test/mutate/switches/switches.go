// Package switches is what mutated code calls: each function has an id and does the right thing, unless the mutant of that id is on.
//
// Only the binaries that test/mutate compiles contain calls of it.
package switches

import (
	"cmp"
	"os"
	"strconv"
	"syscall"
)

// The two variables of the environment that a test binary with mutants reads.
const (
	// Active is the id of the mutant that is on. None is, without it or with 0.
	Active = "MUTANT"
	// Reached names a file with a byte for each id, which becomes 1 when the program comes by.
	Reached = "MUTANTS_REACHED"
)

var (
	active, _ = strconv.Atoi(os.Getenv(Active))
	reached   = mapReached(os.Getenv(Reached))
)

// mapReached maps the file into the memory, because nothing runs for certain at the end of a test binary that could write it.
func mapReached(name string) []byte {
	if name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		panic(err)
	}
	memory, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return memory
}

// On reports whether the mutant is on, and notes that the program came by. Several goroutines may write the same 1.
func On(id int) bool {
	if id < len(reached) && reached[id] == 0 {
		reached[id] = 1
	}
	return id == active
}

// Not is b, or its opposite.
func Not[B ~bool](id int, b B) B { return b != B(On(id)) }

// Less is a < b, or a <= b.
func Less[T cmp.Ordered](id int, a, b T) bool { return a < b || On(id) && a == b }

// LessOrEqual is a <= b, or a < b.
func LessOrEqual[T cmp.Ordered](id int, a, b T) bool { return a < b || !On(id) && a == b }

// Greater is a > b, or a >= b.
func Greater[T cmp.Ordered](id int, a, b T) bool { return Less(id, b, a) }

// GreaterOrEqual is a >= b, or a > b.
func GreaterOrEqual[T cmp.Ordered](id int, a, b T) bool { return LessOrEqual(id, b, a) }

// Number is what one can calculate with.
type Number interface {
	Integer | ~float32 | ~float64
}

// Integer is what has a remainder.
type Integer interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

// Plus is a + b, or a - b.
func Plus[T Number](id int, a, b T) T {
	if On(id) {
		return a - b
	}
	return a + b
}

// Minus is a - b, or a + b.
func Minus[T Number](id int, a, b T) T {
	if On(id) {
		return a + b
	}
	return a - b
}

// Times is a * b, or a / b.
func Times[T Number](id int, a, b T) T {
	if On(id) {
		return a / b
	}
	return a * b
}

// Over is a / b, or a * b.
func Over[T Number](id int, a, b T) T {
	if On(id) {
		return a * b
	}
	return a / b
}

// Remainder is a % b, or a * b.
func Remainder[T Integer](id int, a, b T) T {
	if On(id) {
		return a * b
	}
	return a % b
}

// Negative is -a, or a.
func Negative[T Number](id int, a T) T {
	if On(id) {
		return a
	}
	return -a
}
