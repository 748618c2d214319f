package porttest

import (
	"fmt"
	"strings"
	"sync"

	"chatting/application/port"
	"chatting/domain"
)

// Tracer is a port.Tracer that keeps its spans. It records every trace that begins here, and none that its sender does not record.
type Tracer struct {
	mu    sync.Mutex
	spans []*Span
}

// Span is a span of a Tracer.
type Span struct {
	Start      port.SpanStart
	Name       string
	Attributes map[port.SpanKey]string
	Ended      int // how often
	Failure    string
	Fault      bool

	tracer *Tracer
	parent domain.TraceParent
}

// Begin implements port.Tracer.
func (t *Tracer) Begin(start port.SpanStart) port.Recording {
	if start.Parent != "" && !start.Parent.IsSampled() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	number := byte(len(t.spans) + 1)
	trace, _ := start.Parent.IDs()
	if start.Parent == "" {
		trace = [16]byte{number}
	}
	s := &Span{
		Start: start, Name: string(start.Name), Attributes: make(map[port.SpanKey]string), tracer: t,
		parent: domain.TraceParentOf(trace, [8]byte{number}),
	}
	t.spans = append(t.spans, s)
	return s
}

// Told returns the spans so far, in the order in which they began: the name of each, behind those that it is part of; and what it
// ended with.
func (t *Tracer) Told() (told []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	paths := make(map[domain.TraceParent]string)
	for _, s := range t.spans {
		path := s.Name
		if above, ok := paths[s.Start.Parent]; ok {
			path = above + "/" + path
		} else if s.Start.Parent != "" {
			path = "…/" + path
		}
		paths[s.parent] = path
		switch {
		case s.Ended != 1:
			path += fmt.Sprintf(" ended %d times", s.Ended)
		case s.Fault:
			path += " failed: " + s.Failure
		case s.Failure != "":
			path += " refused: " + s.Failure
		}
		told = append(told, path)
	}
	return told
}

// Find returns the first span of a name; it panics without one.
func (t *Tracer) Find(name string) *Span {
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	for _, s := range t.spans {
		if s.Name == name {
			copied := *s
			return &copied
		}
		names = append(names, s.Name)
	}
	panic("no span " + name + " among " + strings.Join(names, ", "))
}

// Parent implements port.Recording.
func (s *Span) Parent() domain.TraceParent { return s.parent }

// Rename implements port.Recording.
func (s *Span) Rename(name string) { s.do(func() { s.Name = name }) }

// SetText implements port.Recording.
func (s *Span) SetText(key port.SpanKey, value string) { s.do(func() { s.Attributes[key] = value }) }

// SetNumber implements port.Recording.
func (s *Span) SetNumber(key port.SpanKey, value int64) { s.SetText(key, fmt.Sprint(value)) }

// End implements port.Recording.
func (s *Span) End(failure string, fault bool) {
	s.do(func() { s.Ended, s.Failure, s.Fault = s.Ended+1, failure, fault })
}

func (s *Span) do(what func()) {
	s.tracer.mu.Lock()
	defer s.tracer.mu.Unlock()
	what()
}
