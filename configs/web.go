package configs

// Web is the page at /.
type Web struct{ Enabled bool }

func (w *Web) options() []Option {
	return []Option{{Key: "web.enabled", value: boolean(&w.Enabled)}}
}
