package brokertest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"

	kafkago "github.com/segmentio/kafka-go"
)

// APIProduce is the key of Produce requests.
const APIProduce = 0

// ReadFrame reads a request or an answer with its length.
func ReadFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, 4+binary.BigEndian.Uint32(size[:]))
	copy(frame, size[:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

// Answer is what the client gets instead of the broker's answer: it with another error code; no answer and a connection
// that ends; or, with neither, the broker's.
type Answer struct {
	Code kafkago.Error
	Drop bool
}

// DialAnswering returns a dialer to brokers whose n-th answer, from 0 on, to a produce request that they appended is replaced.
func DialAnswering(topic string, replace func(n int64) Answer) func(context.Context, string, string) (net.Conn, error) {
	var produced atomic.Int64
	var pipes sync.WaitGroup
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		broker, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		client, inner := net.Pipe()
		pipes.Go(func() {
			defer inner.Close()
			defer broker.Close()
			for exchange(inner, broker, topic, func() Answer { return replace(produced.Add(1) - 1) }) {
			}
		})
		return client, nil
	}
}

// exchange passes a request and its answer. It is false at the end of the connection.
func exchange(client, broker net.Conn, topic string, replace func() Answer) bool {
	request, err := ReadFrame(client)
	if err != nil {
		return false
	}
	if _, err := broker.Write(request); err != nil {
		return false
	}
	response, err := ReadFrame(broker)
	if err != nil {
		return false
	}
	// size, correlation id, one topic, its name, one partition, its number, its error
	code := 4 + 4 + 4 + 2 + len(topic) + 4 + 4
	if binary.BigEndian.Uint16(request[4:]) == APIProduce && binary.BigEndian.Uint16(response[code:]) == 0 {
		a := replace()
		if a.Drop {
			return false
		}
		binary.BigEndian.PutUint16(response[code:], uint16(a.Code))
	}
	_, err = client.Write(response)
	return err == nil
}
