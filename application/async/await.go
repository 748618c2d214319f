package async

import (
	"context"

	"chatting/domain"
)

// Await starts something that calls done once, and waits for its outcome, or for the end of ctx, which leaves the outcome
// unknown: CodeUnconfirmed, with the sentence given.
func Await(ctx context.Context, unconfirmed string, start func(done func(error))) error {
	outcome := make(chan error, 1)
	start(func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return domain.WrapError(domain.CodeUnconfirmed, unconfirmed, ctx.Err())
	}
}
