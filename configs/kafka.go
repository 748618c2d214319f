package configs

import (
	"fmt"
	"time"
)

// The broker inside the process syncs a file for each partition that was written to, so few are fast. A cluster shares
// its partitions out among brokers and nodes.
const (
	defaultPartitions  = 16
	embeddedPartitions = 4
)

// Kafka is the log that every event goes through.
type Kafka struct {
	Brokers    []string // host:port; empty: the embedded broker
	Partitions int      // of each topic that the server creates
	// PartitionsGiven tells that the number was configured, not a default.
	PartitionsGiven bool
	AppendDeadline  time.Duration
	Topics          TopicsMode
	TLS             KafkaTLS
	SASL            KafkaSASL
}

// TopicsMode says who makes the topics.
type TopicsMode string

// The ways to come to topics.
const (
	TopicsCreate TopicsMode = "create" // the server creates those that are missing
	TopicsVerify TopicsMode = "verify" // the operator made them, and the server refuses to start on wrong ones
)

// KafkaTLS is the encryption of connections to the brokers. Its files are named, not read.
type KafkaTLS struct {
	On         bool
	CAFile     string // PEM; empty: the system's roots
	CertFile   string // PEM, the client's certificate chain; empty, as KeyFile then is: none
	KeyFile    string // PEM
	ServerName string // that the brokers' certificates must be for; empty: the host of each broker's address
}

// KafkaSASL is how the server proves to the brokers who it is.
type KafkaSASL struct {
	Mechanism SASLMechanism
	Username  string // as Password, set where there is a mechanism and only there
	Password  Secret
}

// SASLMechanism is the name of a mechanism as brokers spell it; SASLNone for none.
type SASLMechanism string

// The mechanisms.
const (
	SASLNone        SASLMechanism = ""
	SASLPlain       SASLMechanism = "PLAIN"
	SASLScramSHA256 SASLMechanism = "SCRAM-SHA-256"
	SASLScramSHA512 SASLMechanism = "SCRAM-SHA-512"
)

// Embedded tells whether the broker inside the process is the log.
func (k Kafka) Embedded() bool { return len(k.Brokers) == 0 }

func (k *Kafka) options() []Option {
	return []Option{
		{Key: "kafka.brokers", Flag: true, value: list("list of host:port", &k.Brokers, parseBroker)},
		{Key: "kafka.partitions", value: optional(integer(&k.Partitions, 1, 1024))},
		{Key: "kafka.append_deadline", value: duration(&k.AppendDeadline, 100*time.Millisecond, time.Minute)},
		{Key: "kafka.topics", value: oneOf(&k.Topics, TopicsCreate, TopicsVerify)},
		{Key: "kafka.tls", value: boolean(&k.TLS.On)},
		{Key: "kafka.tls_ca_file", value: filePath(&k.TLS.CAFile)},
		{Key: "kafka.tls_cert_file", value: filePath(&k.TLS.CertFile)},
		{Key: "kafka.tls_key_file", value: filePath(&k.TLS.KeyFile)},
		{Key: "kafka.tls_server_name", value: host(&k.TLS.ServerName)},
		{Key: "kafka.sasl_mechanism", value: optional(oneOf(&k.SASL.Mechanism, SASLPlain, SASLScramSHA256, SASLScramSHA512))},
		{Key: "kafka.sasl_username", value: plainText(&k.SASL.Username)},
		{Key: "kafka.sasl_password", Secret: true, value: secret(&k.SASL.Password, 0, checkPlain)},
	}
}

// checkKafka refuses options of the connection to the brokers that lack each other or would go unheard.
func (c Config) checkKafka() error {
	k := c.Kafka
	cluster, mechanism := !k.Embedded(), k.SASL.Mechanism != SASLNone
	user, password := k.SASL.Username != "", k.SASL.Password.IsSet()
	cert, key := k.TLS.CertFile != "", k.TLS.KeyFile != ""
	for _, needs := range []struct {
		key   string
		isSet bool
		other string
		there bool
	}{
		{"kafka.tls_ca_file", k.TLS.CAFile != "", "kafka.tls", k.TLS.On},
		{"kafka.tls_cert_file", cert, "kafka.tls", k.TLS.On},
		{"kafka.tls_key_file", key, "kafka.tls", k.TLS.On},
		{"kafka.tls_server_name", k.TLS.ServerName != "", "kafka.tls", k.TLS.On},
		{"kafka.tls_cert_file", cert, "kafka.tls_key_file", key},
		{"kafka.tls_key_file", key, "kafka.tls_cert_file", cert},
		{"kafka.sasl_username", user, "kafka.sasl_mechanism", mechanism},
		{"kafka.sasl_password", password, "kafka.sasl_mechanism", mechanism},
		{"kafka.sasl_mechanism", mechanism, "kafka.sasl_username", user},
		{"kafka.sasl_mechanism", mechanism, "kafka.sasl_password", password},
		{"kafka.tls", k.TLS.On, "kafka.brokers", cluster},
		{"kafka.sasl_mechanism", mechanism, "kafka.brokers", cluster},
		{"kafka.topics", k.Topics == TopicsVerify, "kafka.brokers", cluster},
	} {
		if needs.isSet && !needs.there {
			return fmt.Errorf("%s needs %s, which is not set", c.named(needs.key), needs.other)
		}
	}
	return nil
}

// EmbeddedKafka is the broker inside the process. It runs when Kafka.Brokers is empty.
type EmbeddedKafka struct {
	Addr        Address
	AllowRemote bool
	ClientBytes int
}

func (e *EmbeddedKafka) options() []Option {
	return []Option{
		{Key: "embedded_kafka.addr", Flag: true, value: address(&e.Addr)},
		{Key: "embedded_kafka.allow_remote", value: boolean(&e.AllowRemote)},
		{Key: "embedded_kafka.client_bytes", value: size(&e.ClientBytes, 32*mib, 1024*mib)},
	}
}
