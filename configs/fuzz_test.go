package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
)

// FuzzLoadFile loads arbitrary bytes as the configuration file. What loads must print as YAML again.
func FuzzLoadFile(f *testing.F) {
	seed, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(seed), "", "---\n", "a: &a [*a]", "http: {addr: \":1\"}", "http: {<<: *x}", "jwt: {secret_file: /}", "? {}\n: {}",
		"data_dir: |\n  x\n  y\n", "log:\n  level: !!str debug\n", "kafka: {brokers: [a:1, ~]}", "data_dir: \"\\x00\""} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		checkLoaded(t, Sources{File: path})
	})
}

// FuzzLoadEnvironment loads an arbitrary variable.
func FuzzLoadEnvironment(f *testing.F) {
	for _, o := range Options() {
		f.Add(o.Env(), o.Default)
	}
	f.Add("CHATTING_DATABASE_URL", "postgres://u:p@h/d?password=x")
	f.Add("CHATTING_KAFKA_BROKERS", "[::1]:1,a:2")
	f.Add("CHATTING_HTTP_CORS_ORIGINS", "https://a:1,*")
	f.Add("CHATTING_JWT_SECRET", "\xff\x00 0123456789abcdef0123456789abcdef")
	f.Fuzz(func(t *testing.T, name, value string) {
		if strings.HasSuffix(strings.Split(name, "=")[0], "_FILE") || strings.HasPrefix(name, configEnv) {
			return // would open what the fuzzer names
		}
		checkLoaded(t, Sources{Environ: []string{name + "=" + value}})
	})
}

func checkLoaded(t *testing.T, sources Sources) {
	c, err := Load(sources)
	if err != nil {
		if err.Error() == "" {
			t.Error("an error without text")
		}
		return
	}
	var values map[string]any
	if err := yamlv3.Unmarshal([]byte(c.Masked()), &values); err != nil {
		t.Errorf("%v in:\n%s", err, c.Masked())
	}
	if secret := c.S2S.Token.Reveal(); len(secret) > 3 && strings.Contains(c.Masked(), secret) {
		t.Error("the secret is shown")
	}
	if c.HTTP.Addr.String() == "" || !c.Database.URL.IsSet() || c.DataDir == "" || c.Kafka.Partitions < 1 {
		t.Errorf("%+v is not valid", c)
	}
}
