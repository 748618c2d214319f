package ingest

import (
	"fmt"
	"slices"
	"strconv"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient/recordbatch"
)

// The headers of a dead letter, all of them text in UTF-8. A record that is delivered again keeps all but the exception's,
// so that it is known for the same event, and for how often it has failed.
const (
	headerOriginalTopic     = "kafka_dlt-original-topic"
	headerOriginalPartition = "kafka_dlt-original-partition"
	headerOriginalOffset    = "kafka_dlt-original-offset"
	headerOriginalTimestamp = "kafka_dlt-original-timestamp" // milliseconds since 1970
	headerCode              = "kafka_dlt-exception-fqcn"
	headerSentence          = "kafka_dlt-exception-message"
	headerCount             = "chatting_dlt-count" // how often it became a dead letter
	// These are there where the value, the headers of the producer and the key are not, because they would not fit: how many
	// bytes, or headers, there are, or sizeUnknown.
	headerLeftOut        = "chatting_dlt-value-left-out"
	headerHeadersLeftOut = "chatting_dlt-headers-left-out"
	headerKeyLeftOut     = "chatting_dlt-key-left-out"
)

// sizeUnknown stands for the length of a value that was never unpacked as far.
const sizeUnknown = "unknown"

var deadLetterHeaders = []string{
	headerOriginalTopic, headerOriginalPartition, headerOriginalOffset, headerOriginalTimestamp, headerCode, headerSentence,
	headerCount, headerLeftOut, headerHeadersLeftOut, headerKeyLeftOut,
}

// maxTopicName is the longest name that Kafka allows a topic, in bytes.
const maxTopicName = 249

// origin is where a record was first written, and when.
type origin struct {
	topic     string
	partition int
	offset    int64
	millis    int64
}

// String names the record: the time is part of it because a topic that was made anew has the same places again.
func (o origin) String() string {
	return fmt.Sprintf("%s-%d-%d-%d", o.topic, o.partition, o.offset, o.millis)
}

// origin returns where a record was first written: where its headers say so, or else where it is.
func (r *foreignRecord) origin() origin {
	topic, _ := r.header(headerOriginalTopic)
	partition := r.number(headerOriginalPartition, 32)
	offset, millis := r.number(headerOriginalOffset, 64), r.number(headerOriginalTimestamp, 64)
	if topic == "" || len(topic) > maxTopicName || partition < 0 || offset < 0 || millis < 0 {
		return origin{r.topic, r.partition, r.offset, r.time.UnixMilli()}
	}
	return origin{topic, int(partition), offset, millis}
}

// number returns a header that is a decimal number, -1 where it is none or missing.
func (r *foreignRecord) number(header string, bits int) int64 {
	text, _ := r.header(header)
	n, err := strconv.ParseInt(text, 10, bits)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return -1
	}
	return n
}

// failures returns how often a record became a dead letter.
func (r *foreignRecord) failures() int { return int(max(r.number(headerCount, 32), 0)) }

// deadLetter returns the dead letter of a record: its bytes, key and headers as they are, and more headers. The more headers
// come first: a record may have so many that readers do not reach the last ones. If it has more headers than are looked at,
// none of them is in the letter, since some would be missing.
func (r *foreignRecord) deadLetter(why *refusedError) recordbatch.Record {
	from := r.origin()
	letter := recordbatch.Record{Key: r.key, Value: r.value, Headers: append(from.headers(), r.leftOut...)}
	letter.Headers = append(letter.Headers,
		textHeader(headerCode, why.code), textHeader(headerSentence, why.sentence),
		textHeader(headerCount, strconv.Itoa(r.failures()+1)))
	if r.moreHeaders == "" {
		letter.Headers = append(letter.Headers, withoutHeaders(r.headers, deadLetterHeaders...)...)
	} else {
		letter.Headers = append(letter.Headers, textHeader(headerHeadersLeftOut, r.moreHeaders))
	}
	for range shortenings {
		if letter.Size() > kafka.MaxDeadLetterBytes-recordbatch.HeaderSize {
			letter = shortened(letter)
		}
	}
	return letter
}

// shortenings is how often a letter can be shortened.
const shortenings = 3

// shortened returns a letter without its value, then without the headers of its producer, then without its key: the batch
// that the record came in may have been compressed, and an uncompressed one too large to be written. It says what is left
// out, and where to find it.
func shortened(letter recordbatch.Record) recordbatch.Record {
	foreign := func(h kafkago.Header) bool { return !slices.Contains(deadLetterHeaders, h.Key) }
	switch own := slices.DeleteFunc(slices.Clone(letter.Headers), foreign); {
	case letter.Value != nil:
		letter.Headers = append(slices.Clip(letter.Headers), textHeader(headerLeftOut, strconv.Itoa(len(letter.Value))))
		letter.Value = nil
	case len(own) < len(letter.Headers):
		letter.Headers = append(own, textHeader(headerHeadersLeftOut, strconv.Itoa(len(letter.Headers)-len(own))))
	case letter.Key != nil:
		letter.Headers = append(slices.Clip(letter.Headers), textHeader(headerKeyLeftOut, strconv.Itoa(len(letter.Key))))
		letter.Key = nil
	}
	return letter
}

func (o origin) headers() []kafkago.Header {
	return []kafkago.Header{
		textHeader(headerOriginalTopic, o.topic),
		textHeader(headerOriginalPartition, strconv.Itoa(o.partition)),
		textHeader(headerOriginalOffset, strconv.FormatInt(o.offset, 10)),
		textHeader(headerOriginalTimestamp, strconv.FormatInt(o.millis, 10)),
	}
}

func textHeader(key, value string) kafkago.Header {
	return kafkago.Header{Key: key, Value: []byte(value)}
}

// withoutHeaders returns the other headers, in their order.
func withoutHeaders(headers []kafkago.Header, names ...string) []kafkago.Header {
	var others []kafkago.Header
	for _, h := range headers {
		if !slices.Contains(names, h.Key) {
			others = append(others, h)
		}
	}
	return others
}
