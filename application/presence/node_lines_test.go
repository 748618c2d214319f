package presence_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application/presence"
	"chatting/domain"
	"chatting/test/porttest"
)

// named makes a node whose lines about others are kept.
func named(log *porttest.SessionTopic, number byte, name string) (*porttest.Node, *porttest.Output) {
	n := porttest.NewNode(log, number)
	notices, out := porttest.NewNotices()
	n.Presence = presence.NewSetPresence(n, time.Now, porttest.NodeIDs(number), presence.DefaultTimes, notices)
	n.Presence.Name = name
	return n, out
}

// about returns the lines that contain message.
func about(out *porttest.Output, message string) (lines []string) {
	for _, line := range strings.Split(out.Take(), "\n") {
		if strings.Contains(line, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestEveryLineAboutAnotherNodeNamesItAndItsIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		survivor, out := named(log, 1, "one:8000")
		survivor.Start(t)
		var others []*porttest.Node
		for number, name := range map[byte]string{2: "two:8000", 3: "three:8000"} {
			other, _ := named(log, number, name)
			others = append(others, other.Start(t))
		}
		time.Sleep(5 * time.Second)
		for _, other := range others {
			other.Kill()
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		text := out.Take()
		for number, name := range map[byte]string{2: "two:8000", 3: "three:8000"} {
			names := "node=" + name + " incarnation=" + porttest.Incarnation(number, 1).String() + " by=" + porttest.Incarnation(1, 1).String()
			for _, message := range []string{"burying a node whose heartbeats ended", "a node is buried: its users are offline"} {
				if n := strings.Count(text, `msg="`+message+`" `+names); n != 1 {
					t.Errorf("%d lines %q %s in\n%s", n, message, names, text)
				}
			}
		}

		leaving, _ := named(log, 4, "four:8000")
		leaving.Start(t)
		time.Sleep(3 * time.Second)
		if err := leaving.Presence.Depart(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		names := "node=four:8000 incarnation=" + porttest.Incarnation(4, 1).String()
		if lines := about(out, "a node is leaving"); len(lines) != 1 || !strings.Contains(lines[0], names) {
			t.Errorf("%q, want one that names %s", lines, names)
		}
	})
}

func TestANodeThatWasBuriedTellsItsNewIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := porttest.NewSessionTopic(porttest.SessionPartitions, time.Now)
		n, out := named(log, 1, "one:8000")
		n.Start(t)
		time.Sleep(2 * time.Second)
		for partition := range porttest.SessionPartitions {
			log.Put(partition, porttest.SessionEntry{Record: domain.SessionRecord{Kind: domain.SessionDead, Incarnation: porttest.Incarnation(1, 1)}, At: time.Now()}, func(error) {})
		}
		synctest.Wait()
		want := "node=one:8000 incarnation=" + porttest.Incarnation(1, 2).String() + " old=" + porttest.Incarnation(1, 1).String()
		if lines := about(out, "going on as a new incarnation"); len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%q, want one with %s", lines, want)
		}
		if n.Presence.Incarnation() != porttest.Incarnation(1, 2) {
			t.Errorf("the incarnation is %s", n.Presence.Incarnation())
		}
	})
}
