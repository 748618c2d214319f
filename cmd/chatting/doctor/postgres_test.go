package doctor

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver

	"chatting/adapters/sqlstore"
	"chatting/adapters/sqlstore/database"
)

// postgresDatabase is a database of a test's own, with the schema of this program, and a role that is no superuser.
type postgresDatabase struct {
	t     *testing.T
	admin *sql.DB // of this database
	role  string
	url   *url.URL // as the role
}

func newPostgresDatabase(t *testing.T) *postgresDatabase {
	t.Helper()
	shared := os.Getenv("CHATTING_TEST_POSTGRES")
	if shared == "" {
		t.Skip("CHATTING_TEST_POSTGRES names no real PostgreSQL")
	}
	u, err := url.Parse(shared)
	if err != nil {
		t.Fatal(err)
	}
	server, err := sql.Open("postgres", shared)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("doctor_%d", time.Now().UnixNano())
	for _, statement := range []string{"CREATE DATABASE " + name, "CREATE ROLE " + name + " LOGIN"} {
		if _, err := server.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	u.Path = "/" + name
	admin, err := sql.Open("postgres", u.String())
	if err != nil {
		t.Fatal(err)
	}
	own := *u
	own.User = url.User(name)
	t.Cleanup(func() {
		_ = admin.Close()
		for _, statement := range []string{"DROP DATABASE " + name + " WITH (FORCE)", "DROP ROLE " + name} {
			if _, err := server.ExecContext(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
		_ = server.Close()
	})
	store, err := sqlstore.Open(t.Context(), sqlstore.Options{Now: time.Now, Options: database.Options{
		URL: u.String(), MaxOpen: 2, Timeout: time.Minute, Logger: testLogger(t),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	p := &postgresDatabase{t, admin, name, &own}
	p.do("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO " + name)
	return p
}

func (p *postgresDatabase) do(statement string) {
	p.t.Helper()
	if _, err := p.admin.ExecContext(p.t.Context(), statement); err != nil {
		p.t.Fatalf("%s: %v", statement, err)
	}
}

// content is what a look must not change.
func (p *postgresDatabase) content() (text string) {
	p.t.Helper()
	var relations string
	const all = `SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace`
	if err := p.admin.QueryRowContext(p.t.Context(), all).Scan(&relations); err != nil {
		p.t.Fatal(err)
	}
	text = relations
	for _, name := range []string{"users", "blocks", "messages", "installation", "goose_db_version"} {
		var rows, last int64 // the transaction that last wrote a row
		query := "SELECT count(*), COALESCE(max(xmin::text::bigint), 0) FROM " + name
		if err := p.admin.QueryRowContext(p.t.Context(), query).Scan(&rows, &last); err != nil {
			p.t.Fatal(err)
		}
		text += fmt.Sprintf("\n%s: %d %d", name, rows, last)
	}
	return text
}

// reset takes back what a row of a table of tests has done.
func (p *postgresDatabase) reset() {
	p.t.Helper()
	for _, statement := range []string{
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO " + p.role,
		"DELETE FROM goose_db_version", "INSERT INTO goose_db_version SELECT * FROM versions",
		"REVOKE CREATE ON SCHEMA public FROM " + p.role,
		"ALTER ROLE " + p.role + " RESET ALL", "ALTER ROLE " + p.role + " CONNECTION LIMIT -1",
	} {
		p.do(statement)
	}
}

func TestBrokenDatabasesAreNamed(t *testing.T) {
	const change = "CHATTING_DATABASE_MAX_OPEN_CONNS=10"
	p := newPostgresDatabase(t)
	p.do("CREATE TABLE versions AS SELECT * FROM goose_db_version")
	for name, row := range map[string]struct {
		statement func(role string) string
		machine   func(m *Machine)
		url       func(u *url.URL)
		settings  []string
		want      []finding
	}{
		"as it should be": {want: []finding{
			{"database", OK, "that of this program", ""}, {"database", OK, "agree within 5s", ""},
		}},
		"no such database": {
			url:  func(u *url.URL) { u.Path = "/nowhere" },
			want: []finding{{"database", Failed, `does not exist (3D000)`, "createdb"}},
		},
		"no such role": {
			url:  func(u *url.URL) { u.User = url.UserPassword("nobody_of_this_name", "marker") },
			want: []finding{{"database", Failed, "does not exist (28000)", "user and password"}},
		},
		"TLS that the server does not speak": {
			url:  func(u *url.URL) { u.RawQuery = "sslmode=require" },
			want: []finding{{"database", Failed, "SSL is not enabled on the server", "sslmode"}},
		},
		"a table without rights": {
			statement: func(role string) string { return "REVOKE UPDATE ON blocks FROM " + role },
			want:      []finding{{"database", Failed, "not all rights on the table blocks", "GRANT SELECT, INSERT, UPDATE, DELETE ON blocks"}},
		},
		"an older schema, and no right to change it": {
			statement: func(string) string { return "DELETE FROM goose_db_version WHERE version_id > 5" },
			want:      []finding{{"database", Failed, "schema version 5, not", "chatting migrate with a role that may"}},
		},
		"an older schema": {
			statement: func(role string) string {
				return "DELETE FROM goose_db_version WHERE version_id > 5; GRANT CREATE ON SCHEMA public TO " + role
			},
			want: []finding{{"database", Warning, "schema version 5, and this program", "run chatting migrate"}},
		},
		"a newer schema": {
			statement: func(string) string { return "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)" },
			want:      []finding{{"database", Failed, "schema version 99, and this program knows", "newer one"}},
		},
		"a standby": {
			statement: func(role string) string { return "ALTER ROLE " + role + " SET default_transaction_read_only = on" },
			want:      []finding{{"database", Failed, "the database is read-only", "the primary"}},
		},
		"fewer connections than the pool": {
			statement: func(role string) string { return "ALTER ROLE " + role + " CONNECTION LIMIT 5" },
			settings:  []string{change},
			want:      []finding{{"database", Failed, "database.max_open_conns is 10, but the server lets this role have 5", "lower database.max_open_conns"}},
		},
		"a clock that is an hour ahead": {
			machine: func(m *Machine) { m.Now = func() time.Time { return time.Now().Add(time.Hour) } },
			want:    []finding{{"database", Failed, "the clock of this machine is 1h0m0s ahead of that of the database", "time server"}},
		},
		"a clock that is a minute behind": {
			machine: func(m *Machine) { m.Now = func() time.Time { return time.Now().Add(-time.Minute) } },
			want:    []finding{{"database", Warning, "is 1m0s behind that of the database", "time server"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer p.reset()
			if row.statement != nil {
				p.do(row.statement(p.role))
			}
			own := *p.url
			if row.url != nil {
				row.url(&own)
			}
			settings := append([]string{"CHATTING_DATABASE_MAX_OPEN_CONNS=2", "CHATTING_DATABASE_MAX_IDLE_CONNS=2"}, row.settings...)
			s := newSetUp(t, append(settings, "CHATTING_DATABASE_URL="+own.String())...)
			if row.machine != nil {
				row.machine(&s.machine)
			}
			before := p.content()
			report := s.examine(t)
			for _, want := range row.want {
				report.has(t, want)
			}
			for _, f := range report.Findings {
				if f.State == Failed && (len(row.want) == 0 || row.want[0].state != Failed) {
					t.Errorf("%+v", f)
				}
			}
			if strings.Contains(fmt.Sprint(report), "marker") {
				t.Error("it shows the password")
			}
			if after := p.content(); after != before {
				t.Errorf("it changed something:\n%s\n%s", before, after)
			}
		})
	}
}

func TestADatabaseOfAnotherLogIsNamed(t *testing.T) {
	p := newPostgresDatabase(t)
	p.do("INSERT INTO installation (one_row, topic_prefix, cluster_id, database_id, recorded_at) VALUES (1, 'other', 'another cluster', 'id', 0)")
	addresses := brokers(t).ListenAddrs()
	makeTopics(t, addresses, "chatting", 4)
	report := withBrokers(t, addresses, "CHATTING_DATABASE_URL="+p.url.String()).examine(t)
	report.has(t, finding{"broker", Failed, `the database belongs to topic_prefix "other"`, "chatting adopt"})
}
