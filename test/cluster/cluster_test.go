// Package cluster runs several nodes of the built server against real Kafka and PostgreSQL, and ends, stops and cuts off
// what a cluster is made of.
//
// Everything is smaller than what the server has to stand, so that it can run with every change; the full counts run with
// CHATTING_TEST_SCALE=full.
package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver, to make a database for each test
	"github.com/segmentio/kafka-go"

	"chatting/adapters/auth"
	"chatting/domain"
	"chatting/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// scaled returns small, or full where the full counts were asked for.
func scaled[N int | time.Duration](small, full N) N {
	if os.Getenv("CHATTING_TEST_SCALE") == "full" {
		return full
	}
	return small
}

// The times of the server's defaults that tests compare with.
const (
	lease          = 6 * time.Second
	beat           = time.Second
	appendDeadline = 5 * time.Second
	// leeway is by what factor a machine under load may exceed a deadline.
	leeway = 3
)

// testContext bounds a test that waits in vain. It ends before go test's own limit, which would leave the processes of the
// test behind.
func testContext(t *testing.T) context.Context {
	limit := time.Now().Add(scaled(6*time.Minute, 15*time.Minute))
	if end, limited := t.Deadline(); limited && end.Add(-time.Minute).Before(limit) {
		limit = end.Add(-time.Minute)
	}
	ctx, cancel := context.WithDeadline(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// cluster is an installation: its topics, its database, its secret.
type cluster struct {
	t        *testing.T
	parts    harness.Parts
	prefix   string
	database string
}

const jwtSecret = "of the cluster tests, and of nothing else"

// s2sToken is what other servers of the platform present to the nodes.
const s2sToken = "of-the-cluster-tests-too"

// newCluster makes a database and a topic prefix of the test's own. Both are gone after it.
func newCluster(t *testing.T, parts harness.Parts) *cluster {
	t.Helper()
	random := make([]byte, 6)
	rand.Read(random)
	c := &cluster{t: t, parts: parts, prefix: "cluster-" + hex.EncodeToString(random)}
	name := strings.ReplaceAll(c.prefix, "-", "_")
	c.admin("CREATE DATABASE " + name)
	at, err := url.Parse(parts.Postgres)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/" + name
	c.database = at.String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		harness.DeleteTopics(ctx, t, parts.Brokers,
			c.conversations(), c.presence(), c.sessions(), c.systemMessages(), c.deadLetters(), c.audit())
		c.admin("DROP DATABASE " + name + " WITH (FORCE)")
	})
	harness.PromiseEvents(t, parts.Brokers, c.prefix)
	return c
}

func (c *cluster) admin(statement string) {
	c.t.Helper()
	db, err := sql.Open("postgres", c.parts.Postgres)
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		c.t.Fatalf("%s: %v", statement, err)
	}
}

// createTopic makes a topic as soon as there is none of its name.
func createTopic(ctx context.Context, t *testing.T, brokers string, topic kafka.TopicConfig) {
	t.Helper()
	transport := &kafka.Transport{} // of its own: a shared one goes on with what it heard of the topics before
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Timeout: 10 * time.Second, Transport: transport}
	harness.Until(ctx, t, "the topic "+topic.Topic+" is made", func() bool {
		made, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
		return err == nil && made.Errors[topic.Topic] == nil
	})
}

func (c *cluster) conversations() string  { return c.prefix + ".conversations" }
func (c *cluster) presence() string       { return c.prefix + ".presence" }
func (c *cluster) sessions() string       { return c.prefix + ".sessions" }
func (c *cluster) systemMessages() string { return c.prefix + ".system-messages" }
func (c *cluster) audit() string          { return c.prefix + ".audit" }
func (c *cluster) deadLetters() string    { return c.prefix + ".system-messages.dlt" }

// settings are those of a node, with more that count instead where they name the same variable.
func (c *cluster) settings(more ...string) []string {
	return append([]string{
		"CHATTING_KAFKA_BROKERS=" + c.parts.Brokers, "CHATTING_DATABASE_URL=" + c.database,
		"CHATTING_TOPIC_PREFIX=" + c.prefix, "CHATTING_JWT_SECRET=" + jwtSecret, "CHATTING_HTTP_ADDR=127.0.0.1:0",
		"CHATTING_S2S_TOKEN=" + s2sToken,
	}, more...)
}

// start starts a node and waits until it is ready.
func (c *cluster) start(settings ...string) *harness.Node {
	c.t.Helper()
	return harness.StartNode(c.t, c.t.TempDir(), c.settings(settings...)...)
}

// startAll starts nodes at once, as an orchestrator does.
func (c *cluster) startAll(count int, settings ...string) []*harness.Node {
	c.t.Helper()
	launched := make([]*harness.Launched, count)
	nodes := make([]*harness.Node, count)
	for i := range launched {
		launched[i] = harness.Launch(c.t, c.t.TempDir(), c.settings(settings...)...)
		nodes[i] = launched[i].Node
	}
	for _, n := range launched {
		if err := n.AwaitReady(harness.StartLimit); err != nil {
			c.t.Fatal(err)
		}
	}
	return nodes
}

func token(t *testing.T, user int) string {
	t.Helper()
	minted, err := auth.MintHS256([]byte(jwtSecret), domain.UserID(user), time.Hour, time.Now(), auth.Required{})
	if err != nil {
		t.Fatal(err)
	}
	return minted
}

// connect logs a user in on a node. The connection is closed with the test.
func connect(t *testing.T, node *harness.Node, user int) *harness.Client {
	t.Helper()
	c, err := harness.Connect(node.HTTP, token(t, user))
	if err != nil {
		t.Fatalf("user %d on %s: %v", user, node.HTTP, err)
	}
	t.Cleanup(c.Close)
	return c
}

// connectAll logs users in side by side; the client of users[i] is number i. place says on which node.
func connectAll(t *testing.T, users []int, place func(user int) *harness.Node) []*harness.Client {
	t.Helper()
	clients := make([]*harness.Client, len(users))
	slots := make(chan struct{}, 16)
	var all sync.WaitGroup
	for i, user := range users {
		minted := token(t, user)
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			client, err := harness.Connect(place(user).HTTP, minted)
			if err != nil {
				t.Errorf("user %d: %v", user, err)
				return
			}
			clients[i] = client
		})
	}
	all.Wait()
	for _, client := range clients {
		if client != nil {
			t.Cleanup(client.Close)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	return clients
}

// answer is what a REST request came to.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// request makes a REST request as a user, without a body where that is nil.
func request(ctx context.Context, addr, token, method, path string, body any, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, harness.FrameWait)
	defer cancel()
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, content)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: text}, err
}

// befriend makes a user watch others. An append that was not confirmed is tried again: brokers that have only just started may
// take their time for the first one.
func befriend(ctx context.Context, t *testing.T, node *harness.Node, user int, friends ...int) {
	t.Helper()
	for _, friend := range friends {
		harness.Until(ctx, t, fmt.Sprintf("user %d has the friend %d", user, friend), func() bool {
			a, err := request(ctx, node.HTTP, token(t, user), http.MethodPost, "/api/chatting/friends/", target(friend))
			if err != nil || a.status != http.StatusCreated && a.status != http.StatusServiceUnavailable {
				t.Fatalf("adding a friend: %v %d %s", err, a.status, a.body)
			}
			if a.status != http.StatusCreated {
				harness.Pause(ctx, time.Second) // less often than the limit of requests allows
			}
			return a.status == http.StatusCreated
		})
	}
}

func target(user int) map[string]int { return map[string]int{"target_id": user} }

// isReady tells what /readyz says.
func isReady(ctx context.Context, node *harness.Node) bool {
	a, err := request(ctx, node.HTTP, "", http.MethodGet, "/readyz", nil)
	return err == nil && a.status == http.StatusOK
}

// isOnline asks the node at addr who is online. asking is the token of who asks.
func isOnline(ctx context.Context, t *testing.T, addr, asking string, user int) bool {
	t.Helper()
	a, err := request(ctx, addr, asking, http.MethodGet, fmt.Sprintf("/api/chatting/is-online/?id=%d", user), nil)
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("is-online of %d: %v %d %s", user, err, a.status, a.body)
	}
	var said struct {
		Online bool `json:"is_online"`
	}
	if err := json.Unmarshal(a.body, &said); err != nil {
		t.Fatal(err)
	}
	return said.Online
}

// awaitKnownOnline waits until a node knows that user is online: a login on another node comes to it a moment later. asking
// is the token of who asks.
func awaitKnownOnline(ctx context.Context, t *testing.T, addr, asking string, user int) {
	t.Helper()
	harness.Until(ctx, t, fmt.Sprintf("the node knows that user %d is online", user), func() bool {
		return isOnline(ctx, t, addr, asking, user)
	})
}

// statuses returns what a connection was told of a user: "online" and "offline", in order, and when.
func statuses(client *harness.Client, of int) (said []string, at []time.Time) {
	for _, f := range client.Frames() {
		if f.Type == "send_status" && f.From == of {
			said, at = append(said, f.Status), append(at, f.At)
		}
	}
	return said, at
}

// awaitStatuses waits until a connection was told of a user as often as wanted.
func awaitStatuses(ctx context.Context, t *testing.T, client *harness.Client, of int, wanted ...string) {
	t.Helper()
	harness.Until(ctx, t, fmt.Sprintf("user %d is told %v of user %d", client.User, wanted, of), func() bool {
		said, _ := statuses(client, of)
		return len(said) >= len(wanted)
	})
	mustHaveStatuses(t, client, of, wanted...)
}

func mustHaveStatuses(t *testing.T, client *harness.Client, of int, wanted ...string) {
	t.Helper()
	if said, _ := statuses(client, of); fmt.Sprint(said) != fmt.Sprint(wanted) {
		t.Errorf("user %d was told %v of user %d, not %v", client.User, said, of, wanted)
	}
}
