package cluster

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"

	"chatting/test/harness"
)

// Whichever node the platform asks: the user's connections end on all, none of them shows what was said with it, and none
// knows it any more.
func TestAUserThatIsErasedOverOneNodeIsGoneFromAll(t *testing.T) {
	ctx := testContext(t)
	c := newCluster(t, harness.SharedParts(t))
	nodes := c.startAll(2)
	const erased, partner = 1, 2
	here, there, other := connect(t, nodes[0], erased), connect(t, nodes[1], erased), connect(t, nodes[1], partner)
	awaitKnownOnline(ctx, t, nodes[0].HTTP, token(t, erased), partner)
	said := func(f harness.Frame) bool { return f.Message == "hello" }
	if err := here.Send(partner, "hello"); err != nil {
		t.Fatal(err)
	}
	for _, client := range []*harness.Client{here, there, other} {
		if _, err := client.Find(ctx, 0, said); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(node *harness.Node, method, path string) (status int, body string) {
		t.Helper()
		bearer := token(t, partner)
		if method == http.MethodDelete {
			bearer = s2sToken
		}
		a, err := request(ctx, node.HTTP, bearer, method, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return a.status, string(a.body)
	}
	const messages, nothing = "/api/chatting/messages/?target_id=1", `{"messages":[],` // the history may be behind
	harness.Until(ctx, t, "the history has the message", func() bool {
		status, body := ask(nodes[1], http.MethodGet, messages)
		return status == http.StatusOK && !strings.HasPrefix(body, nothing)
	})

	if status, body := ask(nodes[0], http.MethodDelete, "/s2sapi/users/?user_id=1"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	done := time.Now()
	for _, node := range nodes {
		if status, body := ask(node, http.MethodGet, messages); status != http.StatusOK || !strings.HasPrefix(body, nothing) {
			t.Errorf("%s still shows %d %s", node.HTTP, status, body)
		}
	}
	for _, client := range []*harness.Client{here, there} {
		harness.Until(ctx, t, "its connections have ended", func() bool { return client.Err() != nil })
		if err := client.Err(); !websocket.IsCloseError(err, 3401) {
			t.Errorf("a connection to %s ended with %v", client.Addr, err)
		}
	}
	for _, node := range nodes {
		harness.Until(ctx, t, "it is unknown", func() bool {
			status, _ := ask(node, http.MethodGet, "/api/chatting/is-online/?id=1")
			return status == http.StatusNotFound
		})
	}
	// A node that is not told takes whom it knew for known for a minute.
	took := time.Since(done)
	if t.Logf("unknown after %s", took.Round(time.Millisecond)); took > time.Minute/3 {
		t.Error("the other node was not told")
	}
	if err := other.Err(); err != nil {
		t.Errorf("its partner's connection ended with %v", err)
	}
}
