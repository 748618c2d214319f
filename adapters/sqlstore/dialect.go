package sqlstore

import (
	"chatting/migrations"
)

// dialect is what statements say differently to the two databases.
type dialect struct {
	// lockInstallation reads the recorded log, which then stays recorded until the transaction ends.
	lockInstallation string
	// listed begins a statement that takes a list of ids: see listOf.
	listed string
	// prepares tells that statements are worth preparing: reading one takes longer than carrying it out, and connections are
	// the process's own. (Behind a pooler of connections the next call may find another one.)
	prepares bool
	// now asks the database's server what time it is, in milliseconds; "" if there is no server.
	now string
}

var dialects = map[migrations.Database]dialect{
	migrations.SQLite: {
		lockInstallation: selectInstallation, // one transaction writes at a time
		listed:           `WITH listed (id) AS (SELECT value FROM json_each($1))`,
		prepares:         true,
	},
	migrations.PostgreSQL: {
		lockInstallation: selectInstallation + " FOR SHARE",
		listed:           `WITH listed (id) AS (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)))`,
		now:              `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)`,
	},
}
