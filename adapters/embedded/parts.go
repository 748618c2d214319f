package embedded

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How many partitions kfake gets in one request of a client. What it does for each takes long: an fsync or two for a
// batch and for an offset, up to 32 MiB of records for a time.
const (
	producePart = 8
	commitPart  = 16
	listPart    = 4
	// maxAsked bounds the partitions of one request that is sent on in parts.
	maxAsked = 5000
)

// split cuts a list of topics into parts of at most limit partitions. Without partitions there is none.
func split[T, P any](topics []T, partitions func(*T) *[]P, limit int) (parts [][]T, err error) {
	var part []T
	left, asked := limit, 0
	for _, topic := range topics {
		rest := *partitions(&topic)
		if asked += len(rest); asked > maxAsked {
			return nil, refuse("a request for %d partitions", asked)
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

// merge adds topics to a list in which each topic stands once.
func merge[T, P any](into, more []T, name func(*T) string, partitions func(*T) *[]P) []T {
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

// listOffsets has kfake answer the parts of a request one after the other. Others are served between them.
func (c *client) listOffsets(l *lane, r request, body *kmsg.ListOffsetsRequest) (kmsg.Response, error) {
	parts, err := split(body.Topics, func(t *kmsg.ListOffsetsRequestTopic) *[]kmsg.ListOffsetsRequestTopicPartition {
		return &t.Partitions
	}, listPart)
	if err != nil {
		return nil, err
	}
	var all, more kmsg.ListOffsetsResponse
	for _, part := range parts {
		body.Topics, more = part, kmsg.ListOffsetsResponse{}
		if err := c.forward(l, r, body, &more); err != nil {
			return nil, err
		}
		all.Topics = merge(all.Topics, more.Topics,
			func(t *kmsg.ListOffsetsResponseTopic) string { return t.Topic },
			func(t *kmsg.ListOffsetsResponseTopic) *[]kmsg.ListOffsetsResponseTopicPartition { return &t.Partitions })
	}
	all.SetVersion(body.Version)
	return &all, nil
}
