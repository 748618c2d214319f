package logging

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"chatting/configs"
	"chatting/test/harness"
)

// gate is a reader of the log that takes nothing while it is shut.
type gate struct {
	mu   sync.Mutex // held while it is shut
	read bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.read.Write(p)
}

func TestNobodyWaitsForASlowReaderOfTheLog(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	const lines = 50_000 // several times what the queue holds
	slow := &gate{}
	slow.mu.Lock()
	logger, queue := NewQueued(configs.Log{Format: configs.LogJSON}, slow)
	for range lines {
		logger.Info("something that clients can cause")
	}
	queue.mu.Lock()
	if queue.bytes > maxQueue {
		t.Errorf("%d bytes wait", queue.bytes)
	}
	queue.mu.Unlock()
	slow.mu.Unlock()
	harness.Until(t.Context(), t, "what is queued is written", func() bool {
		queue.mu.Lock()
		defer queue.mu.Unlock()
		return queue.bytes == 0 && queue.dropped == 0
	})
	logger.Info("the last one")
	queue.Close()
	<-queue.done
	written, lost := 0, 0
	scanner := bufio.NewScanner(&slow.read)
	last := ""
	for scanner.Scan() {
		var line struct {
			Message string `json:"msg"`
			Count   int    `json:"count"`
		}
		if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", scanner.Text(), err)
		}
		if last = line.Message; strings.HasPrefix(last, "log lines were lost") {
			lost += line.Count
		} else {
			written++
		}
	}
	if lost == 0 || written+lost != lines+1 || last != "the last one" {
		t.Errorf("%d lines were written and %d were lost, of %d; the last is %q", written, lost, lines+1, last)
	}
}

func TestAProcessEndsThoughNobodyReadsItsLog(t *testing.T) {
	reader, writer := io.Pipe()
	logger, queue := NewQueued(configs.Log{Format: configs.LogText}, writer)
	logger.Info("nobody reads this")
	queue.Close()
	select {
	case <-queue.done:
		t.Error("the line was written")
	default:
	}
	_ = reader.Close() // the write fails, and the queue ends
	<-queue.done
}
