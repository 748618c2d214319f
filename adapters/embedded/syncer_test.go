package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chatting/adapters/embedded/logdir"
	"chatting/test/kafkawire"
)

// marksOf syncs a directory.
func marksOf(t *testing.T, dir string) map[string]logdir.Mark {
	t.Helper()
	marks, err := logdir.Sync(dir)
	if err != nil {
		t.Fatal(err)
	}
	return marks
}

// unsynced makes a directory one in which nobody has noted yet that anything is synced, as right after it was written.
func unsynced(t *testing.T, dir string) {
	t.Helper()
	rewrite(t, dir, keptFile, func(raw []byte) []byte {
		var k kept
		if err := json.Unmarshal(raw, &k); err != nil {
			t.Fatalf("nothing is kept: %s, %v", raw, err)
		}
		for folder := range k.Synced {
			k.Synced[folder] = 0
		}
		raw, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	})
}

// disk syncs files for a broker: it can hold a sync, and have it fail, and it knows what a power cut would leave.
type disk struct {
	begun chan struct{} // gets an element when a sync is held

	mu     sync.Mutex
	held   chan struct{} // nil: syncs are not held
	failed error
	syncs  map[string]int   // how often, by the names of the files
	synced map[string]int64 // bytes
}

// startOnDisk runs a broker on a disk.
func startOnDisk(t *testing.T, dir string) (*Broker, *disk) {
	t.Helper()
	b := start(t, dir)
	d := &disk{begun: make(chan struct{}, 100), syncs: make(map[string]int), synced: make(map[string]int64)}
	b.syncer.mu.Lock() // a round begins under it
	defer b.syncer.mu.Unlock()
	b.syncer.sync = d.sync
	return b, d
}

func (d *disk) sync(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	d.mu.Lock()
	held, failed := d.held, d.failed
	d.syncs[file.Name()]++
	d.mu.Unlock()
	if held != nil {
		d.begun <- struct{}{}
		<-held
	}
	if failed != nil {
		return failed
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.synced[file.Name()] = info.Size()
	return file.Sync()
}

// hold has all further syncs wait until release is called.
func (d *disk) hold(t *testing.T) (release func()) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	held := make(chan struct{})
	d.held = held
	release = sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.held = nil
		close(held)
	})
	t.Cleanup(release)
	return release
}

// produceAside produces from another goroutine. The channel gets the answer.
func produceAside(t *testing.T, addr, topic string, raw []byte) <-chan string {
	answer := make(chan string, 1)
	go func() {
		offset, code, err := kafkawire.Produce(t, addr, topic, raw)
		answer <- fmt.Sprint(offset, " ", code, " ", err)
	}()
	return answer
}

// ownAnswer asks over a connection of the server's own.
func ownAnswer[R kmsg.Response](t *testing.T, b *Broker, request kmsg.Request, response R) R {
	t.Helper()
	conn, err := b.Dial(t.Context(), "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, request, 7)); err != nil {
		t.Fatal(err)
	}
	response.SetVersion(request.GetVersion())
	if err := kafkawire.ReadAnswer(conn, response); err != nil {
		t.Fatal(err)
	}
	return response
}

// shows tells what a broker shows of a topic to a client, or to the server itself: the end, the first offset of a time, the
// end of the epoch, and how many bytes of records a fetch from an offset on gets, and the end that it names.
func shows(t *testing.T, b *Broker, own bool, topic string, from int64) string {
	t.Helper()
	var said []any
	for _, at := range []int64{-1, 1} {
		request := kafkawire.Versioned(kmsg.NewPtrListOffsetsRequest())
		request.ReplicaID = -1
		request.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{
			{Timestamp: at, CurrentLeaderEpoch: -1},
		}}}
		response := new(kmsg.ListOffsetsResponse)
		if own {
			ownAnswer(t, b, request, response)
		} else {
			response = kafkawire.Answered(t, b.Addr(), request).(*kmsg.ListOffsetsResponse)
		}
		said = append(said, response.Topics[0].Partitions[0].Offset)
	}
	fetched := kmsg.NewPtrFetchResponse()
	if own {
		ownAnswer(t, b, kafkawire.FetchRequest(topic, from, 0), fetched)
	} else {
		fetched = kafkawire.Answered(t, b.Addr(), kafkawire.FetchRequest(topic, from, 0)).(*kmsg.FetchResponse)
		epoch := kafkawire.Versioned(kmsg.NewPtrOffsetForLeaderEpochRequest())
		epoch.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{
			{CurrentLeaderEpoch: -1},
		}}}
		of := kafkawire.Answered(t, b.Addr(), epoch).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		said = append(said, of.EndOffset)
	}
	of := fetched.Topics[0].Partitions[0]
	return fmt.Sprint(append(said, of.ErrorCode, of.HighWatermark, of.LastStableOffset, len(of.RecordBatches))...)
}

// TestNobodyLearnsOfWhatIsNotSynced: neither who appended it nor who reads, whatever they ask.
func TestNobodyLearnsOfWhatIsNotSynced(t *testing.T) {
	b, d := startOnDisk(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "held", 1)
	one, two := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a"), kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "b", "c")
	kafkawire.MustProduce(t, b.Addr(), "held", one)

	release := d.hold(t)
	answer := produceAside(t, b.Addr(), "held", two)
	<-d.begun
	for own, want := range map[bool]string{false: "1 0 1 0 1 1 ", true: "1 0 0 1 1 "} {
		if got := shows(t, b, own, "held", 0); got != want+fmt.Sprint(len(one)) {
			t.Errorf("before the sync, to the server itself (%v): %s", own, got)
		}
		if got := shows(t, b, own, "held", 1); got != want+"0" {
			t.Errorf("from its end on, to the server itself (%v): %s", own, got)
		}
	}
	select {
	case got := <-answer:
		t.Errorf("acknowledged before the sync: %s", got)
	default:
	}
	release()
	if got := <-answer; got != "1 0 <nil>" {
		t.Errorf("after the sync: %s", got)
	}
	for own, want := range map[bool]string{false: "3 0 3 0 3 3 ", true: "3 0 0 3 3 "} {
		if got := shows(t, b, own, "held", 0); got != want+fmt.Sprint(len(one)+len(two)) {
			t.Errorf("after the sync, to the server itself (%v): %s", own, got)
		}
	}
}

// TestAnEmptyPartitionHasNoTimeBeforeItsFirstSync: the first record of a time is one that may be seen.
func TestAnEmptyPartitionHasNoTimeBeforeItsFirstSync(t *testing.T) {
	b, d := startOnDisk(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "first", 1)
	release := d.hold(t)
	answer := produceAside(t, b.Addr(), "first", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a"))
	<-d.begun
	if got := shows(t, b, false, "first", 0); got != "0 -1 0 0 0 0 0" {
		t.Errorf("before the sync: %s", got)
	}
	release()
	<-answer
}

// TestOneSyncServesAllWhoWait, of all partitions: those who come during a sync have the next one together.
func TestOneSyncServesAllWhoWait(t *testing.T) {
	b, d := startOnDisk(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "many", 2)
	release := d.hold(t)
	answers := []<-chan string{produceAside(t, b.Addr(), "many", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "first"))}
	<-d.begun
	const more = 20
	for range more {
		answers = append(answers, produceAside(t, b.Addr(), "many", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "more")))
	}
	other := make(chan error, 1)
	go func() {
		request := kafkawire.ProduceRequest("many", 1, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "other"))
		other <- kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind())
	}()
	kafkawire.Until(t, func() bool { // all wait for the next round
		b.syncer.mu.Lock()
		defer b.syncer.mu.Unlock()
		return b.syncer.next.ends[logdir.Partition{Topic: "many"}] == 1+more && b.syncer.next.ends[logdir.Partition{Topic: "many", Number: 1}] == 1
	})
	release()
	for _, answer := range answers {
		if got := <-answer; !strings.HasSuffix(got, " 0 <nil>") {
			t.Error(got)
		}
	}
	if err := <-other; err != nil {
		t.Error(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for file, want := range map[string]int{"many-0": 2, "many-1": 1} {
		if n := d.syncs[filepath.Join(b.syncer.dir, partsDir, file, "0.dat")]; n != want {
			t.Errorf("%s was synced %d times", file, n)
		}
	}
}

// TestARoundMayHaveNothingToDo: who joins a round that has not begun yet wakes it up again.
func TestARoundMayHaveNothingToDo(t *testing.T) {
	if err := newSyncer(t.TempDir(), nil, nil, nil, nil).round(); err != nil {
		t.Error(err)
	}
}

// TestAfterAFailedSyncNothingIsAcknowledged, and nothing is tried again: the kernel may have dropped what it could not write.
func TestAfterAFailedSyncNothingIsAcknowledged(t *testing.T) {
	b, d := startOnDisk(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "fails", 1)
	d.mu.Lock()
	d.failed = errors.New("no disk")
	d.mu.Unlock()
	release := d.hold(t)
	answers := []<-chan string{produceAside(t, b.Addr(), "fails", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))}
	<-d.begun
	answers = append(answers, produceAside(t, b.Addr(), "fails", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "y")))
	kafkawire.Until(t, func() bool {
		b.syncer.mu.Lock()
		defer b.syncer.mu.Unlock()
		return b.syncer.next.ends[logdir.Partition{Topic: "fails"}] == 2
	})
	release()
	<-b.Failed()
	for _, answer := range answers {
		if got := <-answer; strings.HasSuffix(got, "<nil>") {
			t.Errorf("answered: %s", got)
		}
	}
	if err := b.Close(); err == nil || !strings.Contains(err.Error(), "cannot sync: no disk") {
		t.Errorf("Close: %v", err)
	}
	if len(d.syncs) != 1 {
		t.Errorf("%v", d.syncs)
	}
	for file, n := range d.syncs {
		if n != 1 {
			t.Errorf("%s was synced %d times", file, n)
		}
	}
}

// TestWhatFilesHoldIsSyncedWhereverABatchWent: kfake begins new files, several within one round.
func TestWhatFilesHoldIsSyncedWhereverABatchWent(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 { // the second broker goes on in a file of the first
		b, d := startOnDisk(t, dir)
		if round == 0 {
			kafkawire.CreateTopic(t, b.Addr(), "rolls", 1, "segment.bytes", "1048576")
		}
		large := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), strings.Repeat("x", 3<<18))
		release := d.hold(t)
		answers := []<-chan string{produceAside(t, b.Addr(), "rolls", large)}
		<-d.begun
		for range 6 {
			answers = append(answers, produceAside(t, b.Addr(), "rolls", large))
		}
		kafkawire.Until(t, func() bool {
			b.syncer.mu.Lock()
			defer b.syncer.mu.Unlock()
			return b.syncer.next.ends[logdir.Partition{Topic: "rolls"}] == int64(8*round+7)
		})
		release()
		for _, answer := range answers {
			<-answer
		}
		kafkawire.MustProduce(t, b.Addr(), "rolls", large)
		folder := filepath.Join(dir, partsDir, "rolls-0")
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		files := 0
		for _, entry := range entries {
			file := filepath.Join(folder, entry.Name())
			if filepath.Ext(file) != ".dat" {
				continue
			}
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if d.synced[file] == info.Size() {
				files++
			} else if round == 0 || d.synced[file] > 0 {
				t.Errorf("%s: %d of %d bytes are synced", file, d.synced[file], info.Size())
			}
		}
		if files < 3 {
			t.Fatalf("%d files show nothing", files)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAPowerCutLosesNothingThatWasAcknowledged, whatever it leaves of what was not synced.
func TestAPowerCutLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	b, d := startOnDisk(t, dir)
	kafkawire.CreateTopic(t, b.Addr(), "cut", 1)
	acknowledge := func(from, to int) {
		for i := from; i < to; i++ {
			kafkawire.MustProduce(t, b.Addr(), "cut", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), fmt.Sprint(i)))
		}
	}
	acknowledge(0, 3)
	b.checkFiles() // notes what is synced
	acknowledge(3, 6)
	release := d.hold(t)
	waiting := []<-chan string{produceAside(t, b.Addr(), "cut", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x"))}
	<-d.begun
	for range 3 {
		waiting = append(waiting, produceAside(t, b.Addr(), "cut", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x")))
	}
	kafkawire.Until(t, func() bool {
		b.syncer.mu.Lock()
		defer b.syncer.mu.Unlock()
		return b.syncer.next.ends[logdir.Partition{Topic: "cut"}] == 10
	})
	file := filepath.Join(partsDir, "cut-0", "0.dat")
	index := filepath.Join(partsDir, "cut-0", "0.idx")
	raw := read(t, dir, file)
	synced := int(d.synced[filepath.Join(dir, file)])
	one := synced / 6
	if len(raw) != 10*one {
		t.Fatalf("%d bytes of %d are synced", synced, len(raw))
	}
	holed := []byte(raw)
	clear(holed[synced : synced+one])
	for name, left := range map[string][]byte{
		"all of it":                  []byte(raw),
		"nothing":                    []byte(raw[:synced]),
		"half a batch":               []byte(raw[:synced+one/2]),
		"zeros":                      append([]byte(raw[:synced]), make([]byte, 4*one)...),
		"the last batches only":      holed,
		"two batches and half a one": []byte(raw[:synced+2*one+one/2]),
	} {
		for _, indexed := range []int{0, 3, 10} {
			t.Run(fmt.Sprintf("%s, %d in the index", name, indexed), func(t *testing.T) {
				after := t.TempDir()
				if err := os.CopyFS(after, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				rewrite(t, after, file, func([]byte) []byte { return left })
				rewrite(t, after, index, func(all []byte) []byte { return all[:15*indexed] })
				again := start(t, after)
				records := kafkawire.ReadAll(t, again.Addr(), "cut")
				for i, record := range records {
					if record.Offset != int64(i) || i < 6 && record.Value != fmt.Sprint(i) || i >= 6 && record.Value != "x" {
						t.Errorf("record %d is %+v", i, record)
					}
				}
				if len(records) < 6 || len(records) == 10 != (name == "all of it") {
					t.Errorf("%d records", len(records))
				}
				if offset := kafkawire.MustProduce(t, again.Addr(), "cut", kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "next")); offset != int64(len(records)) {
					t.Errorf("the next is at %d", offset)
				}
			})
		}
	}
	release()
	for _, answer := range waiting {
		<-answer
	}
}

// TestAStartSyncsWhatItFinds: a process that was killed may have left it unsynced. From then on it may not be missing.
func TestAStartSyncsWhatItFinds(t *testing.T) {
	dir := batchesDir(t)
	unsynced(t, dir)
	if err := start(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	k := readKept(t, dir)
	if size := len(read(t, dir, logFile)); k.Synced["filled-0"] != int64(size) || k.Newest["filled-0"] != 0 {
		t.Errorf("%d bytes of %d of file %d are noted", k.Synced["filled-0"], size, k.Newest["filled-0"])
	}
}

// TestWhatAProducerThatIsGoneAppendedIsShown: it is in the log, and nobody waits for its sync.
func TestWhatAProducerThatIsGoneAppendedIsShown(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "gone", 1)
	request := kafkawire.ProduceRequest("gone", 0, kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "a", "b"))
	if err := b.guard.Ask(t.Context(), request, request.ResponseKind()); err != nil {
		t.Fatal(err)
	}
	if end := kafkawire.ListOffset(t, b.Addr(), "gone", -1); end != 0 {
		t.Errorf("shown up to %d although it is not synced", end)
	}
	b.showUnsettled(t.Context())
	if records := kafkawire.ReadAll(t, b.Addr(), "gone"); len(records) != 2 {
		t.Errorf("%v", records)
	}
}

// TestAPartitionIsNamedOnce in a request: kfake answers once for both, and where the first one ends would not be known.
func TestAPartitionIsNamedOnce(t *testing.T) {
	b := start(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "twice", 2)
	batch := kafkawire.BatchOf(kafkawire.NoStamp, time.Now(), "x")
	request := kafkawire.ProduceRequest("twice", 0, batch)
	request.Topics[0].Partitions = append(request.Topics[0].Partitions, kmsg.ProduceRequestTopicPartition{Partition: 1, Records: batch})
	kafkawire.Answered(t, b.Addr(), request)
	request.Topics = append(request.Topics, request.Topics[0])
	if err := kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind()); err == nil {
		t.Error("taken")
	}
	if end := kafkawire.ListOffset(t, b.Addr(), "twice", -1); end != 1 {
		t.Errorf("the log ends at %d", end)
	}
}

// TestOffsetsOfGroupsAreSyncedBeforeTheyAreTold.
func TestOffsetsOfGroupsAreSyncedBeforeTheyAreTold(t *testing.T) {
	b, d := startOnDisk(t, t.TempDir())
	kafkawire.CreateTopic(t, b.Addr(), "groups", 1)
	release := d.hold(t)
	committed := make(chan error, 2)
	go func() {
		request := kafkawire.CommitRequest("readers", "groups", "", 0)
		committed <- kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind())
	}()
	<-d.begun
	go func() {
		request := kafkawire.Versioned(kmsg.NewPtrOffsetFetchRequest())
		request.Group = "readers"
		committed <- kafkawire.Ask(t.Context(), b.Addr(), request, request.ResponseKind())
	}()
	kafkawire.Until(t, func() bool {
		b.syncer.mu.Lock()
		defer b.syncer.mu.Unlock()
		return b.syncer.next.ends[groupsLog] == 2
	})
	select {
	case <-committed:
		t.Error("told before the sync")
	default:
	}
	release()
	if err := errors.Join(<-committed, <-committed); err != nil {
		t.Error(err)
	}
}
