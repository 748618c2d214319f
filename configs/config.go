// Package configs holds the configuration of the server: the table of options, which stands beside the types that it fills,
// its loading from a YAML file, the environment and flags, and the checks. Defaults and documentation are in chatting.example.yaml.
// The package opens nothing but the files that are named, and knows no part of the server.
package configs

import (
	"slices"
	"strings"
)

// Config is a complete and valid configuration, as Load returns it. It is handed on by value and never changes; its
// slices are read only.
type Config struct {
	HTTP           HTTP
	Web            Web
	DataDir        string // directory of everything that is embedded; relative to the working directory
	EmbeddedKafka  EmbeddedKafka
	Kafka          Kafka
	TopicPrefix    string // before the dot of each topic's name; legal in Kafka topic names
	Database       Database
	JWT            JWT
	JWKS           JWKS
	UserManagement UserManagement
	S2S            S2S
	Chat           Chat
	Hook           Hook
	History        History
	Resume         Resume
	Invite         Invite
	Limit          Limit
	WebSocket      WebSocket
	Presence       Presence
	Metrics        Metrics
	Tracing        Tracing
	Shutdown       Shutdown
	Log            Log

	// settings are what the options were given, in the order of the table.
	settings []setting
}

// options returns the table, in the order in which the example file shows it. What is read is put into c.
func (c *Config) options() []Option {
	all := slices.Concat(
		c.HTTP.options(), c.Web.options(), c.ownOptions(), c.Kafka.options(), c.EmbeddedKafka.options(), c.Database.options(),
		c.JWT.options(), c.JWKS.options(), c.UserManagement.options(), c.S2S.options(),
		c.Chat.options(), c.Hook.options(), c.History.options(), c.Resume.options(), c.Invite.options(), c.Limit.options(),
		c.WebSocket.options(), c.Presence.options(), c.Metrics.options(), c.Tracing.options(), c.Shutdown.options(), c.Log.options(),
	)
	for i, o := range all {
		said := described()[o.Key]
		all[i].Default, all[i].Doc = said.Default, strings.TrimSuffix(said.Doc, " ("+o.Unit()+")")
	}
	return all
}

func (c *Config) ownOptions() []Option {
	return []Option{
		{Key: "data_dir", Flag: true, value: directory(&c.DataDir)},
		{Key: "topic_prefix", Flag: true, value: topicPrefix(&c.TopicPrefix)},
	}
}

// DropIn tells whether the user-management service decides on tokens and friends.
func (c Config) DropIn() bool { return c.UserManagement.URL.IsSet() }

// GeneratesSecret tells whether tokens are verified by the secret that the first start makes in the data directory:
// because nothing else that could verify them is configured.
func (c Config) GeneratesSecret() bool {
	return !c.DropIn() && !c.JWT.Secret.IsSet() && c.JWT.PublicKeyFile == "" && !c.JWKS.URL.IsSet()
}

// GeneratesS2SToken tells whether other servers authenticate by the token that the first start makes in the data directory.
func (c Config) GeneratesS2SToken() bool { return !c.S2S.Token.IsSet() && !c.S2S.TrustLoopback }

// IsTrial tells whether nothing is configured for real use: everything is embedded, nothing but this server makes tokens, and
// only this machine reaches it. A proxy in front lets others reach it.
func (c Config) IsTrial() bool {
	return c.Kafka.Embedded() && c.Database.Embedded && c.GeneratesSecret() && !c.S2S.Token.IsSet() &&
		c.HTTP.Addr.IsLoopback() && c.EmbeddedKafka.Addr.IsLoopback() && len(c.HTTP.TrustedProxies) == 0
}
