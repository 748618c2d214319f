package configs

import (
	"math"
	"strconv"
)

// Limit holds the caps; 0 means none.
type Limit struct {
	FramesPerSecond        int
	UserFramesPerSecond    int
	UserWritesPerSecond    int
	UserLoginsPerSecond    int
	AddressLoginsPerSecond int
	Connections            int
	ConnectionsPerUser     int
	ConnectionsPerAddress  int
	AddressHTTPConnections int
	UserConcurrentRequests int
	UserOutboundBytes      int
	OutboundBytes          int
	InboundBytes           int
}

func (l *Limit) options() []Option {
	return []Option{
		{Key: "limit.frames_per_second", value: limit(&l.FramesPerSecond)},
		{Key: "limit.user_frames_per_second", value: limit(&l.UserFramesPerSecond),
			derived: func(c Config) string { return strconv.Itoa(min(2*c.Limit.FramesPerSecond, math.MaxInt32)) }},
		{Key: "limit.user_writes_per_second", value: limit(&l.UserWritesPerSecond)},
		{Key: "limit.user_logins_per_second", value: limit(&l.UserLoginsPerSecond)},
		{Key: "limit.address_logins_per_second", value: limit(&l.AddressLoginsPerSecond)},
		{Key: "limit.connections", value: limit(&l.Connections)},
		{Key: "limit.connections_per_user", value: limit(&l.ConnectionsPerUser)},
		{Key: "limit.connections_per_address", value: limit(&l.ConnectionsPerAddress)},
		{Key: "limit.address_http_connections", value: limit(&l.AddressHTTPConnections)},
		{Key: "limit.user_concurrent_requests", value: limit(&l.UserConcurrentRequests)},
		{Key: "limit.user_outbound_bytes", value: sizeOrNone(&l.UserOutboundBytes, 4*mib, 1024*mib)},
		{Key: "limit.outbound_bytes", value: sizeOrNone(&l.OutboundBytes, 32*mib, 1024*1024*mib)},
		{Key: "limit.inbound_bytes", value: sizeOrNone(&l.InboundBytes, 2*mib, 1024*1024*mib)},
	}
}
