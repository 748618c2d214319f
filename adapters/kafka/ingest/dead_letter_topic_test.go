package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"chatting/adapters/kafka"
	"chatting/adapters/kafka/logclient"
	"chatting/adapters/kafka/logclient/recordbatch"
	"chatting/domain"
	"chatting/test/brokertest"
	"chatting/test/logtest"
	"chatting/test/topictest"
)

var errBad = errors.New("a record that does not fit its batch")

// recordFunc is a recordbatch.Handler.
type recordFunc func(*recordbatch.StoredRecord)

func (f recordFunc) Record(r *recordbatch.StoredRecord) { f(r) }
func (recordFunc) LeftOut(recordbatch.LeftOut)          {}

func TestARecordIsCopiedOutOfItsBatchWhole(t *testing.T) {
	written := recordbatch.Record{Key: []byte("key"), Value: []byte("value"), Headers: []kafkago.Header{textHeader("h", "header")}, Time: time.UnixMilli(5)}
	batch := brokertest.Batch{Base: 17, Records: []recordbatch.Record{written}}.Bytes()
	var copied foreignRecord
	logtest.Feed(t, recordFunc(func(r *recordbatch.StoredRecord) { copied = copyRecord("t", r) }), 3, batch)
	clear(batch) // it is used again
	if copied.topic != "t" || copied.partition != 3 || copied.offset != 17 || !copied.time.Equal(written.Time) || copied.size != 5 ||
		string(copied.key) != "key" || string(copied.value) != "value" || fmt.Sprint(asLines(copied.headers)) != "[h: header]" ||
		copied.leftOut != nil || copied.refused != nil || copied.moreHeaders != "" {
		t.Errorf("it is %+v", copied)
	}
	for size, kept := range map[int]bool{kafka.MaxDeadLetterBytes: true, kafka.MaxDeadLetterBytes + 1: false} {
		r := stored(t, recordbatch.Record{Value: make([]byte, size)})
		if (r.value != nil) != kept || (len(r.leftOut) == 0) != kept || r.size != int64(size) {
			t.Errorf("of %d bytes it has %d, size %d, %q", size, len(r.value), r.size, asLines(r.leftOut))
		}
	}
}

func TestWhatATailLeftOutBecomesRecordsThatAreRefused(t *testing.T) {
	at := time.UnixMilli(7)
	for what, c := range map[string]struct {
		left recordbatch.LeftOut
		code string
		says string // of the last one
		size string // of the first one
		key  string
		keep int
	}{
		"one":            {recordbatch.LeftOut{From: 10, To: 11, Why: errBad, Size: -1}, DeadUnreadable, "does not fit its batch", sizeUnknown, "", 1},
		"one of a size":  {recordbatch.LeftOut{From: 10, To: 11, Why: recordbatch.ErrTooLarge, TooLarge: true, Size: 900, Key: []byte("k")}, DeadTooLarge, "unpacks to more than 33554432 bytes", "900", "k", 1},
		"an empty one":   {recordbatch.LeftOut{From: 10, To: 11, Why: errBad, Size: 0}, DeadUnreadable, "cannot be read", "0", "", 1},
		"as many as fit": {recordbatch.LeftOut{From: 10, To: 26, Why: errBad, Size: -1}, DeadUnreadable, "does not fit its batch.", sizeUnknown, "", 16},
		"one more":       {recordbatch.LeftOut{From: 10, To: 27, Why: errBad, Size: -1}, DeadUnreadable, "So are the 1 records after it", sizeUnknown, "", 16},
		"many":           {recordbatch.LeftOut{From: 10, To: 1010, Why: errBad, Size: -1}, DeadUnreadable, "So are the 984 records after it", sizeUnknown, "", 16},
		"a long key":     {recordbatch.LeftOut{From: 10, To: 11, Why: errBad, Size: 1, Key: bytes.Repeat([]byte("k"), recordbatch.MaxKey)}, DeadUnreadable, "", "1", strings.Repeat("k", recordbatch.MaxKey), 1},
		"a longer key":   {recordbatch.LeftOut{From: 10, To: 11, Why: errBad, Size: 1, Key: bytes.Repeat([]byte("k"), recordbatch.MaxKey+1)}, DeadUnreadable, "", "1", "", 1},
	} {
		c.left.Partition, c.left.Time = 3, at
		records := recordsOf("t", c.left)
		if len(records) != c.keep {
			t.Errorf("%s: it becomes %d records", what, len(records))
			continue
		}
		for i, r := range records {
			_, refused := r.systemMessage()
			if refused == nil || refused.code != c.code {
				t.Fatalf("%s: record %d is refused with %v", what, i, refused)
			}
			if says := strings.Contains(refused.sentence, "records after it"); says != (i == 15 && c.left.To > 26) {
				t.Errorf("%s: record %d says %q", what, i, refused.sentence)
			}
			if r.topic != "t" || r.partition != 3 || r.offset != 10+int64(i) || !r.time.Equal(at) || r.value != nil {
				t.Errorf("%s: record %d is %+v", what, i, r)
			}
			size, key := sizeUnknown, ""
			if i == 0 {
				size, key = c.size, c.key
			}
			if got := asLines(r.leftOut); !slices.Equal(got, []string{headerLeftOut + ": " + size}) || string(r.key) != key {
				t.Errorf("%s: record %d has the key %q and says %q", what, i, r.key, got)
			}
			if size == sizeUnknown && r.size != -1 || size != sizeUnknown && fmt.Sprint(r.size) != size {
				t.Errorf("%s: record %d is of %d bytes", what, i, r.size)
			}
		}
		if last := records[len(records)-1].refused; !strings.Contains(last.sentence, c.says) {
			t.Errorf("%s: it says %q", what, last.sentence)
		}
	}
}

func TestWhereARecordWasFirstWrittenIsBelievedOnlyIfAllOfItIsThere(t *testing.T) {
	here := origin{"t.system-messages", 3, 17, 1000}
	longest := strings.Repeat("t", maxTopicName)
	for what, c := range map[string]struct {
		topic, partition, offset, millis string
		want                             origin
	}{
		"all":                  {"o", "1", "2", "3", origin{"o", 1, 2, 3}},
		"zeros":                {"o", "0", "0", "0", origin{"o", 0, 0, 0}},
		"the largest":          {longest, "2147483647", "9223372036854775807", "9223372036854775807", origin{longest, 1<<31 - 1, 1<<63 - 1, 1<<63 - 1}},
		"no topic":             {"", "1", "2", "3", here},
		"too long a topic":     {longest + "t", "1", "2", "3", here},
		"no partition":         {"o", "", "2", "3", here},
		"partition below zero": {"o", "-1", "2", "3", here},
		"partition too large":  {"o", "2147483648", "2", "3", here},
		"partition, padded":    {"o", "01", "2", "3", here},
		"offset below zero":    {"o", "1", "-1", "3", here},
		"offset with a sign":   {"o", "1", "+2", "3", here},
		"offset too large":     {"o", "1", "9223372036854775808", "3", here},
		"time below zero":      {"o", "1", "2", "-3", here},
		"time of no number":    {"o", "1", "2", "today", here},
		"minus zero":           {"o", "1", "2", "-0", here},
	} {
		r := foreign(good, "kafka_dlt-original-topic: "+c.topic, "kafka_dlt-original-partition: "+c.partition,
			"kafka_dlt-original-offset: "+c.offset, "kafka_dlt-original-timestamp: "+c.millis)
		if got := r.origin(); got != c.want {
			t.Errorf("%s: it is of %s, not %s", what, got, c.want)
		}
	}
	for text, want := range map[string]int{"1": 1, "0": 0, "2147483647": 1<<31 - 1, "2147483648": 0, "-1": 0, "x": 0, "": 0} {
		r := foreign(good, "chatting_dlt-count: "+text)
		if got := r.failures(); got != want {
			t.Errorf("a count of %q: %d", text, got)
		}
	}
}

// As Kafka's clients have it, the last header of a name counts.
func TestTheLastHeaderOfANameCounts(t *testing.T) {
	r := foreign(good, "chatting_dlt-count: 1", "Chatting_dlt-count: 9", "chatting_dlt-count: 2", "ce_id: a", "CE_ID: b")
	if got := r.failures(); got != 2 {
		t.Errorf("a count of 1, then of 2, is %d", got)
	}
	if got, ok := r.producerHeader("ce_id"); !ok || got != "b" {
		t.Errorf("the id is %q", got)
	}
}

// Each step takes more away, and each says what.
func TestALetterIsShortenedByItsValueThenItsHeadersThenItsKey(t *testing.T) {
	own := textHeader(headerCode, DeadTooLarge)
	letter := recordbatch.Record{Key: []byte("key"), Value: []byte("value"), Headers: []kafkago.Header{own, textHeader("a", "1"), textHeader("b", "2")}}
	for i, want := range []string{
		`"key" "" [kafka_dlt-exception-fqcn: chatting.too_large a: 1 b: 2 chatting_dlt-value-left-out: 5]`,
		`"key" "" [kafka_dlt-exception-fqcn: chatting.too_large chatting_dlt-value-left-out: 5 chatting_dlt-headers-left-out: 2]`,
		`"" "" [kafka_dlt-exception-fqcn: chatting.too_large chatting_dlt-value-left-out: 5 chatting_dlt-headers-left-out: 2 chatting_dlt-key-left-out: 3]`,
		`"" "" [kafka_dlt-exception-fqcn: chatting.too_large chatting_dlt-value-left-out: 5 chatting_dlt-headers-left-out: 2 chatting_dlt-key-left-out: 3]`,
	} {
		letter = shortened(letter)
		if got := fmt.Sprintf("%q %q %s", letter.Key, letter.Value, asLines(letter.Headers)); got != want {
			t.Errorf("step %d: it is\n%s, not\n%s", i, got, want)
		}
	}
}

func TestALetterThatJustFitsIsWrittenWhole(t *testing.T) {
	why := refuse(DeadTooLarge, "It is large.")
	r := foreign("")
	empty := r.deadLetter(why)
	room := kafka.MaxDeadLetterBytes - recordbatch.HeaderSize - empty.Size()
	for size, kept := range map[int]bool{room: true, room + 1: false} {
		r.value = make([]byte, size)
		letter := r.deadLetter(why)
		if got := letter.Value != nil; got != kept {
			t.Errorf("with %d bytes its value is kept: %t", size, got)
		}
		if letter.Size() > kafka.MaxDeadLetterBytes-recordbatch.HeaderSize {
			t.Errorf("it is of %d bytes", letter.Size())
		}
	}
}

func TestADeadLetterIsDescribedAsOperatorsSeeIt(t *testing.T) {
	first := foreign("{", "trace: 1")
	first.key = []byte("k")
	letter := first.deadLetter(refuse(DeadInvalidJSON, "It is broken."))
	written := time.UnixMilli(2000)
	described := foreignRecord{topic: "t.dlt", partition: 1, offset: 9, time: written, key: letter.Key, value: letter.Value, headers: letter.Headers}
	got := describe(&described)
	if got.Partition != 1 || got.Offset != 9 || !got.Time.Equal(written) || got.Code != DeadInvalidJSON || got.Reason != "It is broken." ||
		got.Count != 1 || got.Target != 0 || got.Size != 1 || got.LeftOut || got.Topic != "t.system-messages" || got.FirstPartition != 3 ||
		got.FirstOffset != 17 || !got.Written.Equal(first.time) || string(got.Key) != "k" || string(got.Value) != "{" ||
		!slices.Equal(asLines(got.Headers), asLines(letter.Headers)) {
		t.Errorf("it is %+v", got)
	}
	described.value, described.headers = nil, append(slices.Clone(letter.Headers), textHeader(headerLeftOut, "900"))
	if got := describe(&described); !got.LeftOut || got.Size != 900 {
		t.Errorf("without its value: left out: %t, size %d", got.LeftOut, got.Size)
	}
	described.headers = append(slices.Clone(letter.Headers), textHeader(headerLeftOut, sizeUnknown))
	if got := describe(&described); !got.LeftOut || got.Size != -1 {
		t.Errorf("without its value, of an unknown size: left out: %t, size %d", got.LeftOut, got.Size)
	}
	described.headers = append(slices.Clone(letter.Headers), textHeader(headerLeftOut, "-5"))
	if got := describe(&described); !got.LeftOut || got.Size != -1 {
		t.Errorf("without its value, of a forged size: left out: %t, size %d", got.LeftOut, got.Size)
	}
	large := stored(t, recordbatch.Record{Value: make([]byte, kafka.MaxDeadLetterBytes+1)}) // somebody else's
	if got := describe(&large); !got.LeftOut || got.Size != kafka.MaxDeadLetterBytes+1 || got.Value != nil {
		t.Errorf("one that is too large: left out: %t, size %d", got.LeftOut, got.Size)
	}
}

func TestWhomADeadLetterIsForIsToldIfItCan(t *testing.T) {
	blanks := strings.Repeat(" ", maxForeignValue-len(good))
	for what, c := range map[string]struct {
		record foreignRecord
		want   domain.UserID
	}{
		"a message":          {foreign(good), 7},
		"an event":           {foreign(structured(`"data":` + good)), 7},
		"no text":            {foreign(`{"target_id":7}`), 7},
		"of another type":    {foreign(good, "content-type: text/plain"), 7},
		"the largest":        {foreign(good + blanks), 7},
		"larger":             {foreign(good + blanks + " "), domain.System},
		"poison":             {foreign("poison"), domain.System},
		"nobody":             {foreign(`{"target_id":-1,"message":"m"}`), domain.System},
		"no number":          {foreign(`{"target_id":[],"message":"m"}`), domain.System},
		"nothing":            {foreignRecord{}, domain.System},
		"an event of poison": {foreign(structured(`"data":5`)), domain.System},
	} {
		if got := c.record.target(); got != c.want {
			t.Errorf("%s: it is for %d", what, got)
		}
	}
}

func TestTheLargestValueThatIsLookedInto(t *testing.T) {
	blanks := strings.Repeat(" ", maxForeignValue-len(good))
	whole := foreign(good + blanks)
	if _, refused := whole.systemMessage(); refused != nil {
		t.Errorf("a value of a MiB is refused: %v", refused)
	}
	larger := foreign(good + blanks + " ")
	if _, refused := larger.systemMessage(); refused == nil || refused.code != DeadTooLarge {
		t.Errorf("a larger one is refused with %v", refused)
	}
	gone := foreignRecord{size: maxForeignValue + 1}
	if _, refused := gone.systemMessage(); refused == nil || refused.code != DeadTooLarge {
		t.Errorf("a larger one that is not here is refused with %v", refused)
	}
}

func TestMoreValuesThatAreNoSystemMessages(t *testing.T) {
	event := structured(`"data":` + good)
	for what, c := range map[string]struct {
		record foreignRecord
		code   string
		says   string
	}{
		"a batch as text":           {foreign("["+event+"]", "content-type: text/plain"), DeadMediaType, "is not application/json"},
		"a batch, blanks first":     {foreign(" \r\n\t[" + event + "]"), DeadMediaType, "a record of its own"},
		"a list of messages":        {foreign("[" + good + "]"), DeadInvalidMessage, "non_field_errors"},
		"a list of marked messages": {foreign("[" + structured(`"target_id":7`) + "]"), DeadInvalidMessage, "non_field_errors"},
		"a list of numbers":         {foreign("[1]"), DeadInvalidMessage, "non_field_errors"},
		"a list that is cut off":    {foreign("[" + event), DeadInvalidJSON, ""},
		"an event that is cut off":  {foreign(strings.TrimSuffix(event, "}")), DeadInvalidJSON, ""},
		"JSON of text":              {foreign(good, "content-type: text/x+json"), DeadMediaType, "is not application/json"},
		"an application's":          {foreign(good, "content-type: application/xml"), DeadMediaType, "is not application/json"},
		"an event's type is none":   {foreign(structured(`"datacontenttype":";","data":`+good), inStructure), DeadMediaType, "datacontenttype"},
	} {
		_, refused := c.record.systemMessage()
		if refused == nil || refused.code != c.code || !strings.Contains(refused.sentence, c.says) {
			t.Errorf("%s: it is refused with %+v, not %s with %q", what, refused, c.code, c.says)
		}
	}
}

func TestAFilterOfDeadLettersMeansWhatItNames(t *testing.T) {
	at := time.UnixMilli(1000)
	letter := DeadLetter{Code: DeadEmpty, Target: 7, Time: at}
	for what, c := range map[string]struct {
		filter DeadLetterFilter
		want   bool
	}{
		"all":            {DeadLetterFilter{}, true},
		"its code":       {DeadLetterFilter{Code: DeadEmpty}, true},
		"another code":   {DeadLetterFilter{Code: DeadTooLarge}, false},
		"its target":     {DeadLetterFilter{Target: 7}, true},
		"another target": {DeadLetterFilter{Target: 8}, false},
		"its time":       {DeadLetterFilter{Since: at}, true},
		"later":          {DeadLetterFilter{Since: at.Add(1)}, false},
		"all of it":      {DeadLetterFilter{DeadEmpty, 7, at, nil, nil}, true},
		"all but code":   {DeadLetterFilter{DeadTooLarge, 7, at, nil, nil}, false},
		"all but target": {DeadLetterFilter{DeadEmpty, 8, at, nil, nil}, false},
		"all but time":   {DeadLetterFilter{DeadEmpty, 7, at.Add(1), nil, nil}, false},
	} {
		if got := c.filter.matches(letter); got != c.want {
			t.Errorf("%s: %t", what, got)
		}
	}
}

func TestDeadLettersAreListedByTheirPlaceAndReplayedUnderTheirName(t *testing.T) {
	logtest.Each(t, func(t *testing.T, cluster *logclient.Cluster) {
		const partitions = 2
		names := topictest.Topics(t, cluster, partitions)
		dead := topictest.Appender(t, cluster, names.DeadLetters, partitions)
		defer dead.Close(brokertest.Context(t))
		bury := func(partition int, value string) {
			t.Helper()
			r := foreign(value, "trace: 1")
			r.key = []byte("k")
			letter := r.deadLetter(refuse(DeadNoUserOrOffline, "offline"))
			if err := dead.Await(brokertest.Context(t), partition, letter); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 3 {
			bury(1, fmt.Sprintf(`{"target_id":%d,"message":"m"}`, n+1))
		}
		bury(0, `{"target_id":9,"message":"m"}`)
		letters, err := OpenDeadLetterTopic(brokertest.Context(t), cluster, names, brokertest.Logger(t))
		if err != nil {
			t.Fatal(err)
		}
		list := func(filter DeadLetterFilter) (places []string, err error) {
			err = letters.Each(brokertest.Context(t), filter, func(l DeadLetter) error {
				places = append(places, fmt.Sprintf("%d/%d of %d", l.Partition, l.Offset, l.Target))
				return nil
			})
			slices.Sort(places)
			return places, err
		}
		zero, one, two := 0, 1, 2
		place := func(offset int64) *int64 { return &offset }
		for what, c := range map[string]struct {
			filter DeadLetterFilter
			want   []string
		}{
			"all":            {DeadLetterFilter{}, []string{"0/0 of 9", "1/0 of 1", "1/1 of 2", "1/2 of 3"}},
			"of a user":      {DeadLetterFilter{Target: 2}, []string{"1/1 of 2"}},
			"of a partition": {DeadLetterFilter{Partition: &one}, []string{"1/0 of 1", "1/1 of 2", "1/2 of 3"}},
			"of a place":     {DeadLetterFilter{Partition: &one, Offset: place(1)}, []string{"1/1 of 2"}},
			"of its start":   {DeadLetterFilter{Partition: &zero, Offset: place(0)}, []string{"0/0 of 9"}},
			"of its end":     {DeadLetterFilter{Partition: &one, Offset: place(3)}, nil},
			"since later":    {DeadLetterFilter{Since: time.Now().Add(time.Minute)}, nil},
			"since before":   {DeadLetterFilter{Since: time.Now().Add(-time.Minute), Target: 9}, []string{"0/0 of 9"}},
		} {
			if got, err := list(c.filter); err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, %v; want %q", what, got, err, c.want)
			}
		}
		minus := -1
		for _, partition := range []*int{&minus, &two} {
			if _, err := list(DeadLetterFilter{Partition: partition}); err == nil || !strings.Contains(err.Error(), "the partitions 0 to 1") {
				t.Errorf("partition %d: %v", *partition, err)
			}
		}

		var letter DeadLetter
		enough := errors.New("enough")
		err = letters.Each(brokertest.Context(t), DeadLetterFilter{Partition: &zero}, func(l DeadLetter) error { letter = l; return enough })
		if !errors.Is(err, enough) {
			t.Errorf("a reader that fails ends it with %v", err)
		}
		replayer := letters.Replayer(brokertest.Logger(t))
		defer replayer.Close(brokertest.Context(t))
		var written []foreignRecord
		replay := func(letter DeadLetter, value []byte) error {
			t.Helper()
			if err := replayer.Replay(brokertest.Context(t), letter, value); err != nil {
				return err
			}
			written = nil
			return logclient.ReadTopic(brokertest.Context(t), cluster, logclient.TopicReading{Topic: names.SystemMessages, Logger: brokertest.Logger(t)}, func(r *recordbatch.StoredRecord) error {
				written = append(written, copyRecord("t.system-messages", r))
				return nil
			})
		}
		if err := replay(letter, nil); err != nil || len(written) != 1 {
			t.Fatalf("replayed as %d records, %v", len(written), err)
		}
		again := written[0]
		want := []string{
			"kafka_dlt-original-topic: t.system-messages", "kafka_dlt-original-partition: 3", "kafka_dlt-original-offset: 17",
			"kafka_dlt-original-timestamp: 1000", "chatting_dlt-count: 1", "trace: 1",
		}
		if got := asLines(again.headers); !slices.Equal(got, want) {
			t.Errorf("its headers are %q, not %q", got, want)
		}
		if string(again.key) != "k" || string(again.value) != `{"target_id":9,"message":"m"}` || again.partition != 3%partitions {
			t.Errorf("it is %q: %q in partition %d", again.key, again.value, again.partition)
		}
		if command, refused := again.systemMessage(); refused != nil || command.ID != domain.DerivedID(idKind, "t.system-messages-3-17-1000") {
			t.Errorf("it is read as %+v, %v", command, refused)
		}
		letter.LeftOut, letter.Value = true, nil
		if err := replay(letter, nil); !errors.Is(err, ErrLeftOut) {
			t.Errorf("without its value: %v", err)
		}
		if err := replay(letter, []byte("other")); err != nil || len(written) != 2 || string(written[1].value) != "other" {
			t.Errorf("with another value: %d records, %v", len(written), err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := replayer.Replay(ended, letter, []byte("x")); domain.CodeOf(err) != domain.CodeUnconfirmed && err != nil {
			t.Errorf("with its context ended: %v", err)
		}
	})
}

// Another program may have written the letter, with its headers in any order.
func TestAReplayKeepsHowOftenARecordFailed(t *testing.T) {
	_, cluster, topic := logtest.Controlled(t, 1)
	letter := DeadLetter{Topic: "t", Written: time.UnixMilli(5), Value: []byte("v"), Headers: []kafkago.Header{textHeader(headerCount, "3"), textHeader("trace", "1")}}
	replayer := &Replayer{topictest.Appender(t, cluster, topic, 1)}
	if err := replayer.Replay(t.Context(), letter, nil); err != nil {
		t.Fatal(err)
	}
	want := append(asLines(origin{topic: "t", millis: 5}.headers()), "chatting_dlt-count: 3", "trace: 1")
	var got []string
	reading := logclient.TopicReading{Topic: topic, Logger: brokertest.Logger(t)}
	err := logclient.ReadTopic(brokertest.Context(t), cluster, reading, func(r *recordbatch.StoredRecord) error {
		headers, _ := r.Headers()
		got = append(got, asLines(headers)...)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("written are the headers %q, %v; want %q", got, err, want)
	}
	replayer.Close(brokertest.Context(t))
	if err := replayer.Replay(t.Context(), letter, nil); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("after its end it comes to %v", err)
	}
}

func TestAReplayWithoutAnAnswerIsUnconfirmed(t *testing.T) {
	_, through, topic := logtest.Controlled(t, 1)
	silent := logtest.Through(t, through, func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	replayer := &Replayer{topictest.Appender(t, silent, topic, 1)}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := replayer.Replay(ended, DeadLetter{Value: []byte("v")}, nil); domain.CodeOf(err) != domain.CodeUnconfirmed {
		t.Errorf("it comes to %v", err)
	}
	replayer.Close(ended)
}
