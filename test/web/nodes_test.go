package web

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	_ "github.com/lib/pq" // the driver, to make a database

	"chatting/test/harness"
)

// startBalancer leads connections to the first of some nodes that answers, and returns the address for clients.
func startBalancer(t *testing.T, nodes ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { lead(ctx, client, nodes) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// lead copies both ways until one side ends.
func lead(ctx context.Context, client net.Conn, nodes []string) {
	defer client.Close()
	for _, node := range nodes {
		server, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", node)
		if err != nil {
			continue
		}
		ended := context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
		defer ended()
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
			both.Go(func() {
				_, _ = io.Copy(way[0], way[1])
				_, _ = client.Close(), server.Close()
			})
		}
		both.Wait()
		return
	}
}

// startNodes starts nodes on the real parts, with a database and topics of the test's own.
func startNodes(t *testing.T, count int) (nodes []*harness.Node, settings []string) {
	t.Helper()
	parts := harness.SharedParts(t)
	random := make([]byte, 6)
	rand.Read(random)
	name := "web_" + hex.EncodeToString(random)
	admin := func(statement string) {
		t.Helper()
		db, err := sql.Open("postgres", parts.Postgres)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := db.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	admin("CREATE DATABASE " + name)
	database, err := url.Parse(parts.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	database.Path = "/" + name
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var topics []string
		for _, topic := range []string{"conversations", "presence", "sessions", "system-messages", "system-messages.dlt"} {
			topics = append(topics, name+"."+topic)
		}
		harness.DeleteTopics(ctx, t, parts.Brokers, topics...)
		admin("DROP DATABASE " + name + " WITH (FORCE)")
	})
	settings = []string{
		"CHATTING_KAFKA_BROKERS=" + parts.Brokers, "CHATTING_DATABASE_URL=" + database.String(), "CHATTING_TOPIC_PREFIX=" + name,
		"CHATTING_JWT_SECRET=of the tests of the page, and of nothing else", "CHATTING_HTTP_ADDR=127.0.0.1:0", "CHATTING_CHAT_OFFLINE=store",
	}
	for range count {
		nodes = append(nodes, harness.StartNode(t, t.TempDir(), settings...))
	}
	return nodes, settings
}

// Three people on two nodes. One node dies while they chat: each page takes up again by itself, and shows everything once.
func TestThreePeopleChatWhileANodeIsKilled(t *testing.T) {
	b := startBrowser(t)
	nodes, settings := startNodes(t, 2)
	first, second := nodes[0].HTTP, nodes[1].HTTP
	windows := map[string]*window{}
	for user, way := range map[string][]string{"1": {first, second}, "2": {second, first}, "3": {first, second}} {
		windows[user] = b.openAs("user"+user, "http://"+startBalancer(t, way...)+"/", token(t, settings, user))
		windows[user].serverMayBeAway()
		windows[user].connected()
	}
	one, two, three := windows["1"], windows["2"], windows["3"]

	one.click("#tab-friends")
	one.submit("2")
	one.until("the friend is online", `document.querySelector("#panel-friends .last")?.textContent === "Online"`)
	one.begin("2")
	two.begin("1")
	three.begin("1")
	three.click("#block")
	three.until("the block is shown", `document.querySelector("#presence").textContent === "You block this user"`)
	three.say("I do not hear you")
	one.until("it came", `[...document.querySelectorAll("#panel-chats .last")].some(l => l.textContent === "I do not hear you")`)

	two.click("#invite")
	one.run("accepting the invite", chromedp.Click(chromedp.Search(`//li[@data-id]//button[not(@hidden)][text()="Accept"]`)))
	two.until("it is accepted", `/User 1 accepted the invite/.test(document.querySelector("#messages").innerText)`)

	var said []string
	say := func(w *window, text string) {
		said = append(said, text)
		w.say(text)
	}
	for i := range 5 {
		say(one, fmt.Sprintf("one says %d", i))
		say(two, fmt.Sprintf("two says %d", i))
	}
	nodes[0].Kill()
	for i := 5; i < 15; i++ {
		say(one, fmt.Sprintf("one says %d", i))
		say(two, fmt.Sprintf("two says %d", i))
	}
	one.begin("3")
	one.say("you do not see this")
	one.begin("2")
	for _, w := range windows {
		w.connected()
	}
	for _, w := range []*window{one, two} {
		for _, text := range said {
			w.sees(text, 1)
		}
		w.until("nothing is under way", `!document.querySelector("#messages .sending, #messages .failed")`)
	}
	// The same order for both, and for each speaker the order in which it spoke.
	inOne, inTwo := one.messages(), two.messages()
	if !slices.Equal(inOne, inTwo) {
		t.Errorf("user 1 sees %q,\nuser 2 %q", inOne, inTwo)
	}
	for _, speaker := range []string{"one", "two"} {
		of := func(list []string) []string {
			return slices.DeleteFunc(slices.Clone(list), func(text string) bool { return !strings.HasPrefix(text, speaker+" says") })
		}
		if got, want := of(inOne), of(said); !slices.Equal(got, want) {
			t.Errorf("of %s are shown %q, want %q", speaker, got, want)
		}
	}
	// A page that is loaded again shows the same, also if the history is behind at first: the dead node may have written it.
	one.run("reloading", chromedpReload)
	one.connected()
	one.begin("2")
	one.until("the history has the last message", fmt.Sprintf(`fetch("/api/chatting/messages/?target_id=2&limit=1", {headers: {Authorization: "Bearer " + sessionStorage.getItem("chatting.token")}})
		.then(answer => answer.json()).then(page => page.messages[0].message === %q)`, said[len(said)-1]))
	for _, text := range said {
		one.sees(text, 1)
	}
	if inAgain := one.messages(); !slices.Equal(inAgain, inOne) {
		t.Errorf("after the reload user 1 sees %q, before it %q", inAgain, inOne)
	}
	three.sees("you do not see this", 0)
	one.until("the friend is online again", `document.querySelector("#presence").textContent === "Online"`)
}
