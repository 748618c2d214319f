package site

import (
	"bufio"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"chatting/test/storm/plan"
)

// answering is a server that says back what it is told, line by line.
func answering(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// dial connects through a link. A connection that hangs ends after a minute.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func mustAnswer(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("the answer is %q, %v", line, err)
	}
}

func TestALinkIsWellAfterEveryFault(t *testing.T) {
	upstream := answering(t)
	address := FreeAddress()
	l, err := openLink(newProxies(), "test", []string{address}, []string{upstream})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	for _, f := range []plan.Fault{
		{Kind: plan.Latency, Amount: 20}, {Kind: plan.Slow, Amount: 10}, {Kind: plan.Reset}, {Kind: plan.Silent}, {Kind: plan.Refused},
	} {
		t.Run(string(f.Kind), func(t *testing.T) {
			before := dial(t, address)
			mustAnswer(t, before)
			if err := l.disturb(f); err != nil {
				t.Fatal(err)
			}
			if err := l.heal(t.Context(), f.Kind); err != nil {
				t.Fatal(err)
			}
			if f.Kind == plan.Latency || f.Kind == plan.Slow {
				mustAnswer(t, before)
			} else if n, err := before.Read(make([]byte, 1)); err == nil {
				t.Errorf("a connection from before goes on, with %d bytes", n)
			}
			mustAnswer(t, dial(t, address))
		})
	}
}

// Nothing passes, and the sockets stay open, until the link heals: then the end is told.
func TestASilentLinkLosesWhatIsSent(t *testing.T) {
	address := FreeAddress()
	l, err := openLink(newProxies(), "test", []string{address}, []string{answering(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	conn := dial(t, address)
	mustAnswer(t, conn)
	silent := plan.Fault{Kind: plan.Silent}
	if err := l.disturb(silent); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "lost\n"); err != nil {
		t.Fatal(err)
	}
	if err := l.heal(t.Context(), silent.Kind); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if len(said) > 0 || errors.Is(err, net.ErrClosed) {
		t.Errorf("%q came, %v", said, err)
	}
}

func TestALinkHasNoFaultsOfProcesses(t *testing.T) {
	l, err := openLink(newProxies(), "test", []string{FreeAddress()}, []string{answering(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	if l.disturb(plan.Fault{Kind: plan.Kill}) == nil {
		t.Error("a link was killed")
	}
}
