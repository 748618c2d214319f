package protocol

// How many partitions kfake gets in one request of a client, of Produce, OffsetCommit and ListOffsets. What it does for
// each takes long: it writes a batch or an offset, or reads up to 32 MiB of records for a time.
const (
	ProducePart = 8
	CommitPart  = 16
	ListPart    = 4
	// maxAsked bounds the partitions of one request that is sent on in parts.
	maxAsked = 5000
)

// Split cuts a list of topics into parts of at most limit partitions. Without partitions there is none.
func Split[T, P any](topics []T, partitions func(*T) *[]P, limit int) (parts [][]T, err error) {
	var part []T
	left, asked := limit, 0
	for _, topic := range topics {
		rest := *partitions(&topic)
		if asked += len(rest); asked > maxAsked {
			return nil, Refuse("a request for %d partitions", asked)
		}
		for len(rest) > 0 {
			n := min(left, len(rest))
			*partitions(&topic) = rest[:n:n]
			part, rest, left = append(part, topic), rest[n:], left-n
			if left == 0 {
				parts, part, left = append(parts, part), nil, limit
			}
		}
	}
	if part != nil {
		parts = append(parts, part)
	}
	return parts, nil
}

// Merge adds topics to a list in which each topic stands once.
func Merge[T, P any](into, more []T, name func(*T) string, partitions func(*T) *[]P) []T {
	at := make(map[string]int, len(into))
	for i := range into {
		at[name(&into[i])] = i
	}
	for i := range more {
		if known, ok := at[name(&more[i])]; ok {
			all := partitions(&into[known])
			*all = append(*all, *partitions(&more[i])...)
			continue
		}
		at[name(&more[i])] = len(into)
		into = append(into, more[i])
	}
	return into
}
