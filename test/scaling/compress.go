package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// compressed is the share of the bytes of a batch of so many messages that is left after compression.
func compressed(records int) float64 {
	random := rand.New(rand.NewPCG(uint64(records), 0))
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // no option can be wrong
	}
	before, after := 0, 0
	for range 1 + 200/records {
		var batch []byte
		for range records {
			batch = append(batch, sample(random)...)
		}
		before += len(batch)
		after += len(encoder.EncodeAll(batch, nil))
	}
	return float64(after) / float64(before)
}

// sample is a message as it stands in the log, with 64 bytes of text.
func sample(random *rand.Rand) string {
	from, to := random.IntN(1e8), random.IntN(1e8)
	id := fmt.Sprintf("%08x-%04x-5%03x-8%03x-%012x", random.Uint32(), random.IntN(1<<16), random.IntN(1<<12), random.IntN(1<<12),
		random.Int64N(1<<48))
	at := fmt.Sprintf("2026-01-02T03:%02d:%02d.%06dZ", random.IntN(60), random.IntN(60), random.IntN(1e6))
	var text string
	for len(text) < 64 {
		text += words[random.IntN(len(words))] + " "
	}
	return fmt.Sprintf(`%d:%d{"specversion":"1.0","id":%q,"source":"/chatting","type":"chatting.chat_message.v1","subject":"%d","time":%q,`+
		`"clientmsgid":"%016x","datacontenttype":"application/json","data":{"type":"chat_message","message":%q,"from_id":%d,"to_id":%d,`+
		`"time":%q,"id":%q}}content-type:application/cloudevents+json`,
		min(from, to), max(from, to), id, from, at, random.Uint64(), text[:64], from, to, at, id)
}

var words = strings.Fields(`the be to of and a in that have it for not on with he as you do at this but his by from they we say her she or
	an will my one all would there their what so up out if about who get which go me when make can like time no just him know take
	people into year your good some could them see other than then now look only come its over think also back after use two how our
	work first well way even new want because any these give day most us game play match win lose team round`)
