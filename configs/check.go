package configs

import "fmt"

// check refuses combinations that cannot work.
func (c Config) check() error {
	if c.DropIn() {
		for _, key := range []string{"jwt.secret", "jwt.public_key_file", "jwt.issuer", "jwt.audience", "jwt.user_claim", "jwks.url"} {
			if s := c.setting(key); s.text.IsSet() {
				return fmt.Errorf("%s cannot be set beside %s: in drop-in mode that service alone decides on tokens",
					s.name(), c.named("user_management.url"))
			}
		}
	}
	if c.Kafka.Embedded() && c.HTTP.Addr.clashes(c.EmbeddedKafka.Addr) {
		return fmt.Errorf("%s and %s are the same address", c.named("http.addr"), c.named("embedded_kafka.addr"))
	}
	if c.Metrics.Enabled && c.Metrics.Addr.clashes(c.HTTP.Addr) {
		return fmt.Errorf("%s and %s are the same address", c.named("metrics.addr"), c.named("http.addr"))
	}
	if c.Metrics.Enabled && c.Kafka.Embedded() && c.Metrics.Addr.clashes(c.EmbeddedKafka.Addr) {
		return fmt.Errorf("%s and %s are the same address", c.named("metrics.addr"), c.named("embedded_kafka.addr"))
	}
	if c.Metrics.Pprof && !c.Metrics.Enabled {
		return fmt.Errorf("%s needs %s", c.named("metrics.pprof"), c.named("metrics.addr"))
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
	if err := c.checkHook(); err != nil {
		return err
	}
	if err := c.checkTracing(); err != nil {
		return err
	}
	return c.checkKafka()
}

// IsDefault tells whether no source says anything of an option, by its key.
func (c Config) IsDefault(key string) bool { return c.setting(key).source == "" }

// named tells an option, by its key, and its source.
func (c Config) named(key string) string { return c.setting(key).name() }

func (c Config) setting(key string) setting {
	for _, s := range c.settings {
		if s.option.Key == key {
			return s
		}
	}
	return setting{option: Option{Key: key}}
}
