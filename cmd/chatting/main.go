// Command chatting is a real-time chat server and the tools around it: see chatting --help. Package cli has the commands, package
// server what chatting serve runs. Here is only what concerns the process: its umask, its signals, its heap, its version.
package main

import (
	"os"

	"chatting/adapters/ownerfiles"
	"chatting/cmd/chatting/cli"
)

func main() {
	ownerfiles.Umask()
	keepGCFloor()
	os.Exit(cli.Run(untilSignal(), os.Args[1:], cli.Process{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ(), Version: buildVersion(),
	}))
}
