package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Path is where Prometheus scrapes.
const Path = "/metrics"

const (
	// maxConnections is how many clients the listener has at once: a few servers of Prometheus, and a person. More wait.
	maxConnections = 16
	// maxScrapes is how many scrapes run at once. More are answered with 503.
	maxScrapes = 4
	// maxHead bounds the head of a request, in bytes.
	maxHead = 8 << 10
	// readTimeout is for a request, writeTimeout for an answer.
	readTimeout  = 5 * time.Second
	writeTimeout = 15 * time.Second
	idleTimeout  = 2 * time.Minute
	// profileTimeout bounds a profile: go tool pprof asks for 30 s by default.
	profileTimeout = 2 * time.Minute
	// endTimeout is for requests under way when the node ends. Longer ones are cut.
	endTimeout = time.Second
)

// Server serves the metrics of a node over HTTP.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// ServerOptions say what else a Server serves.
type ServerOptions struct {
	// Pprof serves the profiles of package net/http/pprof below /debug/pprof/. They show what the program does and holds.
	Pprof  bool
	Logger *slog.Logger
}

// Serve returns a server of the metrics on a listener, which Run serves and closes. If Run is never called, the caller closes it.
func (m *Metrics) Serve(listener net.Listener, options ServerOptions) *Server {
	mux := http.NewServeMux()
	logs := slog.NewLogLogger(options.Logger.Handler(), slog.LevelWarn)
	mux.Handle("GET "+Path, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: logs, ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes, Timeout: writeTimeout,
	}))
	if options.Pprof {
		servePprof(mux)
	}
	return &Server{
		listener: listener,
		http: &http.Server{
			Handler: mux, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
			MaxHeaderBytes: maxHead, ErrorLog: slog.NewLogLogger(options.Logger.Handler(), slog.LevelDebug),
		},
	}
}

// servePprof mounts what package pprof mounts on the default mux by itself, but one profile at a time.
func servePprof(mux *http.ServeMux) {
	place := make(chan struct{}, 1)
	alone := func(serve http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			select {
			case place <- struct{}{}:
				defer func() { <-place }()
			default:
				http.Error(w, "Another profile is being taken.", http.StatusServiceUnavailable)
				return
			}
			// A connection that takes no deadline has the shorter one of the server.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(profileTimeout))
			ctx, cancel := context.WithTimeout(r.Context(), profileTimeout)
			defer cancel()
			serve(w, r.WithContext(ctx))
		}
	}
	mux.HandleFunc("GET /debug/pprof/", alone(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", alone(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", alone(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", alone(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", alone(pprof.Trace))
}

// Addr returns the address that is listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close closes the listener of a server that Run never served. It may be called after Run, too.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Run serves until ctx ends. Then it gives requests under way a second.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(netutil.LimitListener(s.listener, maxConnections)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving metrics: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if s.http.Shutdown(ending) != nil {
		_ = s.http.Close() // what is left of a long profile
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}
