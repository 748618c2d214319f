package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"time"
)

// entry is one file of an archive.
type entry struct {
	name    string // with slashes, below the archive's one folder
	content []byte
	program bool // may be run
}

func (e entry) mode() os.FileMode {
	if e.program {
		return 0o755
	}
	return 0o644
}

// writeArchive writes base.tar.gz, or base.zip, with all entries below one folder. It says the same date of all of them, and
// nothing of the user and the machine that wrote it.
func writeArchive(base string, zipped bool, folder string, entries []entry, date time.Time) error {
	write, extension := writeTar, ".tar.gz"
	if zipped {
		write, extension = writeZip, ".zip"
	}
	file, err := os.Create(base + extension)
	if err != nil {
		return err
	}
	return errors.Join(write(file, folder, entries, date), file.Close())
}

func writeTar(to io.Writer, folder string, entries []entry, date time.Time) error {
	compressed := gzip.NewWriter(to)
	archive := tar.NewWriter(compressed)
	for _, e := range entries {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: folder + "/" + e.name, Mode: int64(e.mode()), Size: int64(len(e.content)),
			ModTime: date, Format: tar.FormatUSTAR,
		}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(e.content); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), compressed.Close())
}

func writeZip(to io.Writer, folder string, entries []entry, date time.Time) error {
	archive := zip.NewWriter(to)
	for _, e := range entries {
		header := &zip.FileHeader{Name: folder + "/" + e.name, Method: zip.Deflate, Modified: date}
		header.SetMode(e.mode())
		file, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := file.Write(e.content); err != nil {
			return err
		}
	}
	return archive.Close()
}
