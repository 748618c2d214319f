package async

import (
	"fmt"
	"runtime"
)

// DescribePanic returns what a log may say of the value of a panic. Faults that Go itself finds are told in its words, which hold
// no data. Of any other value it is the type alone, because the value may hold a text or a token; the stack says where it was.
func DescribePanic(value any) string {
	if fault, is := value.(runtime.Error); is {
		return fault.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}
