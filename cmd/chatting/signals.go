package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that ends with the first SIGINT, SIGTERM or SIGHUP.
//
// A further SIGINT or SIGTERM ends the process at once, with exit code 1. A further SIGHUP does nothing, because the end of a
// terminal sends several. SIGHUP does nothing at all if it was ignored when the process began: nohup asks for that.
func untilSignal() context.Context {
	ctx, end := context.WithCancel(context.Background())
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(asked, syscall.SIGHUP)
	}
	go func() { // for the life of the process
		<-asked
		end()
		for again := range asked {
			if again != syscall.SIGHUP {
				os.Exit(1)
			}
		}
	}()
	return ctx
}
