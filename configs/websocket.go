package configs

import "time"

// WebSocket has the times and sizes of the socket.
type WebSocket struct {
	MaxFrameBytes      int
	OutboundQueueBytes int
	LoginDeadline      time.Duration
	PingAfter          time.Duration
	PongWait           time.Duration
	WriteTimeout       time.Duration
	TokenRecheck       time.Duration
	TokenWarning       time.Duration
	AllowedOrigins     []string // as origins.NewSet takes them, "*" only alone; empty: same host
}

func (w *WebSocket) options() []Option {
	return []Option{
		{Key: "websocket.max_frame_bytes", value: size(&w.MaxFrameBytes, kib, mib)},
		{Key: "websocket.outbound_queue_bytes", value: size(&w.OutboundQueueBytes, 512*kib, 256*mib)},
		{Key: "websocket.login_deadline", value: duration(&w.LoginDeadline, 100*time.Millisecond, 10*time.Minute)},
		{Key: "websocket.ping_after", value: duration(&w.PingAfter, 100*time.Millisecond, time.Hour)},
		{Key: "websocket.pong_wait", value: duration(&w.PongWait, 100*time.Millisecond, time.Hour)},
		{Key: "websocket.write_timeout", value: duration(&w.WriteTimeout, 100*time.Millisecond, 10*time.Minute)},
		{Key: "websocket.token_recheck", value: duration(&w.TokenRecheck, time.Second, 24*time.Hour)},
		{Key: "websocket.token_warning", value: duration(&w.TokenWarning, 0, 24*time.Hour)},
		{Key: "websocket.allowed_origins", value: originList(&w.AllowedOrigins)},
	}
}
