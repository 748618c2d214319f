package domain

// Place is a place in the conversation log. Generation counts how often the topic was made anew, from 1 on; it is 0 where
// only one topic is spoken of. Within a partition places are ordered by generation, then offset; between partitions they are
// not ordered.
type Place struct {
	Generation int64
	Partition  int
	Offset     int64
}

// Before tells whether p stands before other, of the same partition.
func (p Place) Before(other Place) bool {
	return p.Generation < other.Generation || p.Generation == other.Generation && p.Offset < other.Offset
}
