package database

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"chatting/adapters/ownerfiles"
)

// checkWithin bounds the reading of the whole file at the start. One of 340 MB takes 2.4 s on a busy machine with two cores;
// what is larger than about twice that is checked in part.
const checkWithin = 5 * time.Second

// sqliteFile is a database file and the files that SQLite and this package keep beside it.
type sqliteFile struct{ path string }

func (f sqliteFile) log() string         { return f.path + "-wal" }
func (f sqliteFile) migrateLock() string { return f.path + ".migrate.lock" }

// prepare sees that the file is a sound database, or makes an empty one unless it must exist. What is damaged is left as it is.
// Only the owner may use the files from then on. A damage that is found is an error in one line.
func (f sqliteFile) prepare(ctx context.Context, o Options) error {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && o.MustExist:
		return fmt.Errorf("there is no database at %s", f.path)
	case errors.Is(err, fs.ErrNotExist):
		if log, err := os.Stat(f.log()); err == nil && log.Size() > 0 { // SQLite would delete it, and what was committed
			return f.damaged("it is missing, but " + f.log() + " is there")
		}
		if err := ownerfiles.Create(f.path); err != nil && !errors.Is(err, fs.ErrExist) {
			return f.unusable(err)
		}
		return nil
	case err != nil:
		return f.unusable(err)
	case info.IsDir():
		return fmt.Errorf("%s is a directory, not a database file", f.path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", f.path)
	}
	if err := ownerfiles.Narrow(f.path, f.log(), f.path+"-shm", f.path+"-journal", f.migrateLock()); err != nil {
		return err
	}
	if err := f.checkLog(); err != nil {
		return err
	}
	if info.Size() == 0 { // SQLite takes it for a new database
		return f.checkNew()
	}
	if err := f.checkHeader(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	err = f.check(ctx)
	if ctx.Err() != nil && err != nil && !errors.As(err, new(damagedError)) {
		o.Logger.Info("the database file is large: it was checked in part", "file", f.path)
		return nil
	}
	return err
}

// checkHeader sees that the file begins as a database (https://www.sqlite.org/fileformat2.html#magic_header_string). SQLite does
// not look if the write-ahead log has the first page: the damage, and what else was written over, would show once that is gone.
func (f sqliteFile) checkHeader() error {
	if _, err := os.Stat(f.path + "-journal"); err == nil {
		return nil // it may have the first page as it was
	}
	file, err := os.Open(f.path)
	if err != nil {
		return f.unusable(err)
	}
	defer file.Close()
	const magic = "SQLite format 3\x00"
	header := make([]byte, len(magic))
	if n, err := io.ReadFull(file, header); err != nil && n == 0 {
		return f.unusable(err)
	}
	if string(header) != magic {
		return f.damaged(noHeader)
	}
	return nil
}

const noHeader = "it is no SQLite database, or its header was written over"

// check reads the file through a connection that cannot write, so that nothing is changed: the end of another one may take
// what is in the log into a damaged file.
func (f sqliteFile) check(ctx context.Context) error {
	db, err := openSQLite(sqliteDSN(f.path, url.Values{"mode": {"ro"}, "_busy_timeout": {"1000"}, "_error_rc": {"1"}}))
	if err != nil {
		return err
	}
	defer db.Close() // nothing was written
	var found string
	err = db.GetContext(ctx, &found, "PRAGMA quick_check(1)")
	switch {
	case sqliteCode(err, sqlite3.SQLITE_NOTADB):
		return f.damaged(noHeader)
	case sqliteCode(err, sqlite3.SQLITE_CORRUPT):
		return f.damaged("pages are missing or were written over")
	case sqliteCode(err, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY):
		return nil // it waits for what only a writer can do, or for one
	case err != nil:
		return f.unusable(err)
	case found != "ok":
		return f.damaged(strings.Join(strings.Fields(found), " "))
	}
	var pageSize int64
	if err := db.GetContext(ctx, &pageSize, "PRAGMA page_size"); err != nil {
		return f.unusable(err)
	}
	return f.checkEnd(pageSize)
}

// checkNew sees that the empty file was never used. The lock is made by a process that has opened the file, which ends its being
// empty: so the file is looked at after the lock, because another process may be at its first start.
func (f sqliteFile) checkNew() error {
	_, err := os.Stat(f.migrateLock())
	if used := err == nil; used {
		if info, err := os.Stat(f.path); err == nil && info.Size() == 0 {
			return f.damaged("it is empty, and was not")
		}
	}
	return nil
}

// checkEnd sees that the file ends with a whole page: SQLite reads zeros behind the end. A page may be cut while the log has it.
func (f sqliteFile) checkEnd(pageSize int64) error {
	info, err := os.Stat(f.path)
	if err != nil {
		return f.unusable(err)
	}
	log, err := os.Stat(f.log())
	if info.Size()%pageSize != 0 && (err != nil || log.Size() == 0) {
		return f.damaged("its last page is cut")
	}
	return nil
}

// checkLog sees that a write-ahead log that holds something begins as one (https://www.sqlite.org/fileformat2.html#walformat).
// SQLite ignores it otherwise, and with it what was committed. After a power failure the beginning may be zeros.
func (f sqliteFile) checkLog() error {
	file, err := os.Open(f.log())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.unusable(err)
	}
	defer file.Close()
	var magic [4]byte
	if _, err := io.ReadFull(file, magic[:]); err != nil {
		return nil // it is empty
	}
	switch binary.BigEndian.Uint32(magic[:]) {
	case 0, 0x377f0682, 0x377f0683:
		return nil
	}
	return f.damaged("the beginning of " + f.log() + " was written over")
}

// damagedError is a sentence that says what is wrong with a database file.
type damagedError struct{ sentence string }

func (e damagedError) Error() string { return e.sentence }

func (f sqliteFile) damaged(how string) error {
	return damagedError{fmt.Sprintf("the database file %s is damaged: %s. Nothing was changed: put a backup in its place, "+
		"or move it and the files beside it away to begin with an empty one", f.path, how)}
}

// unusable says why the file cannot be used, without the names of system calls.
func (f sqliteFile) unusable(err error) error {
	if named := (*fs.PathError)(nil); errors.As(err, &named) {
		err = named.Err
	}
	return fmt.Errorf("the database file %s cannot be used: %w", f.path, err)
}
