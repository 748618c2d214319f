package embedded

import (
	"fmt"
	"regexp"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
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
func checkSize(size uint32, key int16, own bool) error {
	limit := uint32(maxOtherFrame)
	switch {
	case own || kmsg.Key(key) == kmsg.Produce:
		limit = maxProduceFrame
	case kmsg.Key(key) == kmsg.SyncGroup:
		limit = maxSyncFrame
	case kmsg.Key(key) == kmsg.JoinGroup:
		limit = maxJoinFrame
	}
	if size < minFrame || size > limit {
		return refuse("a frame of %d bytes for API key %d", size, key)
	}
	return nil
}

// request is one that could be read.
type request struct {
	body        kmsg.Request
	head        []byte // as it came: API key, version, correlation id, client id
	correlation int32
}

// frame encodes the request as kfake reads it.
func (r request) frame(body kmsg.Request) []byte {
	return body.AppendTo(r.head[:len(r.head):len(r.head)])
}

// parse reads the request in frame, which is without its size. A version of ApiVersions that is not served is no error:
// the body is nil then. Any other error means that the connection is to be closed.
func parse(frame []byte) (r request, err error) {
	defer func() {
		if fault := recover(); fault != nil { // in kfake the same bytes would end the process
			r, err = request{}, refuse("an unreadable request: %v", fault)
		}
	}()
	reader := kbin.Reader{Src: frame}
	key, version := reader.Int16(), reader.Int16()
	r.correlation = reader.Int32()
	reader.NullableString()
	if !reader.Ok() {
		return r, refuse("a request without a whole header")
	}
	passing, known := apis[kmsg.Key(key)]
	if !known {
		return r, refuse("API key %d is not served", key)
	}
	if version > passing.maxVersion && kmsg.Key(key) == kmsg.ApiVersions {
		return r, nil
	}
	if version < passing.minVersion || version > passing.maxVersion {
		return r, refuse("version %d of API key %d is not served", version, key)
	}
	r.head = frame[:len(frame)-len(reader.Src)]
	r.body = kmsg.RequestForKey(key)
	r.body.SetVersion(version)
	if err := r.body.ReadFrom(reader.Src); err != nil {
		return r, refuse("an unreadable request of API key %d: %v", key, err)
	}
	return r, nil
}

// answerIn answers a request of a client in its turn. late tells that kfake may answer late, so that the request must
// not go by this lane.
func (c *client) answerIn(l *lane, frame []byte) (answer []byte, late bool, err error) {
	r, err := parse(frame)
	if err != nil {
		return nil, false, err
	}
	var response kmsg.Response
	switch body := r.body.(type) {
	case nil: // ApiVersions of a later version: told the one that is served, clients ask again (KIP-511)
		versions := apiVersions(0)
		versions.ErrorCode = kerr.UnsupportedVersion.Code
		response = versions
	case *kmsg.ApiVersionsRequest:
		response = apiVersions(body.Version)
	case *kmsg.SyncGroupRequest:
		return nil, true, nil
	case *kmsg.JoinGroupRequest:
		if response, err = c.refuseJoin(l, body); response == nil {
			return nil, true, err
		}
	case *kmsg.ProduceRequest:
		quiet := body.Acks == 0 // produce asks kfake for an answer
		response, err = c.produce(l, r, body)
		if quiet && err == nil {
			return nil, false, nil
		}
	case *kmsg.ListOffsetsRequest:
		response, err = c.listOffsets(l, r, body)
	case *kmsg.OffsetCommitRequest:
		response, err = c.commitOffsets(l, r, body)
	case *kmsg.CreateTopicsRequest:
		response, err = c.createTopics(l, r, body)
	case *kmsg.IncrementalAlterConfigsRequest:
		response, err = c.alterConfigs(l, r, body)
	default:
		if response = refusal(r.body); response == nil {
			if err := withinReason(r.body); err != nil {
				return nil, false, err
			}
			answer, err := l.send(r.frame(r.body), laneLimit)
			if err == nil {
				err = c.makeRoom(answer)
			}
			return answer, false, err
		}
	}
	if err != nil {
		return nil, false, err
	}
	answer = frameAnswer(r.correlation, response)
	return answer, false, c.makeRoom(answer)
}

// forward has kfake answer a changed request.
func (c *client) forward(l *lane, r request, body kmsg.Request, response kmsg.Response) error {
	answer, err := l.send(r.frame(body), laneLimit)
	if err != nil {
		return err
	}
	response.SetVersion(body.GetVersion())
	return response.ReadFrom(answer[answerHead:])
}

// maxNamed bounds the groups or resources of one question whose answer is far longer than the question.
const maxNamed = 200

// withinReason takes repetitions out of questions that kfake answers once for each time, and bounds how much one asks.
func withinReason(body kmsg.Request) error {
	switch r := body.(type) {
	case *kmsg.DescribeGroupsRequest:
		if r.Groups = distinct(r.Groups, func(g string) string { return g }); len(r.Groups) > maxNamed {
			return refuse("a question about %d groups", len(r.Groups))
		}
	case *kmsg.DescribeConfigsRequest:
		type resource struct {
			kind kmsg.ConfigResourceType
			name string
		}
		r.Resources = distinct(r.Resources, func(of kmsg.DescribeConfigsRequestResource) resource {
			return resource{of.ResourceType, of.ResourceName}
		})
		if len(r.Resources) > maxNamed {
			return refuse("a question about the settings of %d resources", len(r.Resources))
		}
	}
	return nil
}

// distinct returns the first of each with the same key.
func distinct[T any, K comparable](all []T, key func(T) K) []T {
	seen := make(map[K]struct{}, len(all))
	kept := all[:0]
	for _, one := range all {
		if _, again := seen[key(one)]; !again {
			seen[key(one)] = struct{}{}
			kept = append(kept, one)
		}
	}
	return kept
}

// topicName is what Kafka allows (org.apache.kafka.common.internals.Topic); kfake allows everything, and a name becomes
// part of a path.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// Why requests are refused, for their clients.
const (
	noTransactions = "The broker inside the chat server has no transactions. Use a producer without transactional.id, or a Kafka cluster."
	noDeletion     = "The broker inside the chat server deletes no topics, records, groups or offsets."
	noPartitions   = "The broker inside the chat server adds no partitions to a topic."
	noAlterConfigs = "The broker inside the chat server takes IncrementalAlterConfigs only."
)
