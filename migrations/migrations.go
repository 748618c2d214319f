// Package migrations carries the database schema inside the binary, as goose migrations. The files of this folder serve
// SQLite and PostgreSQL: they use only what both understand alike. What needs another text for each, such as a trigger, is
// a file of the same name in the folder of each database. A file that was ever released is never changed; what comes later
// is a new file with the next number.
package migrations

import (
	"embed"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.sql postgres/*.sql sqlite/*.sql
var files embed.FS

// Database names the folder of a database.
type Database string

// The databases.
const (
	PostgreSQL Database = "postgres"
	SQLite     Database = "sqlite"
)

// Of returns the migrations of a database, all in one folder: NNNNN_name.sql, in the order of their numbers.
func Of(database Database) (fs.FS, error) {
	own, err := fs.Sub(files, string(database))
	if err != nil {
		return nil, err
	}
	return union{shared: files, own: own}, nil
}

// union shows the files of two folders as one.
type union struct{ shared, own fs.FS }

// Open implements fs.FS.
func (u union) Open(name string) (fs.File, error) {
	file, err := u.own.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return u.shared.Open(name)
	}
	return file, err
}

// ReadDir implements fs.ReadDirFS.
func (u union) ReadDir(name string) ([]fs.DirEntry, error) {
	own, errOwn := fs.ReadDir(u.own, name)
	shared, errShared := fs.ReadDir(u.shared, name)
	all := slices.DeleteFunc(append(own, shared...), fs.DirEntry.IsDir)
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, errors.Join(errOwn, errShared)
}
