package server

import (
	"context"

	"chatting/application/delivery"
)

// beginLife notes that this server begins a life of the embedded log.
func (n *node) beginLife(context.Context) (err error) {
	n.lives, err = n.parts.Broker.BeginLife(n.parts.Tails.names.Conversations, n.parts.Common.Config.Kafka.Partitions)
	return err
}

// sealTokens has this node's resume tokens be those of the claimed log. A log in the data directory may be put back as it once was,
// so each of its lives has a key of its own. Other brokers keep what they have acknowledged.
func (n *node) sealTokens(ctx context.Context) error {
	own := ""
	if len(n.lives) > 0 {
		own = n.lives[0].ID
	}
	key, err := n.parts.Installation.ResumeKey(ctx, own)
	if err != nil {
		return err
	}
	var earlier []delivery.EarlierTokens
	for i := 1; i < len(n.lives); i++ {
		of := delivery.EarlierTokens{Ends: n.lives[i-1].Began}
		if of.Key, err = n.parts.Installation.ResumeKey(ctx, n.lives[i].ID); err != nil {
			return err
		}
		earlier = append(earlier, of)
	}
	n.parts.Logins.Delivery.Tokens.SealWith(key, earlier...)
	return nil
}
