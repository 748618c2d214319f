package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"chatting/adapters/auth"
	"chatting/adapters/usermanagement"
	"chatting/configs"
	"chatting/domain"
)

const (
	// marker is in every secret of these tests.
	marker       = "Zq9Marker7xV"
	markedSecret = marker + "0123456789abcdefghijklmnop"
)

func hidesMarker(t *testing.T, what, shown string) {
	t.Helper()
	if strings.Contains(strings.ToLower(shown), strings.ToLower(marker)) {
		t.Errorf("%s shows the secret:\n%s", what, shown)
	}
}

// away is an address at which nobody answers.
const away = "127.0.0.1:1"

// markedURLs are URLs of a scheme that hold the marker in one part; AT stands for host and port.
func markedURLs(scheme, at string) []string {
	var all []string
	for _, shape := range []string{
		"://user:MARK@AT/c", "://MARK@AT/c", "://MARK:p@AT/c", "://AT/MARK", "://AT/c/MARK/", "://AT/c?MARK", "://AT/c?sig=MARK", "://AT/c?sslmode=MARK",
		"://AT/c?MARK=1", "://AT/c?sslmode=disable&MARK=1", "://AT/c?sslmode=disable&options=MARK", "://AT/c?sslmode=disable&user=MARK", "://u:p@AT/c?sslmode=disable&password=MARK",
		"://AT/c?sslmode=disable&connect_timeout=MARK", "://AT/c?sslmode=disable&sslrootcert=/MARK", "://AT/c?sslmode=verify-full&sslrootcert=/MARK", "://AT/c?sslmode=require&sslcert=/MARK&sslkey=/MARK",
		"://AT/c?target_session_attrs=MARK", "://AT/c?client_encoding=MARK", "://AT/c?service=MARK", "://AT/c?sslmode=%4DARK", "://AT/c?datestyle=MARK", "://AT/c?host=/MARK", "://AT/c?port=MARK",
		"://AT/c?sslmode=disable&min_protocol_version=MARK", "://AT/c?binary_parameters=MARK", "://AT/c?sslmode=disable&host=MARK,b&port=1,2,3", "://AT/c?krbsrvname=MARK", "://AT/c?sslinline=MARK",
		"://user:p@MARK/w0rd@AT/c", "://user:p@ss/MARK@AT/c", "://user:1/MARK@AT/c", "://user:MARK%zz@AT/c", "://user:MARK x@AT/c", "://AT/c#MARK", ":MARK", "://user:MARK",
		"://%4Darker:MARK@AT/c", "://user:%22MARK%22@AT/%22MARK%22", "://user:MARK%0a@AT/MARK%0a",
		"://AT/" + marker + strings.Repeat("x", 80) + "?sslmode=disable", "://AT/c?sslmode=disable&options=-c%20x.y%3DMARK", "://AT/c?sslmode=disable&search_path=MARK,b",
	} {
		all = append(all, scheme+strings.NewReplacer("MARK", marker, "AT", at).Replace(shape))
	}
	return all
}

// commandLines are what an operator runs with a configuration.
var commandLines = []string{
	"config", "migrate", "token --user 7", "connect --user 7", "health", "adopt", "history rebuild", "events tail --end", "dlt list", "dlt replay --all",
}

func TestNoCommandShowsASecretOfItsConfiguration(t *testing.T) {
	var environs []string
	for _, o := range configs.Options() {
		switch {
		case o.Unit() == "URL" && o.Secret:
			for _, u := range markedURLs("postgres", away) {
				environs = append(environs, o.Env()+"="+u)
			}
			environs = append(environs, o.Env()+"=host=h password="+marker, o.Env()+"=sqlite:/nowhere/x.db?_key="+marker)
		case o.Unit() == "URL":
			for _, u := range markedURLs("https", away)[:9] {
				environs = append(environs, o.Env()+"="+u)
			}
		case o.Secret:
			environs = append(environs, o.Env()+"="+markedSecret, o.Env()+"="+marker+"\x00", o.Env()+"_FILE="+markedSecret)
		default:
			environs = append(environs, o.Env()+"=https://user:"+marker+"@h/"+marker)
		}
	}
	sasl := []string{
		"CHATTING_KAFKA_BROKERS=" + away, "CHATTING_KAFKA_SASL_MECHANISM=SCRAM-SHA-512", "CHATTING_KAFKA_SASL_USERNAME=u",
		"CHATTING_KAFKA_SASL_PASSWORD=" + marker,
	}
	t.Chdir(t.TempDir())
	for _, line := range commandLines {
		for _, environ := range environs {
			if line != "config" && line != "migrate" && !strings.Contains(environ, "_URL") && !strings.Contains(environ, "_FILE") {
				continue // that it loads or does not is seen with config
			}
			o := command(t, []string{environ, "CHATTING_HTTP_ADDR=" + away, "CHATTING_EMBEDDED_KAFKA_ADDR=127.0.0.1:2", "CHATTING_LOG_LEVEL=debug"}, strings.Fields(line)...)
			if line == "token --user 7" && o.code == 0 {
				o.out = "" // that is what it is for
			}
			hidesMarker(t, environ+" "+line, o.out+o.err)
		}
		o := command(t, append(sasl, "CHATTING_HTTP_ADDR="+away, "CHATTING_DATABASE_URL=sqlite:x.db"), strings.Fields(line)...)
		hidesMarker(t, "SASL "+line, o.out+o.err)
	}
}

func TestNoArgumentThatMayBeASecretIsRepeated(t *testing.T) {
	for _, args := range [][]string{
		{marker}, {"serve", marker}, {"token", "--user", "7", marker}, {"-p" + marker}, {"--" + marker}, {"--" + marker + "=x"}, {"--jwt-secret=" + marker}, {"--jwt-secret:" + marker},
		{"--=" + marker}, {"dlt", marker}, {"events", "tail", marker}, {"connect", "--user", "7", "eyJ" + marker}, {"--jwks-url", "https://u:" + marker + "@h:x/"},
		{"--jwks-url=ftp://u:" + marker + "@h/"}, {"--kafka-brokers", "u:" + marker + "@h:1"}, {"--http-addr", "https://u:" + marker + "@h"}, {"--config", "x: y\njwt: " + marker},
		{"--config", "https://u:" + marker + "@h"}, {"connect", "--token", marker, "--url", "ws://u:" + marker + "@" + away + "/" + marker + "?x=" + marker},
		{"connect", "--token", marker, "--url", "ws://u:p@" + marker + "/x@" + away}, {"connect", "--token", marker, "--url", "http://u:" + marker + "@h/"},
		{"health", "--url", "http://u:" + marker + "@" + away + "/" + marker + "?" + marker}, {"health", "--url", "ftp://u:" + marker + "@h"}, {"health", "--url", "http://h/%zz" + marker},
	} {
		o := command(t, nil, args...)
		hidesMarker(t, fmt.Sprint(args), o.out+o.err)
		if o.code == 0 || o.code == 2 {
			t.Errorf("%v: %+v", args, o)
		}
	}
}

// syncBuffer is a log that goroutines write.
type syncBuffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// hostileAnswers are what a service sends that repeats what it was sent. It gets the head of the request.
var hostileAnswers = map[string]func(head string) string{
	"the request": func(head string) string { return head },
	"a status":    func(head string) string { return "HTTP/1.1 " + line(head) + "\r\n\r\n" },
	"a header":    func(head string) string { return "HTTP/1.1 200 OK\r\n" + line(head) + "\r\n\r\n" },
	"a length":    func(head string) string { return "HTTP/1.1 200 OK\r\nContent-Length: " + line(head) + "\r\n\r\n" },
	"an encoding": func(head string) string { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + line(head) + "\r\n\r\n" },
	"a chunk": func(head string) string {
		return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + line(head) + "\r\n"
	},
	"a redirect": func(head string) string {
		return "HTTP/1.1 302 Found\r\nLocation: " + line(head) + "\x7f\r\nContent-Length: 0\r\n\r\n"
	},
	"a bad redirect": func(head string) string {
		return "HTTP/1.1 302 Found\r\nLocation: http://%zz" + marker + "\r\nContent-Length: 0\r\n\r\n"
	},
	"a body": func(head string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(line(head)), line(head))
	},
	"a 500":  func(head string) string { return "HTTP/1.1 500 " + line(head) + "\r\nContent-Length: 0\r\n\r\n" },
	"no end": func(head string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + line(head) },
}

// line joins the lines of a head.
func line(head string) string { return strings.Join(strings.Fields(head), " ") }

func hostileService(t *testing.T, answer func(head string) string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				head := make([]byte, 4096)
				n, _ := conn.Read(head)
				_, _ = io.WriteString(conn, answer(string(head[:n])))
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); serving.Wait() })
	return listener.Addr().String()
}

func TestNoServiceHasASecretOfItsURLOrATokenLogged(t *testing.T) {
	for name, answer := range hostileAnswers {
		t.Run(name, func(t *testing.T) {
			address := hostileService(t, answer)
			var log syncBuffer
			logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			keys, err := auth.New(auth.Options{
				JWKSURL: "http://" + marker + ":" + marker + "@" + address + "/" + marker + "?sig=" + marker, Refresh: time.Hour, MaxAge: 2 * time.Hour, Logger: logger,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = keys.Verify(t.Context(), "eyJhbGciOiJSUzI1NiJ9.e30."+marker)
			hidesMarker(t, "Verify", fmt.Sprint(err, keys.Ready(t.Context())))
			keys.Close()
			users, err := usermanagement.New(usermanagement.Options{URL: "http://" + address + "/" + marker, Timeout: time.Second, Concurrency: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, err = users.Verify(t.Context(), marker)
			hidesMarker(t, "Verify by the service", fmt.Sprint(err))
			_, err = users.Recheck(t.Context(), marker)
			hidesMarker(t, "Recheck", fmt.Sprint(err))
			_, err = users.Friends(t.Context(), domain.UserID(7))
			hidesMarker(t, "Friends", fmt.Sprint(err))
			users.Close()
			o := command(t, nil, "health", "--url", "http://u:"+marker+"@"+address+"/"+marker)
			if name != "a 500" && name != "a status" { // what a server says of its health is shown
				hidesMarker(t, "health", o.out+o.err)
			}
			hidesMarker(t, "the log", log.String())
		})
	}
}

// TestPostgreSQLRepeatsNothingOfTheURL: the server quotes users, databases and parameters that it does not know.
func TestPostgreSQLRepeatsNothingOfTheURL(t *testing.T) {
	address := os.Getenv("CHATTING_TEST_POSTGRES")
	if address == "" {
		t.Skip("no PostgreSQL: set CHATTING_TEST_POSTGRES")
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for _, marked := range append(markedURLs("postgres", u.Host), markedURLs("postgres", u.User.Username()+"@"+u.Host)...) {
		o := command(t, []string{"CHATTING_DATABASE_URL=" + marked}, "migrate")
		if o.code == 0 || o.code == 2 { // a parameter that is taken
			t.Logf("%s: %+v", marked, o)
		}
		hidesMarker(t, marked, o.out+o.err)
	}
}

// TestTheDriversOwnVariablesAreNotRepeated: the driver takes what the URL does not say from the environment.
func TestTheDriversOwnVariablesAreNotRepeated(t *testing.T) {
	for _, name := range []string{
		"PGPORT", "PGHOSTADDR", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS",
		"PGCLIENTENCODING", "PGDATESTYLE", "PGOPTIONS", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGLOADBALANCEHOSTS", "PGMINPROTOCOLVERSION", "PGSSLCERT",
	} {
		t.Run(name, func(t *testing.T) {
			for _, value := range []string{marker, "/" + marker, "a b=" + marker} {
				t.Setenv(name, value)
				o := command(t, []string{"CHATTING_DATABASE_URL=postgres://" + away + "/c"}, "migrate")
				if o.code == 0 || o.code == 2 {
					t.Errorf("%+v", o)
				}
				hidesMarker(t, name, o.out+o.err)
			}
		})
	}
}
