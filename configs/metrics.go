package configs

// Metrics is the listener of the metrics for Prometheus. It is for operators only.
type Metrics struct {
	Enabled bool    // an address is set
	Addr    Address // if Enabled
	Pprof   bool
}

func (m *Metrics) options() []Option {
	return []Option{
		{Key: "metrics.addr", value: optionalAddress(&m.Enabled, &m.Addr)},
		{Key: "metrics.pprof", value: boolean(&m.Pprof)},
	}
}
