// Package netcause says why an HTTP request had no answer, without anything of the request or of what came back.
package netcause

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"syscall"
)

// plain are errors of net/http that have no type, and repeat nothing.
var plain = []string{
	"http: server gave HTTP response to HTTPS client", "net/http: TLS handshake timeout", "http: server closed idle connection",
}

// errNoHTTP stands for all errors that may quote what was sent or received: a service can send a request back, and the address of a
// proxy that cannot be read is quoted with its password.
var errNoHTTP = errors.New("the answer is no HTTP, or the proxy's address cannot be read")

// Of returns the cause of an error of an http.Client. The error of the client itself has the URL of the request, with its path
// and query; others quote malformed answers, which may repeat tokens. What is returned holds at most hosts and addresses.
func Of(err error) error {
	for wrapped := (*url.Error)(nil); errors.As(err, &wrapped); {
		err = wrapped.Err
	}
	var (
		operation   *net.OpError
		lookup      *net.DNSError
		authority   x509.UnknownAuthorityError
		wrongHost   x509.HostnameError
		certificate x509.CertificateInvalidError
		header      tls.RecordHeaderError
		alert       tls.AlertError
		number      syscall.Errno
	)
	switch {
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &lookup):
		return lookup
	case errors.As(err, &header): // it holds the bytes that were received, and says nothing of them
		return errors.New("the server does not speak TLS")
	case errors.As(err, &authority):
		return authority
	case errors.As(err, &wrongHost):
		return wrongHost
	case errors.As(err, &certificate):
		return certificate
	case errors.As(err, &alert):
		return alert
	case errors.As(err, &number):
		return number
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, io.EOF} {
		if errors.Is(err, known) {
			return known
		}
	}
	if err != nil && slices.Contains(plain, err.Error()) {
		return err
	}
	return errNoHTTP
}
