package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// ChatReport is what a chat came to. The counts from Sent on are of the whole run, the other figures of its measured part.
type ChatReport struct {
	Mode      string  `json:"mode"` // "closed loop" or "open loop"
	Pairs     int     `json:"pairs"`
	Window    int     `json:"window,omitempty"`
	Rate      float64 `json:"rate,omitempty"`
	TextBytes int     `json:"text_bytes"`

	Seconds  float64 `json:"seconds"`
	Messages int64   `json:"messages"` // that were echoed
	PerSec   float64 `json:"messages_per_second"`
	// Echo is the time until the sender has its echo, Delivery the time until the partner has the message, in an open loop both
	// from when the message was due. SendLag is by how much this client itself was late in sending.
	Echo     Latency  `json:"echo_ms"`
	Delivery Latency  `json:"delivery_ms"`
	SendLag  *Latency `json:"send_lag_ms,omitempty"`
	// ClientCPU is what this client took itself, in µs a message; 0 where the system does not tell.
	ClientCPU float64         `json:"client_cpu_us_per_message,omitempty"`
	Processes []ProcessReport `json:"processes,omitempty"`

	Sent      int64            `json:"sent"`
	Echoed    int64            `json:"echoed"`
	Delivered int64            `json:"delivered"`
	Errors    map[string]int64 `json:"errors"`             // error frames by code
	Closed    map[string]int64 `json:"closed_connections"` // by the server, by close code

	Unanswered  int64 `json:"unanswered"`  // messages with neither an echo nor an error
	Undelivered int64 `json:"undelivered"` // messages with an echo that the partner did not get
	Doubled     int64 `json:"doubled"`     // messages that came to a connection again
	Reordered   int64 `json:"reordered"`   // messages that came after a later one of the same sender
	Disordered  int64 `json:"disordered"`  // conversations whose users saw the messages in different orders
	Strays      int64 `json:"strays"`      // messages that came to somebody else
}

// ProcessReport is what a process used during the measured part.
type ProcessReport struct {
	PID int `json:"pid"`
	// CPU is user and system time, in µs a message, or a login.
	CPU         float64 `json:"cpu_us_each,omitempty"`
	CPUSeconds  float64 `json:"cpu_seconds"`
	ResidentMiB float64 `json:"resident_mib"` // at the end
	// KiBConnection is by how much its memory grew, by connections that are held.
	KiBConnection float64 `json:"kib_per_connection,omitempty"`
}

func (r *chatRun) report(before, after sample) *ChatReport {
	took := after.at - before.at
	t := &ChatReport{
		Mode: "closed loop", Pairs: r.Pairs, Window: r.Window, Rate: r.Rate, TextBytes: r.TextBytes,
		Seconds: round(took.Seconds(), 2), Messages: after.echoed - before.echoed,
		Echo: r.echoes.figures(), Delivery: r.deliveries.figures(),
		Errors: map[string]int64{},
	}
	if r.Rate > 0 {
		lag := r.lag.figures()
		t.Mode, t.Window, t.SendLag = "open loop", 0, &lag
	}
	t.PerSec = round(float64(t.Messages)/took.Seconds(), 1)
	t.Processes = processes(r.PIDs, before.processes, after.processes, t.Messages)
	if before.clientMeasured {
		t.ClientCPU = each(after.client.cpu-before.client.cpu, t.Messages)
	}
	var clients []*client
	for i, c := range r.chatters {
		clients = append(clients, c.client)
		t.judge(c, r.chatters[i^1])
	}
	t.Closed = closes(clients)
	return t
}

// judge adds what became of one client's messages.
func (t *ChatReport) judge(c, partner *chatter) {
	sent := c.sent.Load()
	t.Sent += int64(sent)
	t.Echoed += c.echoed.Load()
	t.Delivered += c.delivered.Load()
	var refused int64
	for code, n := range c.refusals {
		t.Errors[code] += n
		refused += n
	}
	t.Doubled += c.own.doubled + c.partner.doubled
	t.Reordered += c.own.swapped + c.partner.swapped
	t.Strays += c.strays

	unseen, unseenByPartner := c.own.missing(sent), partner.partner.missing(sent)
	t.Unanswered += max(size(unseen)-refused, 0)
	if partner.code == 0 {
		t.Undelivered += size(unseenByPartner) - common(unseen, unseenByPartner)
	}
	// Once a pair: if both saw the same messages, each stream of them in order, then both streams together as well.
	sentByPartner := partner.sent.Load()
	if c.index < partner.index && c.order != partner.order && c.ordered() && partner.ordered() &&
		slices.Equal(unseen, unseenByPartner) && slices.Equal(partner.own.missing(sentByPartner), c.partner.missing(sentByPartner)) {
		t.Disordered++
	}
}

// ordered tells whether each message came once, and after those before it.
func (c *chatter) ordered() bool {
	return c.own.doubled == 0 && c.own.swapped == 0 && c.partner.doubled == 0 && c.partner.swapped == 0
}

// processes compares what processes had used before and after n messages or logins.
func processes(pids []int, before, after []usage, n int64) []ProcessReport {
	var all []ProcessReport
	for i, pid := range pids {
		cpu := after[i].cpu - before[i].cpu
		all = append(all, ProcessReport{
			PID: pid, CPU: each(cpu, n), CPUSeconds: cpu.Seconds(), ResidentMiB: round(float64(after[i].resident)/(1<<20), 1),
		})
	}
	return all
}

// each divides a time by n, and returns microseconds.
func each(d time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return round(float64(d.Microseconds())/float64(n), 2)
}

func round(x float64, digits int) float64 {
	unit := math.Pow10(digits)
	return math.Round(x*unit) / unit
}

// Fault returns what the server did wrong, or why the run says nothing; nil if all is well. Messages that it refused are no fault.
func (t *ChatReport) Fault() error {
	var faults []string
	add := func(n int64, what string) {
		if n > 0 {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(t.Unanswered, "messages without an answer")
	add(t.Undelivered, "messages not delivered")
	add(t.Doubled, "messages doubled")
	add(t.Reordered, "messages reordered")
	add(t.Disordered, "conversations in two orders")
	add(t.Strays, "messages to the wrong user")
	add(sum(t.Closed), "connections closed by the server"+codes(t.Closed))
	if t.Messages == 0 && len(faults) == 0 {
		faults = append(faults, "no message was echoed in the measured time"+codes(t.Errors))
	}
	return faultOf(faults)
}

func faultOf(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("the run has failed: %s", strings.Join(faults, ", "))
}

func sum(counts map[string]int64) (n int64) {
	for _, count := range counts {
		n += count
	}
	return n
}

// codes lists counts by code, in parentheses; "" if there are none.
func codes(counts map[string]int64) string {
	if len(counts) == 0 {
		return ""
	}
	return " (" + list(counts) + ")"
}

func list(counts map[string]int64) string {
	var all []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%s: %d", code, counts[code]))
	}
	return strings.Join(all, ", ")
}

// WriteText writes the report for people.
func (t *ChatReport) WriteText(w io.Writer) error {
	lines := newTable(w)
	load := fmt.Sprintf("each with %d unanswered messages", t.Window)
	if t.Rate > 0 {
		load = fmt.Sprintf("%g messages/s in all", t.Rate)
	}
	lines.row(t.Mode, "%d pairs, %s, texts of %d bytes, %.1f s", t.Pairs, load, t.TextBytes, t.Seconds)
	lines.row("messages", "%d, %.0f a second", t.Messages, t.PerSec)
	lines.latency("echo", t.Echo)
	lines.latency("delivery", t.Delivery)
	if t.SendLag != nil {
		lines.latency("client's own lag", *t.SendLag)
	}
	for _, p := range t.Processes {
		lines.row(fmt.Sprintf("process %d", p.PID), "%.1f µs of CPU a message, %.1f MiB of memory", p.CPU, p.ResidentMiB)
	}
	if t.ClientCPU > 0 {
		lines.row("this client", "%.1f µs of CPU a message", t.ClientCPU)
	}
	lines.counts("errors", t.Errors)
	lines.counts("closed connections", t.Closed)
	lines.row("whole run", "%d sent, %d echoed, %d delivered", t.Sent, t.Echoed, t.Delivered)
	lines.row("faults", "%d unanswered, %d undelivered, %d doubled, %d reordered, %d disordered, %d strays",
		t.Unanswered, t.Undelivered, t.Doubled, t.Reordered, t.Disordered, t.Strays)
	return lines.end()
}

// table aligns names and figures.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer) table { return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (t table) row(name, format string, args ...any) {
	fmt.Fprintf(t.w, name+"\t"+format+"\n", args...)
}

func (t table) latency(name string, l Latency) {
	t.row(name, "p50 %.2f ms, p90 %.2f, p99 %.2f, p99.9 %.2f, max %.2f", l.P50, l.P90, l.P99, l.P999, l.Max)
}

func (t table) counts(name string, counts map[string]int64) {
	if len(counts) > 0 {
		t.row(name, "%s", list(counts))
	}
}

func (t table) end() error { return t.w.Flush() }
