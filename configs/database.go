package configs

import (
	"path/filepath"
	"time"
)

// Database holds users, blocks, friends and the history.
type Database struct {
	URL          URL // postgres:, postgresql: or sqlite:; never empty
	MaxOpenConns int
	MaxIdleConns int
	Timeout      time.Duration
	// Embedded tells that no database was configured, so that URL is the SQLite file in the data directory.
	Embedded bool
}

func (d *Database) options() []Option {
	return []Option{
		{Key: "database.url", Secret: true, value: databaseURL(&d.URL)},
		{Key: "database.max_open_conns", value: integer(&d.MaxOpenConns, 1, 10000)},
		{Key: "database.max_idle_conns", value: integer(&d.MaxIdleConns, 0, 10000)},
		{Key: "database.timeout", value: duration(&d.Timeout, 100*time.Millisecond, time.Minute)},
	}
}

// sqliteFile is where the database is if none is configured.
func (c Config) sqliteFile() URL {
	return newURL(sqliteScheme + filepath.Join(c.DataDir, "chatting.db"))
}
