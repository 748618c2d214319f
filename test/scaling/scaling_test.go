package main

import (
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

var update = flag.Bool("update", false, "write the tables of docs/scaling.md anew")

const page = "../../docs/scaling.md"

func TestTheDocumentHasTheTables(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	d := document{load: typical, costs: measured, machines: usual, decades: decades}
	for _, table := range d.tables() {
		begin, end := "<!-- "+table.name+" -->\n", "<!-- /"+table.name+" -->"
		before, rest, hasBegin := strings.Cut(text, begin)
		found, after, hasEnd := strings.Cut(rest, end)
		switch {
		case !hasBegin || !hasEnd:
			t.Errorf("%s has no place for the table %q", page, table.name)
		case *update:
			text = before + begin + table.markdown + end + after
		case found != table.markdown:
			t.Errorf("the table %q of %s is not what comes out: run go test ./test/scaling -update", table.name, page)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The designs are played through with some thousands of users. The formulas must say the same for the load that chance came
// to, within 1%, which is what is left to chance: which users are friends, and on which nodes and in which zones they are.
func TestTheFormulasAgreeWithWhatIsPlayed(t *testing.T) {
	c := measured
	c.sourceBytes, c.noticeBytes = 700, 1_100 // so that a formula that forgets them is wrong by more than that
	for _, row := range []struct {
		name   string
		design design
		size   size
		time   int
	}{
		{"as it is, 1,000 users", asItIs, size{1_000, 9, 18}, 20_000},
		{"as it is, 20,000 users", asItIs, size{20_000, 18, 18}, 600},
		{"as it is, 100,000 users", asItIs, size{100_000, 9, 18}, 120},
		{"as it is, few nodes", asItIs, size{20_000, 3, 18}, 600},
		{"nearest replicas", design{cells: 1, nearest: true}, size{20_000, 18, 18}, 300},
		{"inboxes", design{cells: 1, inboxes: true, routers: 3}, size{20_000, 18, 18}, 600},
		{"inboxes, presence by interest", design{cells: 1, inboxes: true, interest: true, routers: 3}, size{20_000, 18, 18}, 600},
		{"two cells", design{cells: 2}, size{20_000, 18, 18}, 600},
		{"three cells", design{cells: 3}, size{20_000, 18, 18}, 600},
		{"three cells with inboxes", design{cells: 3, inboxes: true, interest: true, routers: 3}, size{20_000, 18, 18}, 600},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(typical, row.design, c, row.size, 1)
			w.run(row.time)
			formula := w.played().rates(row.design, c, float64(row.size.users), float64(row.size.nodes))
			formula.compare(t, w.perSecond())
			if w.doubled+w.disordered > 0 {
				t.Errorf("%d deliveries doubled, %d disordered", w.doubled, w.disordered)
			}
			if w.counted.deliveries != 2*w.counted.messages {
				t.Errorf("%v messages were delivered %v times", w.counted.messages, w.counted.deliveries)
			}
		})
	}
}

// compare reports the figures in which what was played differs from the formula.
func (r rates) compare(t *testing.T, played rates) {
	t.Helper()
	for _, figure := range []struct {
		name            string
		formula, played float64
	}{
		{"messages", r.messages, played.messages},
		{"transitions", r.transitions, played.transitions},
		{"deliveries", r.deliveries, played.deliveries},
		{"status frames", r.statusFrames, played.statusFrames},
		{"records of conversations", r.conversations.records, played.conversations.records},
		{"bytes of conversations", r.conversations.bytes, played.conversations.bytes},
		{"records of sessions", r.sessions.records, played.sessions.records},
		{"bytes of sessions", r.sessions.bytes, played.sessions.bytes},
		{"records of inboxes", r.inboxes.records, played.inboxes.records},
		{"bytes of inboxes", r.inboxes.bytes, played.inboxes.bytes},
		{"bytes of presence", r.presence.bytes, played.presence.bytes},
		{"records into a node", r.node.records, played.node.records},
		{"bytes into a node", r.node.bytes, played.node.bytes},
		{"bytes out of Kafka", r.egress, played.egress},
		{"bytes between zones", r.crossZone, played.crossZone},
		{"users known to be online", r.entries, played.entries},
	} {
		t.Logf("%-26s %12.1f %12.1f %+6.2f%%", figure.name, figure.formula, figure.played, 100*(figure.played/figure.formula-1))
		if math.Abs(figure.formula-figure.played) > 0.01*figure.formula {
			t.Errorf("%s: the formula says %.1f a second, %.1f were played", figure.name, figure.formula, figure.played)
		}
	}
}

// The load that is played is the one that is asked for. What comes of n events varies by about 1/sqrt(n).
func TestTheLoadIsPlayedThatIsAskedFor(t *testing.T) {
	w := newWorld(typical, asItIs, measured, size{2_000, 3, 6}, 1)
	w.run(40_000)
	played := w.played()
	for name, pair := range map[string][2]float64{
		"online": {typical.online, played.online}, "session": {typical.session, played.session}, "messages": {typical.messages, played.messages},
	} {
		if math.Abs(pair[0]-pair[1]) > 0.03*pair[0] {
			t.Errorf("%s: %.3g was asked for, %.3g was played", name, pair[0], pair[1])
		}
	}
}

// A router or a bridge that fails writes again what it had written. Nodes know it by the place that it first had in the log.
func TestNobodyGetsAMessageTwiceAfterARouterOrABridgeFailed(t *testing.T) {
	for name, d := range map[string]design{
		"inboxes": {cells: 1, inboxes: true, routers: 2},
		"cells":   {cells: 3},
		"both":    {cells: 3, inboxes: true, interest: true, routers: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			play := func(forgetful bool) *world {
				l := typical
				l.messages *= 100 // so that conversations go back and forth
				w := newWorld(l, d, measured, size{2_000, 6, 6}, 2)
				w.crash, w.forgetful = 30, forgetful
				w.run(60)
				return w
			}
			if w := play(false); w.doubled+w.disordered > 0 || w.counted.deliveries != 2*w.counted.messages {
				t.Errorf("%v messages, %v deliveries, %d doubled, %d disordered",
					w.counted.messages, w.counted.deliveries, w.doubled, w.disordered)
			}
			if w := play(true); w.doubled+w.disordered == 0 {
				t.Error("nothing comes twice even to nodes that forget: the test shows nothing")
			}
		})
	}
}

// A reader asks every leader again some time after its answer. What comes meanwhile is in the next answer.
func TestTheFormulaOfAnswersAgreesWithWhatIsPlayed(t *testing.T) {
	for _, row := range []struct{ records, leaders, paced float64 }{{100, 3, 0}, {10_000, 3, 0}, {1_000, 3, 0.005}, {10_000, 12, 0.005}} {
		random := rand.New(rand.NewPCG(4, 0))
		const time = 100.0
		answers := 0.0
		for range int(row.leaders) {
			asks := 0.0
			for at := 0.0; at < time; at += random.ExpFloat64() / (row.records / row.leaders) {
				if at >= asks {
					answers++
					asks = at + max(row.paced, measured.fetchPause)
				}
			}
		}
		// The next record that the reader waits for is where its pause ends, if one came in the pause.
		p := plan{design: design{partitions: 64, paced: row.paced}}
		formula := p.answers(measured, row.records, row.leaders)
		if played := answers / time; math.Abs(formula-played) > 0.02*formula {
			t.Errorf("%+v: the formula says %.0f a second, %.0f were played", row, formula, played)
		}
	}
}

func TestTheFormulaOfADeathAgreesWithWhatIsPlayed(t *testing.T) {
	for _, row := range []struct {
		name            string
		clients, others int
		returns         float64
	}{
		{"all are back in time", 10_000, 9, 5},
		{"clients take their time", 10_000, 9, 20},
		{"one node is left", 50_000, 1, 5},
		{"few nodes are left", 100_000, 3, 5},
		{"the database is busy", 200_000, 80, 5},
	} {
		l := typical
		l.returns = row.returns
		formula := l.death(measured, usual, float64(row.clients), float64(row.others))
		played := l.playDeath(measured, usual, row.clients, row.others, 3)
		for _, figure := range []struct {
			name            string
			formula, played float64
		}{
			{"seconds", formula.back, played.back},
			{"logins/s", formula.loginRate, played.loginRate},
			{"seen offline", formula.flapping, played.flapping},
			{"status frames", formula.statusFrames, played.statusFrames},
		} {
			if math.Abs(figure.formula-figure.played) > 0.03*figure.formula {
				t.Errorf("%s: %s: the formula says %.1f, %.1f were played", row.name, figure.name, figure.formula, figure.played)
			}
		}
	}
}

func TestWhatIsKnownOfAUserTakesTheMemoryThatIsSaid(t *testing.T) {
	const users = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	partitions := newSessions(16)
	for i := range users {
		partitions[i%16].Apply(domain.SessionRecord{
			Kind: domain.SessionUp, Incarnation: domain.Incarnation{1}, User: domain.UserID(i + 1), Count: 1,
		}, time.Time{})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / users
	runtime.KeepAlive(partitions)
	if math.Abs(each-measured.entryBytes) > 0.2*measured.entryBytes {
		t.Errorf("a user who is online takes %.0f bytes, the document says %.0f", each, measured.entryBytes)
	}
}

// The costs of single operations add up to what was measured of the whole: two nodes, one of them without users, on one broker
// with 16 partitions. Cores, medians of two or three runs.
func TestTheCostsAddUpToWhatWasMeasured(t *testing.T) {
	for _, row := range []struct{ messages, kafka, second float64 }{{1_000, 0.40, 0.093}, {3_000, 0.64, 0.140}} {
		c := measured
		c.followCPU = 0
		p := plan{design: asItIs, fleet: 2, brokers: need{count: 1}}
		p.design.partitions = 16
		p.conversations = c.messages(row.messages)
		p.node = p.conversations
		second, _ := p.fixedCPU(c)
		for what, pair := range map[string][2]float64{
			"Kafka": {p.cores(c, 1), row.kafka}, "the second node": {second / 1e6, row.second},
		} {
			if math.Abs(pair[0]-pair[1]) > 0.4*pair[1] {
				t.Errorf("%.0f messages/s: %s takes %.3f cores by the costs, %.3f were measured", row.messages, what, pair[0], pair[1])
			}
		}
	}
}

func TestAPlanNamesTheLimitThatBinds(t *testing.T) {
	for _, row := range []struct {
		name   string
		design design
		change func(l *load, c *costs, m *machines)
		users  float64
		nodes  string
		kafka  string
		sql    string
	}{
		{"little", asItIs, func(*load, *costs, *machines) {}, 1e3, "one", "three", "one"},
		{"many connections", asItIs, func(*load, *costs, *machines) {}, 1e6, "connections", "three", "one"},
		{"talk", asItIs, func(l *load, _ *costs, _ *machines) { l.messages = 50_000 }, 1e5, "CPU", "", ""},
		{"little memory", asItIs, func(_ *load, _ *costs, m *machines) { m.nodeMemory = 200e6 }, 1e5, "memory", "", ""},
		{"presence fills a node", asItIs, func(_ *load, _ *costs, m *machines) { m.nodeMemory, m.nodeCores = 1e9, 1_000 }, 1e8, "memory", "", ""},
		{"slow network", asItIs, func(l *load, _ *costs, m *machines) { m.link = 2e5 }, 1e5, "network", "network", ""},
		{"small disks", asItIs, func(_ *load, _ *costs, m *machines) { m.brokerDisk, m.sqlDisk = 1e11, 1e10 }, 1e6, "", "disk", "disk"},
		{"a slow database", asItIs, func(_ *load, c *costs, m *machines) { c.rowCPU = 1e5; m.sqlDisk = 1e18 }, 1e6, "", "", "CPU"},
	} {
		l, c, m := typical, measured, usual
		row.change(&l, &c, &m)
		p := l.plan(row.design, c, m, row.users)
		for what, by := range map[string][2]string{
			"nodes": {p.nodes.by, row.nodes}, "brokers": {p.brokers.by, row.kafka}, "databases": {p.sql.by, row.sql},
		} {
			if by[1] != "" && by[0] != by[1] {
				t.Errorf("%s: the number of %s is that of %s, not of %s", row.name, what, by[0], by[1])
			}
		}
	}
}

// What the text of the document says of the decades. If it is no longer so, the text has to be written anew.
func TestTheDocumentSaysWhereTheDesignEnds(t *testing.T) {
	for _, row := range []struct {
		of     design
		users  float64
		exists bool
	}{
		{asItIs, 1e6, true}, {asItIs, 1e7, false},
		{larger, 1e7, true}, {larger, 1e8, false},
		{paced, 1e7, true}, {paced, 1e8, false},
		{inboxes, 1e8, false},
		{byWatch, 1e8, true}, {celled(1e8), 1e8, true},
	} {
		p := typical.plan(row.of, measured, usual, row.users)
		if exists := p.exists() && p.brokers.count <= mostBrokers*row.of.cells; exists != row.exists {
			t.Errorf("%s for %s users: %t", row.of.name, number(row.users), exists)
		}
	}
}

func TestAnEndIsWhereTooMuchBegins(t *testing.T) {
	end := typical.end(asItIs, measured, usual, func(p plan) bool { return p.messages > 1000 })
	if rate := typical.messageRate(end); math.Abs(rate-1000) > 1 {
		t.Errorf("the end of 1,000 messages/s is at %.0f", rate)
	}
}

func TestNumbersHaveTwoDigitsThatCount(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.123: "0.123", 4.56: "4.6", 12.4: "12.4", 99.7: "100", 1234: "1,230", 56789: "57,000", 1e8: "100,000,000",
	} {
		if got := number(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	for got, want := range map[string]string{
		bytes(999): "1,000 B", bytes(1e3): "1 KB", bytes(5.67e9): "5.7 GB", seconds(90): "1.5 min", seconds(7200): "2 h",
		seconds(5): "5 s", percent(0.15): "15%", micro(12.4): "12.4 µs",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTheCommandTakesOtherAssumptions(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"-users", "3000000", "-online", "0.1"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3,000,000", "300,000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in what it prints", want)
		}
	}
	for _, args := range [][]string{{"-online", "0"}, {"-online", "1"}, {"-friends", "-1"}, {"-users", "-1"}, {"-peak", "NaN"}, {"more"}, {"-unknown"}} {
		if err := run(args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
