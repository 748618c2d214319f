package configs

import (
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
)

func TestMaskedShowsEveryOptionAndWhereItComesFrom(t *testing.T) {
	file := write(t, "c.yaml", "log:\n  level: debug\n")
	secretFile := write(t, "s", longSecret)
	c, err := Load(Sources{
		File: file,
		Environ: []string{"CHATTING_S2S_TOKEN=" + longToken, "CHATTING_JWT_SECRET_FILE=" + secretFile,
			"CHATTING_DATABASE_URL=postgres://chat:hunter2@db:5432/chat?password=x&sslmode=disable"},
		Flags: map[string]string{"http.addr": ":81"},
	})
	if err != nil {
		t.Fatal(err)
	}
	masked := c.Masked()
	if !strings.HasPrefix(masked, "# The effective configuration.") {
		t.Errorf("it begins with %.40q", masked)
	}
	for _, line := range []string{
		"  level: debug # file " + file + " line 2\n",
		"  token: '***' # environment CHATTING_S2S_TOKEN\n",
		"  secret: '***' # file " + secretFile + ", named by environment CHATTING_JWT_SECRET_FILE\n",
		"  url: postgres://***@db:5432/*** # environment CHATTING_DATABASE_URL\n",
		"  addr: :81 # flag --http-addr\n",
		"topic_prefix: chatting\n",
	} {
		if !strings.Contains(masked, "\n"+line) {
			t.Errorf("%q is not in:\n%s", line, masked)
		}
	}
	var values map[string]any
	if err := yamlv3.Unmarshal([]byte(masked), &values); err != nil {
		t.Fatal(err)
	}
	for _, o := range Options() {
		section, name, nested := strings.Cut(o.Key, ".")
		value, there := values[section]
		if nested && there {
			value, there = value.(map[string]any)[name]
		}
		if !there || value == nil {
			t.Errorf("%s is missing", o.Key)
		}
	}
}

func TestThePrintedConfigurationLoadsAgainToTheSame(t *testing.T) {
	c := mustLoad(t, "", "CHATTING_KAFKA_BROKERS=a:1,b:2", "CHATTING_HTTP_ADDR=[::1]:80", "CHATTING_DATA_DIR=true",
		"CHATTING_HTTP_CORS_ORIGINS=*", "CHATTING_USER_MANAGEMENT_URL=http://users")
	again := mustLoad(t, c.Masked())
	c.settings, again.settings, c.Database.Embedded = nil, nil, false
	if a, b := show(c), show(again); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestOnlyTheHostOfAURLIsShown(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:p@h/d":             "postgres://***@h/***",
		"postgres://u@h1:1,h2:2":         "postgres://***@h1:1,h2:2",
		"postgres://h?user=a":            "postgres://h/***",
		"https://h#f":                    "https://h/***",
		"https://h/":                     "https://h/",
		"https://[::1]:80/x":             "https://[::1]:80/***",
		"https://*.example.com":          "https://*.example.com",
		"http://h\\x@y":                  "http://***",
		"postgres://chat:p@ss/w0rd@db/c": "postgres://***",
		"postgres://chat:p@ss@db/c":      "postgres://***",
		"postgres://chat:12/34@db/c":     "postgres://***",
		"postgres://u:p@h:port/d":        "postgres://***",
		"postgres://user:password":       "postgres://***",
		"host=h password=p":              "***",
		"sqlite:data/chatting.db":        "sqlite:data/chatting.db",
		"sqlite:/a b/100%/?x.db":         "sqlite:/a b/100%/?x.db",
		"sqlite://u:p@h/x":               "sqlite://***@h/***",
		"":                               "",
	} {
		if got := ShownURL(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestMaskedShowsWhatOptionsThatHangOnOthersComeTo(t *testing.T) {
	shown := mustLoad(t, "", "CHATTING_LIMIT_FRAMES_PER_SECOND=150").Masked()
	for _, line := range []string{"  trust_loopback: true\n", "  user_frames_per_second: 300\n", "  html_escape: false\n"} {
		if !strings.Contains(shown, line) {
			t.Errorf("%q is not in\n%s", line, shown)
		}
	}
}
