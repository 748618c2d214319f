package security

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"chatting/test/harness"
)

// The user and password of every SASL mechanism, as test/infra makes them.
const (
	saslUser     = "chatting"
	saslPassword = "test-only-password"
)

// overTLS are the options that every secured listener needs.
func overTLS(brokers string, more ...string) []string {
	return append([]string{
		"CHATTING_KAFKA_BROKERS=" + brokers, "CHATTING_KAFKA_TLS=true",
		"CHATTING_KAFKA_TLS_CA_FILE=" + filepath.Join(secured.dir, "ca.pem"),
	}, more...)
}

func withCertificate() []string {
	return []string{
		"CHATTING_KAFKA_TLS_CERT_FILE=" + filepath.Join(secured.dir, "client.pem"),
		"CHATTING_KAFKA_TLS_KEY_FILE=" + filepath.Join(secured.dir, "client.key"),
	}
}

func withSASL(mechanism, password string) []string {
	return []string{
		"CHATTING_KAFKA_SASL_MECHANISM=" + mechanism, "CHATTING_KAFKA_SASL_USERNAME=" + saslUser,
		"CHATTING_KAFKA_SASL_PASSWORD=" + password,
	}
}

func TestANodeServesWithTheDocumentedRightsHoweverItAuthenticates(t *testing.T) {
	needsKafka(t)
	passwordFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(passwordFile, []byte(saslPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, principal, brokers string
		topics                   string
		options                  []string
	}{
		{"certificate", "User:CN=chatting", secured.ssl, "create", append(withCertificate(), "CHATTING_KAFKA_TLS_SERVER_NAME=kafka.test")},
		{"PLAIN", "User:" + saslUser, secured.sasl, "create", withSASL("PLAIN", saslPassword)},
		{"SCRAM-SHA-256", "User:" + saslUser, secured.sasl, "create", withSASL("SCRAM-SHA-256", saslPassword)},
		{"SCRAM-SHA-512", "User:" + saslUser, secured.sasl, "create", []string{"CHATTING_KAFKA_SASL_MECHANISM=scram-sha-512",
			"CHATTING_KAFKA_SASL_USERNAME=" + saslUser, "CHATTING_KAFKA_SASL_PASSWORD_FILE=" + passwordFile}},
		{"topics of the operator", "User:" + saslUser, secured.sasl, "verify", withSASL("PLAIN", saslPassword)},
	} {
		t.Run(row.name, func(t *testing.T) {
			prefix := "s-" + strings.ToLower(strings.ReplaceAll(row.name, " ", "-"))
			grant(t, documentedRights(t, row.topics), row.principal, prefix)
			if row.topics == "verify" {
				makeTopics(t, prefix)
			}
			harness.PromiseEvents(t, secured.plain, prefix)
			n := startNode(t, append(overTLS(row.brokers, row.options...),
				"CHATTING_TOPIC_PREFIX="+prefix, "CHATTING_KAFKA_TOPICS="+row.topics)...)
			eventually(t, "readiness", func() bool { return n.ready() == 200 })
			one, two := n.login(1), n.login(2)
			one.send(map[string]any{"target_id": 2, "message": "hello over " + row.name})
			one.waitFor("hello over " + row.name)
			two.waitFor("hello over " + row.name)
			// What uses consumer groups.
			readPresence(t, prefix+".presence")
			harness.ProduceMessages(t.Context(), t, secured.plain, prefix+".system-messages",
				kafka.Message{Value: []byte(`{"target_id":1,"message":"from the platform"}`)}, kafka.Message{Value: []byte("poison")})
			one.waitFor("from the platform")

			if _, err := n.try("dlt", "list"); err == nil || !strings.Contains(err.Error(), "may not read the topic "+prefix+".system-messages.dlt") {
				t.Errorf("without its rights, dlt list says %v", err)
			}
			grant(t, documentedRights(t, "chatting dlt"), row.principal, prefix)
			eventually(t, "dead letter", func() bool { return strings.Contains(n.run("dlt", "list"), "chatting.invalid_json") })
			if replayed := n.run("dlt", "replay", "--code", "invalid_json"); !strings.Contains(replayed, "replayed 1") {
				t.Errorf("dlt replay says %s", replayed)
			}

			look := []string{"events", "tail", "--topic", "presence", "--end"}
			if complaint := n.refused(look...); !strings.Contains(complaint, "may not read the topic "+prefix+".presence") {
				t.Errorf("events tail says %s", complaint)
			}
			grant(t, documentedRights(t, "chatting events"), row.principal, prefix)
			eventually(t, "look at events", func() bool {
				command := exec.CommandContext(t.Context(), harness.Binary, look...)
				command.Env = n.env
				printed, err := command.Output() // the broker may not have heard of the right
				return err == nil && strings.Contains(string(printed), " presence_changed 1 online")
			})
		})
	}
}

// readPresence waits for a record of the public audit.
func readPresence(t *testing.T, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	found := make(chan error, 16) // as many as there are partitions
	for partition := range cap(found) {
		reader := kafka.NewReader(kafka.ReaderConfig{
			Brokers: []string{secured.plain}, Topic: topic, Partition: partition, MaxWait: 100 * time.Millisecond,
		})
		defer func() { _ = reader.Close() }()
		go func() {
			_, err := reader.ReadMessage(ctx)
			found <- err
		}()
	}
	if err := <-found; err != nil {
		t.Fatalf("no record in %s: %v", topic, err)
	}
}

func TestARefusedNodeStaysUnreadyAndSaysWhy(t *testing.T) {
	needsKafka(t)
	for _, row := range []struct {
		name    string
		options []string
		want    []string // in one line of the log
	}{
		{"unknown authority", overTLS(secured.sasl, append(withSASL("PLAIN", saslPassword),
			"CHATTING_KAFKA_TLS_CA_FILE="+filepath.Join(secured.dir, "other-ca.pem"))...), []string{"unknown authority", "kafka.tls_ca_file"}},
		{"system roots", []string{"CHATTING_KAFKA_BROKERS=" + secured.ssl, "CHATTING_KAFKA_TLS=true"},
			[]string{"unknown authority", "kafka.tls_ca_file"}},
		{"wrong name", overTLS(secured.ssl, append(withCertificate(), "CHATTING_KAFKA_TLS_SERVER_NAME=other.test")...),
			[]string{"not other.test", "kafka.tls_server_name"}},
		{"no certificate", overTLS(secured.ssl), []string{"refuses the TLS handshake", "kafka.tls_cert_file"}},
		{"wrong PLAIN password", overTLS(secured.sasl, withSASL("PLAIN", "wrong")...),
			[]string{"SASL Authentication", "kafka.sasl_password"}},
		{"wrong SCRAM password", overTLS(secured.sasl, withSASL("SCRAM-SHA-512", "wrong")...),
			[]string{"SASL Authentication", "kafka.sasl_password"}},
		{"no SASL there", overTLS(secured.ssl, append(withCertificate(), withSASL("PLAIN", saslPassword)...)...),
			[]string{"does not offer the mechanism"}},
		{"no TLS there", []string{"CHATTING_KAFKA_BROKERS=" + secured.plain, "CHATTING_KAFKA_TLS=true"}, []string{"hangs up"}},
		{"TLS there", []string{"CHATTING_KAFKA_BROKERS=" + secured.ssl}, []string{"hangs up"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			n := startNode(t, append(row.options, "CHATTING_TOPIC_PREFIX=refused")...)
			line := n.waitForLine(append(row.want, "waiting for Kafka")...)
			if strings.Contains(line, saslPassword) || strings.Contains(line, `"wrong"`) {
				t.Errorf("the password is in the log: %s", line)
			}
			if got := n.ready(); got != 503 {
				t.Errorf("/readyz: %d", got)
			}
		})
	}
}

func TestAPasswordInClearTextIsWarnedOf(t *testing.T) {
	needsKafka(t)
	n := startNode(t, append(withSASL("PLAIN", saslPassword), "CHATTING_KAFKA_BROKERS="+secured.plain)...)
	n.waitForLine(`"WARN"`, "clear text")
	if again := startNode(t, overTLS(secured.sasl, withSASL("PLAIN", "wrong")...)...); strings.Contains(again.waitForLine("SASL Auth"), "clear text") ||
		strings.Contains(strings.Join(again.lines(), "\n"), "clear text") {
		t.Error("warned of a password that only goes over TLS")
	}
}
