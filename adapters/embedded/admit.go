package embedded

import (
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Bounds of what one request may ask for.
const (
	maxFetchBytes   = 16 << 20         // kfake builds an answer in memory
	maxFetchWait    = 60 * time.Second // kfake keeps a waiting fetch although its client is gone
	maxPartitions   = 1000             // of all topics in one CreateTopics
	maxMessageBytes = 6 << 20          // the highest max.message.bytes: a batch has to fit into a frame
)

// minFrame is the shortest request: API key, version, correlation id, and the length of a client id that is null.
const minFrame = 2 + 2 + 4 + 2

// refusalError is why a frame is not let through.
type refusalError string

// Error implements error.
func (e refusalError) Error() string { return string(e) }

func refuse(format string, args ...any) error { return refusalError(fmt.Sprintf(format, args...)) }

// checkSize judges a frame by its first eight bytes, before anything is allocated for it. size is without the size
// field itself.
func checkSize(size uint32, key int16) error {
	limit := uint32(maxOtherFrame)
	if kmsg.Key(key) == kmsg.Produce {
		limit = maxProduceFrame
	}
	if size < minFrame || size > limit {
		return refuse("a frame of %d bytes for API key %d", size, key)
	}
	return nil
}

// admit reads the request in frame (without its size) and returns what kfake shall read instead: mostly frame itself;
// where a part asks for what must not happen, a request in which that part is one that kfake answers with an error, so
// that the client learns which. A refusalError means that the connection is to be closed. now is compared with the times
// of records. The result may share frame's memory.
func admit(frame []byte, now time.Time) (out []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil { // in kfake the same bytes would end the process
			out, err = nil, refuse("an unreadable request: %v", fault)
		}
	}()
	head := kbin.Reader{Src: frame}
	key, version := head.Int16(), head.Int16()
	head.Int32()
	head.NullableString()
	if !head.Ok() {
		return nil, refuse("a request without a whole header")
	}
	passing, known := apis[kmsg.Key(key)]
	if !known {
		return nil, refuse("API key %d is not served", key)
	}
	if version > passing.maxVersion && kmsg.Key(key) == kmsg.ApiVersions {
		return askVersionsAgain(frame), nil
	}
	if version < passing.minVersion || version > passing.maxVersion {
		return nil, refuse("version %d of API key %d is not served", version, key)
	}
	request := kmsg.RequestForKey(key)
	request.SetVersion(version)
	if err := request.ReadFrom(head.Src); err != nil {
		return nil, refuse("an unreadable request of API key %d: %v", key, err)
	}
	changed, err := amend(request, now)
	if err != nil {
		return nil, err
	}
	if !changed {
		return frame, nil
	}
	header := frame[: len(frame)-len(head.Src) : len(frame)-len(head.Src)]
	return request.AppendTo(header), nil
}

// askVersionsAgain turns an ApiVersions request of a version that is not served into one that kfake reads and answers
// with error 35 and the version that is, upon which clients ask again (KIP-511). Its body is never looked at.
func askVersionsAgain(frame []byte) []byte {
	const version, noClientID = 3, 0xffff
	out := append([]byte{}, frame[:8]...)
	binary.BigEndian.PutUint16(out[2:], version)
	out = binary.BigEndian.AppendUint16(out, noClientID)
	out = append(out, 0) // no tags in the header
	request := kmsg.NewPtrApiVersionsRequest()
	request.SetVersion(version)
	return request.AppendTo(out)
}

// amend changes what must not reach kfake as it is.
func amend(request kmsg.Request, now time.Time) (changed bool, err error) {
	switch r := request.(type) {
	case *kmsg.ProduceRequest:
		return amendProduce(r, now)
	case *kmsg.FetchRequest:
		return amendFetch(r), nil
	case *kmsg.CreateTopicsRequest:
		return amendCreateTopics(r), nil
	case *kmsg.IncrementalAlterConfigsRequest:
		return amendAlterConfigs(r), nil
	case *kmsg.InitProducerIDRequest:
		if r.TransactionalID != nil {
			return false, refuse("a transaction")
		}
	}
	return false, nil
}

func amendProduce(r *kmsg.ProduceRequest, now time.Time) (changed bool, err error) {
	if r.TransactionID != nil {
		return false, refuse("a transaction")
	}
	for t := range r.Topics {
		for p := range r.Topics[t].Partitions {
			partition := &r.Topics[t].Partitions[p]
			if checkBatch(partition.Records, now) != nil {
				partition.Records = unacceptableBatch
				changed = true
			}
		}
	}
	return changed, nil
}

func amendFetch(r *kmsg.FetchRequest) (changed bool) {
	if wait := int32(maxFetchWait.Milliseconds()); r.MaxWaitMillis > wait {
		r.MaxWaitMillis, changed = wait, true
	}
	if r.MaxBytes > maxFetchBytes {
		r.MaxBytes, changed = maxFetchBytes, true
	}
	return changed
}

// topicName is what Kafka allows (org.apache.kafka.common.internals.Topic); kfake allows everything, and a name becomes
// part of a path.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func amendCreateTopics(r *kmsg.CreateTopicsRequest) (changed bool) {
	partitions := int64(0)
	for t := range r.Topics {
		topic := &r.Topics[t]
		partitions += int64(max(topic.NumPartitions, 1)) + int64(len(topic.ReplicaAssignment))
		acceptable := topicName.MatchString(topic.Topic) && topic.Topic != "." && topic.Topic != ".." &&
			partitions <= maxPartitions
		for _, config := range topic.Configs {
			acceptable = acceptable && acceptableConfig(config.Name, config.Value)
		}
		if !acceptable {
			topic.NumPartitions, topic.ReplicationFactor, topic.ReplicaAssignment = 0, -1, nil // INVALID_PARTITIONS
			changed = true
		}
	}
	return changed
}

// amendAlterConfigs lets only the settings of topics be set: kfake panics at some of a broker's, and stores them first.
func amendAlterConfigs(r *kmsg.IncrementalAlterConfigsRequest) (changed bool) {
	for i := range r.Resources {
		resource := &r.Resources[i]
		acceptable := resource.ResourceType == kmsg.ConfigResourceTypeTopic
		for _, config := range resource.Configs {
			switch config.Op {
			case kmsg.IncrementalAlterConfigOpSet:
				acceptable = acceptable && acceptableConfig(config.Name, config.Value)
			case kmsg.IncrementalAlterConfigOpDelete:
			default:
				acceptable = false
			}
		}
		if !acceptable {
			resource.ResourceType, changed = kmsg.ConfigResourceTypeUnknown, true // INVALID_REQUEST
		}
	}
	return changed
}

// acceptableConfig judges the settings of topics that kfake acts on without looking at them: retention.ms that is no
// number counts as 0 there and empties the topic. Others it only keeps.
func acceptableConfig(name string, value *string) bool {
	between := func(low, high int64) bool {
		if value == nil {
			return true // the default
		}
		n, err := strconv.ParseInt(*value, 10, 64)
		return err == nil && n >= low && n <= high
	}
	const any64 = 1<<63 - 1
	switch name {
	case "retention.ms":
		return between(-1, any64)
	case "retention.bytes":
		return between(-1, -1)
	case "max.message.bytes":
		return between(0, maxMessageBytes)
	case "segment.bytes":
		return between(1<<20, 1<<30)
	case "segment.ms", "delete.retention.ms":
		return between(0, any64)
	case "cleanup.policy":
		return value == nil || *value == "delete"
	case "message.timestamp.type":
		return value == nil || *value == "CreateTime"
	}
	return true
}
