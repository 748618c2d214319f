package configs

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsLegalAtTheEdgeLoads(t *testing.T) {
	for _, environ := range []string{
		"CHATTING_HISTORY_ENABLED=false",
		"CHATTING_DATABASE_MAX_IDLE_CONNS=16",
		"CHATTING_PRESENCE_LEASE=3s", "CHATTING_PRESENCE_LEASE=1m",
		"CHATTING_WEBSOCKET_MAX_FRAME_BYTES=1KiB", "CHATTING_WEBSOCKET_MAX_FRAME_BYTES=1MiB",
		"CHATTING_DATABASE_MAX_OPEN_CONNS=10000", "CHATTING_DATABASE_MAX_IDLE_CONNS=0",
		"CHATTING_TOPIC_PREFIX=azAZ09._-", "CHATTING_TOPIC_PREFIX=" + strings.Repeat("x", 229),
		"CHATTING_HTTP_CORS_HEADERS=azAZ09-",
		"CHATTING_HTTP_ADDR=az.AZ_0-9:1",
		"CHATTING_DATABASE_URL=postgresql://chat@db/chat",
		"CHATTING_LIMIT_OUTBOUND_BYTES=0",
		"CHATTING_JWT_SECRET_FILE=", // as if left out
		"CHATTING_JWT_SECRET_FILE=" + write(t, "long", strings.Repeat("x", maxSecretFile)),
	} {
		if _, err := Load(Sources{Environ: []string{environ}}); err != nil {
			t.Errorf("%.60s: %v", environ, err)
		}
	}
	c := mustLoad(t, "", "CHATTING_JWT_AUDIENCE=games, chat", "CHATTING_LIMIT_OUTBOUND_BYTES=0")
	if want := []string{"games", "chat"}; !slices.Equal(c.JWT.Audiences, want) || c.Limit.OutboundBytes != 0 {
		t.Errorf("%v, %d", c.JWT.Audiences, c.Limit.OutboundBytes)
	}
	if secret := mustLoad(t, "", "CHATTING_JWT_SECRET="+longSecret, "CHATTING_JWT_SECRET_FILE=").JWT.Secret.Reveal(); secret != longSecret {
		t.Errorf("beside an empty name of a file the secret is %q", secret)
	}
}

func TestWhatIsBeyondTheEdgeIsRefused(t *testing.T) {
	for environ, want := range map[string]string{
		"CHATTING_PRESENCE_LEASE=2999999999ns":             "from 3s to 1m",
		"CHATTING_PRESENCE_LEASE=60000000001ns":            "from 3s to 1m",
		"CHATTING_WEBSOCKET_MAX_FRAME_BYTES=1023":          "from 1.0 KiB",
		"CHATTING_WEBSOCKET_MAX_FRAME_BYTES=1048577":       "to 1.0 MiB",
		"CHATTING_DATABASE_MAX_OPEN_CONNS=10001":           "from 1 to 10000",
		"CHATTING_TOPIC_PREFIX=a`":                         "character",
		"CHATTING_TOPIC_PREFIX=a{":                         "character",
		"CHATTING_TOPIC_PREFIX=a[":                         "character",
		"CHATTING_TOPIC_PREFIX=a:":                         "character",
		"CHATTING_HTTP_CORS_HEADERS=a{":                    "is no name of a header",
		"CHATTING_HTTP_CORS_HEADERS=a[":                    "is no name of a header",
		"CHATTING_HTTP_CORS_HEADERS=a/":                    "is no name of a header",
		"CHATTING_HTTP_CORS_HEADERS=a:":                    "is no name of a header",
		"CHATTING_HTTP_ADDR=a`:1":                          "no valid host",
		"CHATTING_HTTP_ADDR=a{:1":                          "no valid host",
		"CHATTING_HTTP_ADDR=a/:1":                          "no valid host",
		"CHATTING_HTTP_ADDR=a;:1":                          "no valid host",
		"CHATTING_LIMIT_OUTBOUND_BYTES=1":                  "from 32 MiB",
		"CHATTING_KAFKA_BROKERS=:9092":                     "needs a host and a port",
		"CHATTING_HTTP_TRUSTED_PROXIES=::ffff:0.0.0.0/104": "is neither an address nor a network",
		"CHATTING_USER_MANAGEMENT_URL=http://users/#top":   "without blanks and fragment",
		"CHATTING_USER_MANAGEMENT_URL=http://users/a b":    "without blanks and fragment",
		"CHATTING_DATABASE_URL=sqlite:/":                   "names no file",
		"CHATTING_DATABASE_URL=sqlite:a\x01b":              "names no file",
		"CHATTING_DATABASE_URL=sqlite:a@b":                 "names no file",
		"CHATTING_DATABASE_URL=postgres:/chat":             "is no PostgreSQL URL",
		"CHATTING_JWT_PUBLIC_KEY_FILE=a\x01b":              "is no file name",
		"CHATTING_JWT_PUBLIC_KEY_FILE=-----BEGIN KEY-----": "is no file name",
		"CHATTING_JWT_PUBLIC_KEY_FILE=http://keys":         "is no file name",
		"CHATTING_JWT_ISSUER=\xff":                         "is no UTF-8 text",
		"CHATTING_JWT_AUDIENCE=a,\xff":                     "is no UTF-8 text",
		"CHATTING_JWT_SECRET_FILES=x":                      "did you mean CHATTING_JWT_SECRET_FILE?",
		"CHATTING_CONFIG=chatting-that-is-missing.yaml":    "file chatting-that-is-missing.yaml cannot be read",
		"CHATTING_JWT_SECRET_FILE=/run/secrets-of/nobody":  "its file /run/secrets-of/nobody cannot be read",
		"CHATTING_JWT_SECRET_FILE=secret-without-a-folder": "its file *** cannot be read",
	} {
		if _, err := Load(Sources{Environ: []string{environ}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", environ, err, want)
		}
	}
	for yaml, want := range map[string]string{
		"&x http: {addr: x}\ndata_dir: *x":  "anchors, aliases",
		"http: !!null {adr: x}":             "unknown key",
		"http: {cors_origins: !!null [x/]}": "is no origin",
	} {
		if _, err := load(t, yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", yaml, err, want)
		}
	}
}

func TestBlanksAroundAValueDoNotCountUnlessItIsASecret(t *testing.T) {
	if got := mustLoad(t, "", "CHATTING_TOPIC_PREFIX= games ").TopicPrefix; got != "games" {
		t.Errorf("the prefix is %q", got)
	}
	if got := mustLoad(t, "", "CHATTING_JWT_SECRET= "+longSecret+" ").JWT.Secret.Reveal(); got != " "+longSecret+" " {
		t.Errorf("the secret is %q", got)
	}
}

func TestAnOptionIsDefaultWhileNoSourceSaysAnythingOfIt(t *testing.T) {
	c := mustLoad(t, "log: {level: info}", "CHATTING_HTTP_ADDR=127.0.0.1:8000")
	for key, want := range map[string]bool{"log.level": false, "http.addr": false, "log.format": true, "no.option": true} {
		if got := c.IsDefault(key); got != want {
			t.Errorf("%s is the default: %t", key, got)
		}
	}
}

func TestTextsThatAreNoURLAreNotShown(t *testing.T) {
	for text, want := range map[string]string{
		"s3cret":           mask, // what could be a scheme
		"p@ss word://host": mask,
		"sqlite:me:pw@db":  mask,
		"sqlite:///srv/x":  "sqlite:///srv/x",
		"postgres:///chat": "postgres:///***",
		"https://@host":    "https://***@host",
		" https://host/ ":  "https://host/",
		" https://u@host ": "https://***@host",
	} {
		if got := ShownURL(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestErrorsRepeatShortTextsOnly(t *testing.T) {
	short := strings.Repeat("x", maxQuoted)
	if got := quoted(short); got != `"`+short+`"` {
		t.Error(got)
	}
	if got := quoted(short + "x"); got != `"***"` {
		t.Error(got)
	}
	known := []string{"jwt.secret", "http.addr"}
	for key, want := range map[string]string{
		"jwt.secre": `"jwt.secre"`, "jwt.secre:": mask, "JWT.secret": mask, "hunter2hunter2": mask,
	} {
		if got := quotedKey(key, known); got != want {
			t.Errorf("%s is repeated as %s, want %s", key, got, want)
		}
	}
}

func TestTheNearestNameIsProposedIfItIsNear(t *testing.T) {
	known := []string{"alpha", "beta", "betas", "a.very.long.name.of.an.option"}
	for unknown, want := range map[string]string{
		"alpha": "alpha", "alhpa": "alpha", "alp": "alpha", "al": "",
		"bet": "beta", "betam": "beta", // the first of two that are as near
		"a.very.long.nome.if.en.opti": "a.very.long.name.of.an.option", "a.very.long.nome.if.en.optuum": "a.very.long.name.of.an.option",
		"a.very.ling.nome.if.en.ipteum": "", "": "", strings.Repeat("x", 200): "",
	} {
		proposed := ""
		if want != "" {
			proposed = ": did you mean " + want + "?"
		}
		if got := didYouMean(unknown, known); got != proposed {
			t.Errorf("%q: %q, want %q", unknown, got, proposed)
		}
	}
}

func TestTheDistanceOfTwoNamesIsThatOfLevenshtein(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "xabc", 1}, {"xabc", "abc", 1}, {"abc", "abcx", 1}, {"abcx", "abc", 1},
		{"kitten", "sitting", 3}, {"ab", "ba", 2}, {"xyz", "abc", 3}, {"xxab", "ab", 2}, {"ab", "xxab", 2},
	} {
		if got := distance(row.a, row.b); got != row.want {
			t.Errorf("%q and %q: %d, want %d", row.a, row.b, got, row.want)
		}
	}
}

func TestDurationsAreWrittenWithoutWhatIsZeroAtTheirEnd(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 5 * time.Minute: "5m", 90 * time.Second: "1m30s", 87600 * time.Hour: "87600h",
		time.Hour + time.Minute: "1h1m", time.Hour + time.Second: "1h0m1s", 10 * time.Minute: "10m",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestAHostIsOfLettersDigitsAndThreeSigns(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "az": true, "AZ": true, "09": true, "a-b.c_d": true, "::1": true, "192.0.2.1": true, strings.Repeat("x", 253): true,
		"a`": false, "a{": false, "a@": false, "a[": false, "a/": false, "a:": false, strings.Repeat("x", 254): false,
	} {
		if got := isHost(host); got != want {
			t.Errorf("%.20q is a host: %t", host, got)
		}
	}
}

func TestTwoListenersClashOnOneHostOrWhereOneHasAllInterfaces(t *testing.T) {
	for _, row := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true}, {"127.0.0.1:80", "127.0.0.2:80", false}, {"127.0.0.1:80", "127.0.0.1:81", false}, {"127.0.0.1:0", "127.0.0.1:0", false},
		{":80", "127.0.0.1:80", true}, {"0.0.0.0:80", "127.0.0.1:80", true}, {"[::]:80", "[::1]:80", true}, {"chat:80", "127.0.0.1:80", false},
	} {
		a, errA := parseAddress(row.a)
		b, errB := parseAddress(row.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.clashes(b) != row.want || b.clashes(a) != row.want {
			t.Errorf("%s and %s clash: %t, %t", row.a, row.b, a.clashes(b), b.clashes(a))
		}
	}
}

func TestASecretThatIsNotSetIsPrintedAsNothing(t *testing.T) {
	if none, one := (Secret{}).String(), newSecret("x").String(); none != "" || one != mask {
		t.Errorf("%q and %q", none, one)
	}
}

func TestTheLevelOfTheLogIsTheOneThatIsNamed(t *testing.T) {
	for name, want := range map[string]slog.Level{"debug": slog.LevelDebug, "INFO": slog.LevelInfo, "Warn": slog.LevelWarn, "error": slog.LevelError} {
		if got := mustLoad(t, "", "CHATTING_LOG_LEVEL="+name).Log.Level; got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAListenerIsReachedOnItsHostOrOnLoopback(t *testing.T) {
	for listens, want := range map[string]string{
		":80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "[::]:80": "127.0.0.1:80", "192.0.2.1:80": "192.0.2.1:80", "[::1]:80": "[::1]:80", "chat:80": "chat:80",
	} {
		a, err := parseAddress(listens)
		if err != nil || a.Reachable() != want {
			t.Errorf("%s is reached at %s, %v; want %s", listens, a.Reachable(), err, want)
		}
	}
}
