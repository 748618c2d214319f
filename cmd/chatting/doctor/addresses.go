package doctor

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"chatting/cmd/chatting/installation"
	"chatting/configs"
)

// configuration says where it comes from, and which combinations are not what somebody is likely to want.
func (p *patient) configuration(context.Context) {
	cfg := p.Config
	trial := cfg.IsTrial()
	switch {
	case trial:
		p.ok("a trial server: everything is embedded, and only this machine reaches it")
	case cfg.Kafka.Embedded() || cfg.Database.Embedded:
		p.ok("a single node: %s embedded", embeddedParts(cfg))
	default:
		p.ok("a node of a cluster, on Kafka and PostgreSQL")
	}
	if !cfg.Kafka.Embedded() && cfg.GeneratesSecret() {
		p.warn("set jwt.secret_file, jwt.public_key_file or jwks.url to the same for all nodes",
			"each node makes its own token secret, so a token is good on one node only")
	}
	if !cfg.Kafka.Embedded() && cfg.GeneratesS2SToken() {
		p.warn("set s2s.token_file (CHATTING_S2S_TOKEN_FILE) to the same for all nodes",
			"each node makes its own token for the platform's servers")
	}
	if !cfg.Kafka.Embedded() && cfg.Database.Embedded {
		p.warn("set database.url to a PostgreSQL database if there is to be more than one node",
			"the brokers are shared, but the database is a file of this node")
	}
	if cfg.Kafka.SASL.Mechanism == configs.SASLPlain && !cfg.Kafka.TLS.On {
		p.warn("set kafka.tls, or use SCRAM-SHA-512", "the password for Kafka crosses the network in clear text")
	}
	if url := cfg.JWKS.URL.Reveal(); cfg.JWKS.URL.IsSet() && strings.HasPrefix(url, "http://") && !onThisMachine(url) {
		p.warn("use https:// in jwks.url", "the key set crosses the network in clear text: who changes it there can log in as anybody")
	}
}

func embeddedParts(cfg configs.Config) string {
	switch {
	case !cfg.Database.Embedded:
		return "its broker is"
	case !cfg.Kafka.Embedded():
		return "its database is"
	}
	return "its broker and its database are"
}

func onThisMachine(url string) bool {
	_, rest, _ := strings.Cut(url, "://")
	return strings.HasPrefix(rest, "localhost") || strings.HasPrefix(rest, "127.") || strings.HasPrefix(rest, "[::1]")
}

// addresses looks whether the server can listen. It listens for a moment, and accepts nobody.
func (p *patient) addresses(ctx context.Context) {
	cfg := p.Config
	p.address(ctx, "http.addr", cfg.HTTP.Addr, func() bool {
		p.serving = answersHealth(ctx, cfg.HTTP.Addr.Reachable())
		return p.serving
	})
	if cfg.Kafka.Embedded() {
		p.address(ctx, "embedded_kafka.addr", cfg.EmbeddedKafka.Addr, func() bool { return p.serving })
	}
}

// address looks at one address. ours tells whether a server of this configuration listens there.
func (p *patient) address(ctx context.Context, key string, address configs.Address, ours func() bool) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address.String())
	switch {
	case err == nil:
		if err := listener.Close(); err == nil {
			p.ok("%s: %s is free", key, address)
		}
	case errors.Is(err, syscall.EADDRINUSE) && ours():
		p.ok("%s: a server answers at %s", key, address)
	case errors.Is(err, syscall.EADDRINUSE):
		p.fail("end the other process, or set "+key+" to another port", "%s: %s is in use by another process", key, address)
	case errors.Is(err, syscall.EACCES):
		p.fail("set "+key+" to a port from 1024 on, or grant CAP_NET_BIND_SERVICE", "%s: this user may not listen on %s", key, address)
	default:
		p.fail("set "+key+" to an address of this machine", "%s: cannot listen on %s: %v", key, address, installation.PlainCause(err))
	}
}

// answersHealth tells whether a server answers at host:port.
func answersHealth(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/healthz", nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return err == nil && response.StatusCode == http.StatusOK && strings.Contains(string(body), `"status"`)
}
