package ingest

import (
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/domain"
)

func TestWhichTraceARecordIsPartOf(t *testing.T) {
	const (
		first  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		second = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203332-00"
		event  = `{"specversion":"1.0","id":"1","source":"/x","type":"t","data":{"target_id":7,"message":"m"},"traceparent":`
		plain  = `{"target_id":7,"message":"m","traceparent":"` + first + `"}`
	)
	header := func(pairs ...string) (headers []kafkago.Header) {
		for i := 0; i < len(pairs); i += 2 {
			headers = append(headers, textHeader(pairs[i], pairs[i+1]))
		}
		return headers
	}
	for what, c := range map[string]struct {
		value   string
		headers []kafkago.Header
		want    domain.TraceParent
	}{
		"nothing":                  {plain, nil, ""},
		"a header":                 {plain, header("traceparent", first), first},
		"a header in another case": {plain, header("Traceparent", second), second},
		"an event in binary mode":  {plain, header("ce_traceparent", first), first},
		"an event in binary mode, as HTTP has it":           {plain, header("ce-traceparent", first), first},
		"the header of the record before that of the event": {plain, header("ce_traceparent", first, "traceparent", second), second},
		"an event in structured mode":                       {event + `"` + first + `"}`, nil, first},
		"the header before the attribute":                   {event + `"` + first + `"}`, header("traceparent", second), second},
		"a forged header":                                   {event + `"` + first + `"}`, header("traceparent", "00-x"), ""},
		"a very long header":                                {plain, header("traceparent", strings.Repeat(first, 10000)), ""},
		"a number":                                          {event + `7}`, nil, ""},
		"an object":                                         {event + `{"a":"` + first + `"}}`, nil, ""},
		"no JSON":                                           {`{"traceparent":"` + first + `"`, nil, ""},
	} {
		record := foreignRecord{value: []byte(c.value), headers: c.headers}
		if got := record.trace(); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
		if _, refused := record.systemMessage(); refused != nil && what != "no JSON" {
			t.Errorf("%s: the message is refused: %v", what, refused)
		}
	}
}
