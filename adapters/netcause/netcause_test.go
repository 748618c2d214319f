package netcause

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

func TestCausesAreToldWithoutWhatWasSentOrReceived(t *testing.T) {
	const secret = "s3cret"
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, row := range []struct {
		err  error
		want string
	}{
		{refused, "connection refused"},
		{&net.DNSError{Err: "no such host", Name: "keys.example", IsNotFound: true}, "no such host"},
		{context.DeadlineExceeded, "deadline exceeded"},
		{io.EOF, "EOF"},
		{errors.New("http: server gave HTTP response to HTTPS client"), "to HTTPS client"},
		{errors.New("malformed HTTP response " + secret), "is no HTTP"},
		{errors.New("invalid proxy address " + secret), "is no HTTP"},
		{tls.RecordHeaderError{Msg: secret, RecordHeader: [5]byte{'s', '3', 'c', 'r', 'e'}}, "does not speak TLS"},
		{x509.UnknownAuthorityError{}, "unknown authority"},
		{nil, "is no HTTP"},
	} {
		got := Of(&url.Error{Op: "Get", URL: "https://u:" + secret + "@h/" + secret, Err: row.err})
		if got == nil || !strings.Contains(got.Error(), row.want) || strings.Contains(got.Error(), secret) {
			t.Errorf("%v: %v, want %q", row.err, got, row.want)
		}
	}
}
