package harness

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Transactional is a transactional producer in a process of its own, on a client library that shares nothing with the server.
type Transactional struct {
	t       *testing.T
	in      io.Writer
	answers *bufio.Scanner
}

// TransactionalProducers returns how to start those that are possible here, for brokers and under a transactional id:
// librdkafka's where kcat, which brings the library, and a C compiler are installed, and the Java client's where
// CHATTING_TEST_INFRA_DIR has its jars. The programs are in the folder sources. A producer ends with the test, and leaves
// open what it has not ended. Without any the test is skipped.
func TransactionalProducers(t *testing.T, sources string) map[string]func(t *testing.T, brokers, id string) *Transactional {
	t.Helper()
	producers := make(map[string]func(t *testing.T, brokers, id string) *Transactional)
	_, noKcat := exec.LookPath("kcat")
	if compiler, err := exec.LookPath("cc"); err != nil || noKcat != nil {
		t.Log("there is no C compiler, or no kcat with librdkafka")
	} else {
		program := filepath.Join(t.TempDir(), "transactions")
		compile := exec.Command(compiler, "-o", program, filepath.Join(sources, "transactions.c"), "-l:librdkafka.so.1")
		if out, err := compile.CombinedOutput(); err != nil {
			t.Fatalf("compiling a producer on librdkafka: %v\n%s", err, out)
		}
		producers["librdkafka"] = func(t *testing.T, brokers, id string) *Transactional {
			t.Helper()
			return startTransactional(t, program, brokers, id)
		}
	}
	if jars, found := kafkaJars(); !found {
		t.Log(noKafkaJars)
	} else {
		producers["Java client"] = func(t *testing.T, brokers, id string) *Transactional {
			t.Helper()
			source := filepath.Join(sources, "Transactions.java")
			return startTransactional(t, "java", "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars, source, brokers, id)
		}
	}
	if len(producers) == 0 {
		t.Skip("there is no transactional producer")
	}
	return producers
}

func startTransactional(t *testing.T, name string, arguments ...string) *Transactional {
	t.Helper()
	process := exec.Command(name, arguments...)
	DiesWithTests(process)
	in, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	process.Stderr = t.Output()
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	p := &Transactional{t: t, in: in, answers: bufio.NewScanner(out)}
	p.await("to start")
	return p
}

func (p *Transactional) await(what string) {
	p.t.Helper()
	if !p.answers.Scan() {
		p.t.Fatalf("a transactional producer was told %s and ended: %v", what, p.answers.Err())
	}
	if answer := p.answers.Text(); answer != "ok" {
		p.t.Fatalf("a transactional producer was told %s and said %s", what, answer)
	}
}

func (p *Transactional) do(words ...string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, strings.Join(words, "\t")); err != nil {
		p.t.Fatal(err)
	}
	p.await(words[0])
}

// Begin begins a transaction.
func (p *Transactional) Begin() { p.t.Helper(); p.do("begin") }

// Send writes a record within the transaction. Key and value have no tabs and no line breaks.
func (p *Transactional) Send(topic string, partition int32, key, value string) {
	p.t.Helper()
	p.do("send", topic, fmt.Sprint(partition), key, value)
}

// Flush waits until the log has all that was sent.
func (p *Transactional) Flush() { p.t.Helper(); p.do("flush") }

// Commit ends the transaction: its records count.
func (p *Transactional) Commit() { p.t.Helper(); p.do("commit") }

// Abort ends the transaction: its records do not count.
func (p *Transactional) Abort() { p.t.Helper(); p.do("abort") }
