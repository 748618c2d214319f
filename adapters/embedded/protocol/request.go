// Package protocol says what clients of the broker may ask, and how they are told no: the requests and versions that are
// served, the sizes of frames, the topics and settings that may be made. kfake trusts its clients, so each request is read
// and judged here first. The package knows no connections and asks kfake nothing. Package batch judges the records.
package protocol

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// minFrame is the shortest request: API key, version, correlation id, and the length of a client id that is null.
const minFrame = 2 + 2 + 4 + 2

// RefusalError is why a frame is not let through. Its connection is closed.
type RefusalError string

// Error implements error.
func (e RefusalError) Error() string { return string(e) }

// Refuse returns a RefusalError.
func Refuse(format string, args ...any) error { return RefusalError(fmt.Sprintf(format, args...)) }

// Error is why a client's wish is not granted. The client is told.
type Error struct {
	Code int16 // of Kafka's protocol
	Text string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// Errorf returns an Error with the code of an error of Kafka's.
func Errorf(kind *kerr.Error, format string, args ...any) *Error {
	return &Error{kind.Code, fmt.Sprintf(format, args...)}
}

// CheckSize judges a frame by its size and API key, before anything is allocated for it. size is without the size field
// itself. own tells that the frame is the server's own.
func CheckSize(size uint32, key kmsg.Key, own bool) error {
	limit := uint32(MaxOtherFrame)
	switch {
	case own || key == kmsg.Produce:
		limit = MaxProduceFrame
	case key == kmsg.SyncGroup:
		limit = MaxSyncFrame
	case key == kmsg.JoinGroup:
		limit = MaxJoinFrame
	}
	if size < minFrame || size > limit {
		return Refuse("a frame of %d bytes for API key %d", size, key)
	}
	return nil
}

// KeyOf reads the API key of a frame, which is without its size.
func KeyOf(frame []byte) kmsg.Key { return kmsg.Key(binary.BigEndian.Uint16(frame)) }

// Request is one that could be read.
type Request struct {
	// Body is nil if the request is ApiVersions in a version that is not served.
	Body        kmsg.Request
	Correlation int32

	head []byte // as it came: API key, version, correlation id, client id
}

// Frame encodes the request with another body, as kfake reads it: without its size.
func (r Request) Frame(body kmsg.Request) []byte {
	return body.AppendTo(r.head[:len(r.head):len(r.head)])
}

// Parse reads the request in frame, which is without its size. An error means that the connection is to be closed.
func Parse(frame []byte) (r Request, err error) {
	defer func() {
		if fault := recover(); fault != nil { // in kfake the same bytes would end the process
			r, err = Request{}, Refuse("an unreadable request: %v", fault)
		}
	}()
	reader := kbin.Reader{Src: frame}
	key, version := kmsg.Key(reader.Int16()), reader.Int16()
	r.Correlation = reader.Int32()
	reader.NullableString()
	if !reader.Ok() {
		return r, Refuse("a request without a whole header")
	}
	served, known := apis[key]
	if !known {
		return r, Refuse("API key %d is not served", key)
	}
	if version > served.maxVersion && key == kmsg.ApiVersions {
		return r, nil
	}
	if version < served.minVersion || version > served.maxVersion {
		return r, Refuse("version %d of API key %d is not served", version, key)
	}
	r.head = frame[:len(frame)-len(reader.Src)]
	r.Body = kmsg.RequestForKey(key.Int16())
	r.Body.SetVersion(version)
	if err := r.Body.ReadFrom(reader.Src); err != nil {
		return r, Refuse("an unreadable request of API key %d: %v", key, err)
	}
	return r, nil
}

// maxNamed bounds the groups or resources of one question whose answer is far longer than the question.
const maxNamed = 200

// WithinReason takes repetitions out of questions that kfake answers once for each time, and bounds how much one asks.
func WithinReason(body kmsg.Request) error {
	switch r := body.(type) {
	case *kmsg.DescribeGroupsRequest:
		if r.Groups = distinct(r.Groups, func(g string) string { return g }); len(r.Groups) > maxNamed {
			return Refuse("a question about %d groups", len(r.Groups))
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
			return Refuse("a question about the settings of %d resources", len(r.Resources))
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

// AnswerHead is the size and the correlation id, before the body of an answer.
const AnswerHead = 4 + 4

// FrameAnswer encodes an answer to the request with a correlation id, with its size.
func FrameAnswer(correlation int32, response kmsg.Response) []byte {
	out := binary.BigEndian.AppendUint32(make([]byte, 4, 64), uint32(correlation))
	out = response.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

// ReadAnswer reads an answer, with its size, to a request of a version.
func ReadAnswer(answer []byte, version int16, response kmsg.Response) error {
	response.SetVersion(version)
	return response.ReadFrom(answer[AnswerHead:])
}

// CorrelationOf returns the correlation id of an answer.
func CorrelationOf(answer []byte) int32 { return int32(binary.BigEndian.Uint32(answer[4:])) }
