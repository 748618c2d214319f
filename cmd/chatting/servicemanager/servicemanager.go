// Package servicemanager tells systemd how the process is doing: that it is ready, that it leaves, and that it lives. When that is so
// is decided by its caller, except for the sign of life, which depends on the process's own health check.
package servicemanager

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Manager tells systemd how this process is doing, by the protocol of sd_notify(3). It tells nobody anything if the
// process was not started by a service manager that asks for it (NOTIFY_SOCKET, WATCHDOG_USEC).
type Manager struct {
	logger *slog.Logger
	// notify sends one message.
	notify func(state string)
	// check is nil if the process answers its users.
	check func(context.Context) error
	// patience is for how long the service manager waits for a sign of life; 0 if it does not wait for any.
	patience time.Duration
	// leaving is set once the port is about to be closed.
	leaving atomic.Bool
}

// New returns the manager of a process that is asked for /healthz over listener.
func New(listener net.Listener, logger *slog.Logger) *Manager {
	m := &Manager{logger: logger}
	m.notify = func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			logger.Warn("the service manager cannot be told", "error", err)
		}
	}
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("the service manager's watchdog is not served: WATCHDOG_USEC cannot be read", "error", err)
	}
	m.patience = patience
	m.check = healthCheck(listener.Addr())
	return m
}

// IsWatching tells whether the service manager waits for signs of life.
func (m *Manager) IsWatching() bool { return m.patience > 0 }

// Ready says that the node takes users.
func (m *Manager) Ready(context.Context) error {
	m.notify(daemon.SdNotifyReady)
	return nil
}

// Stopping says that the node leaves. From now on a port that is closed is no sign of a fault.
func (m *Manager) Stopping() {
	m.leaving.Store(true)
	m.notify(daemon.SdNotifyStopping)
}

// Watch gives signs of life until ctx ends: two in the time that the service manager waits, as long as the checks pass. A
// process that fails them is restarted, so a check must fail only for what a restart mends.
func (m *Manager) Watch(ctx context.Context) {
	ticker := time.NewTicker(m.patience / 2)
	defer ticker.Stop()
	for {
		if m.alive(ctx) {
			m.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) alive(ctx context.Context) bool {
	if m.leaving.Load() {
		return true // shutdown.deadline bounds the rest
	}
	checking, cancel := context.WithTimeout(ctx, m.patience/3)
	defer cancel()
	err := m.check(checking)
	if err == nil || ctx.Err() != nil || m.leaving.Load() {
		return true
	}
	m.logger.Warn("this node does not answer its own health check", "error", err)
	return false
}

// healthCheck returns a check that asks this process for /healthz over the network, on a connection of its own, as clients
// ask it.
func healthCheck(listening net.Addr) func(context.Context) error {
	address := listening.String()
	if tcp, ok := listening.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		address = fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("the answer is %s", answer.Status)
		}
		return nil
	}
}
