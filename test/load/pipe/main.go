// Command pipe is the least that a chat server over Kafka does: what a client sends goes to a topic with acks=all, and from
// there to both users' sockets. It has no rules: no login, no limits, no presence, no order of deliveries to keep but that of
// the topic, and it reads of a frame only whom it is for. What the server costs beyond this pipe is the price of its rules.
//
// It is not a naive one: the producer sends whatever has come while the last request was under way, and all frames that a
// fetch brings for a socket leave in one write. With -naive every frame is a write of its own, as in a pipe that is written
// without thinking of speed.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	ws "github.com/fasthttp/websocket"
	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	brokers := flag.String("brokers", "", "brokers of the cluster, host:port, separated by commas")
	topic := flag.String("topic", "", "the topic, which exists")
	naive := flag.Bool("naive", false, "write each frame alone")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(*brokers, ","), *topic, *naive); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, brokers []string, topic string, naive bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.FetchMinBytes(1),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	p := &pipe{client: client, naive: naive, sockets: map[uint64]*socket{}}
	if err := p.warmUp(ctx); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	app.Get("/ws/chatting/", websocket.New(p.serve, websocket.Config{ReadBufferSize: 4096}))

	var consumer sync.WaitGroup
	consumer.Go(func() { p.consume(ctx) })
	defer consumer.Wait()
	defer cancel()
	end := context.AfterFunc(ctx, func() { _ = listener.Close(); p.closeAll() })
	defer end()
	// What whoever started the pipe waits for, in the words of the server.
	fmt.Fprintf(os.Stderr, `{"msg":"ready","http":"http://%s"}`+"\n", listener.Addr())
	if err := app.Listener(listener); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

type pipe struct {
	client  *kgo.Client
	naive   bool
	mu      sync.RWMutex
	sockets map[uint64]*socket // the newest one of each user
}

// warmUp returns when records of all partitions come back: a client has to find the leaders first, and the ends that it reads
// from.
func (p *pipe) warmUp(ctx context.Context) error {
	const round = 256 // enough to have some for every partition
	missing := map[int32]bool{}
	for first := true; first || len(missing) > 0; first = false {
		var records []*kgo.Record
		for i := range round {
			records = append(records, &kgo.Record{Key: strconv.AppendInt(nil, int64(i), 10), Value: []byte("warm-up")})
		}
		results := p.client.ProduceSync(ctx, records...)
		if err := results.FirstErr(); err != nil {
			return err
		}
		if first {
			for _, result := range results {
				missing[result.Record.Partition] = true
			}
		}
		patience, cancel := context.WithTimeout(ctx, time.Second)
		for len(missing) > 0 && patience.Err() == nil {
			p.client.PollFetches(patience).EachRecord(func(r *kgo.Record) { delete(missing, r.Partition) })
		}
		cancel()
	}
	return ctx.Err()
}

// serve has one connection. The first frame names the user in the place of a token.
func (p *pipe) serve(conn *websocket.Conn) {
	var frame []byte
	frame, err := read(conn, frame)
	if err != nil {
		return
	}
	user, err := numberAfter(frame, `"token":"`)
	if err != nil {
		return
	}
	s := &socket{conn: conn.NetConn(), wake: make(chan struct{}, 1), end: make(chan struct{})}
	var writer sync.WaitGroup
	writer.Go(s.write)
	defer writer.Wait()
	defer close(s.end)
	p.mu.Lock()
	p.sockets[user] = s
	p.mu.Unlock()
	defer p.leave(user, s)
	s.queue(fmt.Appendf(nil, `{"type":"system_message","message":"You have successfully logged","to_id":%d}`, user))
	s.flush()
	for {
		if frame, err = read(conn, frame); err != nil {
			return
		}
		target, err := numberAfter(frame, `"target_id":`)
		if err != nil {
			return
		}
		value := make([]byte, 16, 16+len(frame))
		binary.BigEndian.PutUint64(value, user)
		binary.BigEndian.PutUint64(value[8:], target)
		key := make([]byte, 16)
		binary.BigEndian.PutUint64(key, min(user, target))
		binary.BigEndian.PutUint64(key[8:], max(user, target))
		p.client.Produce(context.Background(), &kgo.Record{Key: key, Value: append(value, frame...)}, func(_ *kgo.Record, err error) {
			if err != nil && !errors.Is(err, kgo.ErrClientClosed) {
				log.Fatal(err)
			}
		})
	}
}

// read reads a frame into a buffer that is used again.
func read(conn *websocket.Conn, buffer []byte) ([]byte, error) {
	_, from, err := conn.NextReader()
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(buffer[:0])
	_, err = b.ReadFrom(from)
	return b.Bytes(), err
}

// numberAfter returns the number after some words.
func numberAfter(frame []byte, words string) (uint64, error) {
	_, rest, found := bytes.Cut(frame, []byte(words))
	end := bytes.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if !found || end < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return strconv.ParseUint(string(rest[:end]), 10, 64)
}

func (p *pipe) leave(user uint64, s *socket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sockets[user] == s {
		delete(p.sockets, user)
	}
}

func (p *pipe) closeAll() {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, s := range p.sockets {
		_ = s.conn.Close()
	}
}

// consume brings what the topic has to both users' sockets.
func (p *pipe) consume(ctx context.Context) {
	var waiting []*socket
	for {
		fetches := p.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		for _, failed := range fetches.Errors() {
			log.Fatal(failed.Err)
		}
		p.mu.RLock()
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) < 16 {
				return
			}
			for i := 0; i < 16; i += 8 {
				s := p.sockets[binary.BigEndian.Uint64(r.Value[i:])]
				if s == nil || !s.queue(r.Value[16:]) {
					continue
				}
				if p.naive {
					s.writePending()
				} else {
					waiting = append(waiting, s)
				}
			}
		})
		for _, s := range waiting {
			s.flush()
		}
		p.mu.RUnlock()
		waiting = waiting[:0]
	}
}

// socket writes all frames that wait for it in one system call.
type socket struct {
	conn      net.Conn
	wake, end chan struct{}

	mu      sync.Mutex
	pending []byte

	writing sync.Mutex
	taken   []byte
}

// queue appends a text frame of at most 64 KiB. It returns whether it is the first that waits.
func (s *socket) queue(frame []byte) bool {
	const finalText = 0x80 | ws.TextMessage
	s.mu.Lock()
	defer s.mu.Unlock()
	empty := len(s.pending) == 0
	if len(frame) < 126 {
		s.pending = append(s.pending, finalText, byte(len(frame)))
	} else {
		s.pending = append(s.pending, finalText, 126, byte(len(frame)>>8), byte(len(frame)))
	}
	s.pending = append(s.pending, frame...)
	return empty
}

func (s *socket) flush() {
	select {
	case s.wake <- struct{}{}:
	default: // the writer has not begun to take what waits
	}
}

// write writes until end is closed.
func (s *socket) write() {
	for {
		select {
		case <-s.wake:
		case <-s.end:
			return
		}
		s.writePending()
	}
}

// writePending writes what waits, in the order in which it was queued.
func (s *socket) writePending() {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	s.taken, s.pending = s.pending, s.taken[:0]
	s.mu.Unlock()
	if _, err := s.conn.Write(s.taken); err != nil {
		_ = s.conn.Close()
	}
}
