package configs

import (
	"fmt"
	"strings"
)

// check refuses combinations that cannot work.
func (c Config) check() error {
	if c.DropIn() {
		for _, s := range c.settings {
			switch s.option.Key {
			case "jwt.secret", "jwt.public_key_file", "jwt.issuer", "jwt.audience", "jwt.user_claim", "jwks.url":
				if s.text.IsSet() {
					return fmt.Errorf("%s cannot be set beside %s: in drop-in mode that service alone decides on tokens",
						s.name(), c.named("user_management.url"))
				}
			}
		}
	}
	if c.Kafka.Embedded() && c.HTTP.Addr.clashes(c.EmbeddedKafka.Addr) {
		return fmt.Errorf("%s and %s are the same address", c.named("http.addr"), c.named("embedded_kafka.addr"))
	}
	if c.Chat.Offline == OfflineStore && !c.History.Enabled {
		return fmt.Errorf("%s is store, which needs %s", c.named("chat.offline"), c.named("history.enabled"))
	}
	if c.Database.MaxIdleConns > c.Database.MaxOpenConns {
		return fmt.Errorf("%s is more than %s", c.named("database.max_idle_conns"), c.named("database.max_open_conns"))
	}
	if c.JWKS.MaxAge <= c.JWKS.Refresh {
		return fmt.Errorf("%s is not more than %s", c.named("jwks.max_age"), c.named("jwks.refresh"))
	}
	if c.Shutdown.CloseOver > 0 && c.Shutdown.CloseOver >= c.Shutdown.Deadline {
		return fmt.Errorf("%s is not less than %s", c.named("shutdown.close_over"), c.named("shutdown.deadline"))
	}
	return c.checkKafka()
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

// IsDefault tells whether no source says anything of an option, by its key.
func (c Config) IsDefault(key string) bool {
	for _, s := range c.settings {
		if s.option.Key == key {
			return s.source == ""
		}
	}
	return true
}

// given tells whether an option, by its key, has a value of its own.
func (c Config) given(key string) bool {
	for _, s := range c.settings {
		if s.option.Key == key {
			return strings.TrimSpace(s.text.Reveal()) != ""
		}
	}
	return false
}

// named tells an option, by its key, and its source.
func (c Config) named(key string) string {
	for _, s := range c.settings {
		if s.option.Key == key {
			return s.name()
		}
	}
	return key
}
