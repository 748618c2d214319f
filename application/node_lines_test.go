package application_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chatting/application"
	"chatting/domain"
)

// named makes a node whose lines about others are kept.
func named(log *sessionTopic, number byte, name string) (*node, *output) {
	n := newNode(log, number)
	notices, out := newNotices()
	n.presence = application.NewSetPresence(n, time.Now, nodeIDs(number), application.DefaultPresenceTimes, notices)
	n.presence.Name = name
	return n, out
}

// about returns the lines that contain message.
func about(out *output, message string) (lines []string) {
	for _, line := range strings.Split(out.take(), "\n") {
		if strings.Contains(line, message) {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestEveryLineAboutAnotherNodeNamesItAndItsIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		survivor, out := named(log, 1, "one:8000")
		survivor.start(t)
		var others []*node
		for number, name := range map[byte]string{2: "two:8000", 3: "three:8000"} {
			other, _ := named(log, number, name)
			others = append(others, other.start(t))
		}
		time.Sleep(5 * time.Second)
		for _, other := range others {
			other.kill()
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		text := out.take()
		for number, name := range map[byte]string{2: "two:8000", 3: "three:8000"} {
			names := "node=" + name + " incarnation=" + incarnation(number, 1).String() + " by=" + incarnation(1, 1).String()
			for _, message := range []string{"burying a node whose heartbeats ended", "a node is buried: its users are offline"} {
				if n := strings.Count(text, `msg="`+message+`" `+names); n != 1 {
					t.Errorf("%d lines %q %s in\n%s", n, message, names, text)
				}
			}
		}

		leaving, _ := named(log, 4, "four:8000")
		leaving.start(t)
		time.Sleep(3 * time.Second)
		if err := leaving.presence.Depart(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		names := "node=four:8000 incarnation=" + incarnation(4, 1).String()
		if lines := about(out, "a node is leaving"); len(lines) != 1 || !strings.Contains(lines[0], names) {
			t.Errorf("%q, want one that names %s", lines, names)
		}
	})
}

func TestANodeThatWasBuriedTellsItsNewIncarnation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newSessionTopic(sessionPartitions, time.Now)
		n, out := named(log, 1, "one:8000")
		n.start(t)
		time.Sleep(2 * time.Second)
		for partition := range sessionPartitions {
			log.put(partition, sessionEntry{domain.SessionRecord{Kind: domain.SessionDead, Incarnation: incarnation(1, 1)}, time.Now()}, func(error) {})
		}
		synctest.Wait()
		want := "node=one:8000 incarnation=" + incarnation(1, 2).String() + " old=" + incarnation(1, 1).String()
		if lines := about(out, "going on as a new incarnation"); len(lines) != 1 || !strings.Contains(lines[0], want) {
			t.Errorf("%q, want one with %s", lines, want)
		}
		if n.presence.Incarnation() != incarnation(1, 2) {
			t.Errorf("the incarnation is %s", n.presence.Incarnation())
		}
	})
}
