package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chatting/cmd/chatting/bench"
	"chatting/cmd/chatting/exit"
	"chatting/cmd/chatting/talk"
	"chatting/cmd/chatting/terminal"
	"chatting/configs"
	"chatting/domain"
)

const (
	benchTokenTTL  = 24 * time.Hour
	benchFirstUser = 1_000_000_001 // by default; real users are not likely to have such ids
	benchPatience  = 10 * time.Second
	maxTokensFile  = 64 << 20
)

func newBenchCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure a server: pairs of users chat as fast as they can, or at a rate",
		Long: `Log pairs of users in to a running server and let them chat. Print how many messages a second there were, how
long they took, and whether each came once and in order. Exit with 7 if a message was lost, doubled or
reordered, or if the server closed a connection.

Without --rate each user has --window unanswered messages under way, and sends the next one when an echo
comes (closed loop). This measures the most messages a second. With --rate the users send at that rate,
whether or not earlier messages were answered (open loop). The time of a message counts from when it was due.
This measures latencies.

The users have the ids from --first-user on, two for each pair. They become known users of the server, and it
keeps their messages like others. Tokens are made as chatting token does, unless --tokens-file has them.
A server refuses what is above its limits. To measure what it can do, start it with
CHATTING_LIMIT_FRAMES_PER_SECOND=0 CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0 CHATTING_LIMIT_CONNECTIONS=0.`,
		Example: `  chatting bench
  chatting bench --pairs 100 --rate 1000 --duration 30s --json
  chatting bench --pid "$(pgrep -x chatting)"           also its CPU time a message (Linux)`,
	}
	shared := benchFlags(cmd, s)
	c := bench.Chat{Patience: benchPatience}
	flags := cmd.Flags()
	flags.IntVar(&c.Pairs, "pairs", 50, "pairs of users who chat")
	flags.Float64Var(&c.Rate, "rate", 0, "messages a second of all users together; 0: as many as are answered")
	flags.IntVar(&c.Window, "window", 8, "without --rate: unanswered messages of each user")
	flags.IntVar(&c.TextBytes, "size", 64, fmt.Sprintf("bytes of a text, %d at least", bench.MinTextBytes))
	flags.DurationVar(&c.Ramp, "ramp", 0, "the time until all users send, or until the rate is reached")
	flags.DurationVar(&c.Warmup, "warmup", 2*time.Second, "how long to send before measuring")
	flags.DurationVar(&c.Duration, "duration", 10*time.Second, "how long to measure")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case c.Pairs < 1 || c.Pairs > 1_000_000:
			return usage(errors.New("--pairs: 1 to 1000000"))
		case c.Rate < 0 || c.Rate > 1e7:
			return usage(errors.New("--rate: 0 to 10000000 messages a second"))
		case c.Window < 1 || c.Window > 100_000:
			return usage(errors.New("--window: 1 to 100000"))
		case c.TextBytes < bench.MinTextBytes || c.TextBytes > 1<<20:
			return usage(fmt.Errorf("--size: %d to %d bytes", bench.MinTextBytes, 1<<20))
		case c.Ramp < 0 || c.Warmup < 0 || c.Duration < time.Millisecond:
			return usage(errors.New("--ramp, --warmup: not below 0s; --duration: 1ms at least"))
		}
		if c.Target, err = shared.target(2 * c.Pairs); err != nil {
			return err
		}
		return printed(cmd.Context(), shared, c.Run)
	}
	cmd.AddCommand(newBenchLoginsCommand(s), newBenchResumesCommand(s), newBenchIdleCommand(s))
	return cmd
}

func newBenchLoginsCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logins",
		Short: "Measure how many logins a second a server can do",
		Long: `Log users in, --parallel at a time. Print how many logins a second there were and how long each took. At the end
of a round all connections are dropped at once, as if the network failed, and the same users log in again in
the next round. If the server should not know the users of the first round, choose a --first-user whose ids
were never used.`,
		Example: `  chatting bench logins --users 5000
  chatting bench logins --users 10000 --rounds 3 --first-user 2000000001`,
	}
	shared := benchFlags(cmd, s)
	var l bench.Logins
	cmd.Flags().IntVar(&l.Users, "users", 1000, "users who log in, one connection each")
	cmd.Flags().IntVar(&l.Rounds, "rounds", 2, "how many times they log in")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if l.Users < 1 || l.Users > 1_000_000 || l.Rounds < 1 {
			return usage(errors.New("--users: 1 to 1000000; --rounds: 1 at least"))
		}
		if l.Target, err = shared.target(l.Users); err != nil {
			return err
		}
		return printed(cmd.Context(), shared, l.Run)
	}
	return cmd
}

func newBenchResumesCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resumes",
		Short: "Measure how users come back who were cut off, and get what they missed",
		Long: `Log users in, and have each say --missed messages to its partner. Then cut all connections at once, as if the
network failed, and let the same users log in again, --parallel at a time, with the resume tokens that they had
before the messages. Print how many came back a second, how long the logins took, and how long it took until
each had all that it missed. A line on standard error says when the connections are cut. The users come back
after --pause. Exit with 7 if a message was not replayed or came twice, or if a client could not take up.`,
		Example: `  chatting bench resumes --users 5000
  chatting bench resumes --users 5000 --parallel 5000 --missed 10`,
	}
	shared := benchFlags(cmd, s)
	r := bench.Resumes{Patience: benchPatience}
	cmd.Flags().IntVar(&r.Users, "users", 1000, "users who come back, one connection each; an even number")
	cmd.Flags().IntVar(&r.Missed, "missed", 1, "messages that each user sends, and that it and its partner miss")
	cmd.Flags().DurationVar(&r.Pause, "pause", 0, "how long the users are away")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if r.Users < 2 || r.Users > 1_000_000 || r.Users%2 != 0 || r.Missed < 1 || r.Missed > 1000 || r.Pause < 0 {
			return usage(errors.New("--users: 2 to 1000000, an even number; --missed: 1 to 1000; --pause: not below 0s"))
		}
		r.Cut = func(connections int) {
			shared.progress.Clear()
			fmt.Fprintf(s.Err, "cut %d connections\n", connections)
		}
		if r.Target, err = shared.target(r.Users); err != nil {
			return err
		}
		return printed(cmd.Context(), shared, r.Run)
	}
	return cmd
}

func newBenchIdleCommand(s Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Hold connections that do nothing, to see what they cost a server",
		Long: `Log users in, and hold their connections for --duration without sending anything. A line on standard error says
when all of them are connected. With --pid, print how much the memory of that process grew for each
connection. The first run grows a server's memory more than later ones, so compare new servers.`,
		Example: `  chatting bench idle --users 10000 --pid "$(pgrep -x chatting)"
  chatting bench idle --users 50000 --source 127.0.0.2,127.0.0.3 --duration 10m`,
	}
	shared := benchFlags(cmd, s)
	var i bench.Idle
	cmd.Flags().IntVar(&i.Users, "users", 1000, "users who log in, one connection each")
	cmd.Flags().DurationVar(&i.Duration, "duration", 30*time.Second, "how long to hold all connections")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if i.Users < 1 || i.Users > 1_000_000 || i.Duration < 0 {
			return usage(errors.New("--users: 1 to 1000000; --duration: not below 0s"))
		}
		i.Held = func(connections int) {
			shared.progress.Clear()
			fmt.Fprintf(s.Err, "holding %d connections\n", connections)
		}
		if i.Target, err = shared.target(i.Users); err != nil {
			return err
		}
		return printed(cmd.Context(), shared, i.Run)
	}
	return cmd
}

// benchOptions are what all bench commands have in common.
type benchOptions struct {
	s                       Process
	load                    func() (configs.Config, error)
	url, secretFile, tokens *textFlag
	sources                 *[]string
	pids                    *[]int
	firstUser               *int64
	parallel                *int
	json                    *bool
	progress                *terminal.Progress
}

func benchFlags(cmd *cobra.Command, s Process) *benchOptions {
	flags := cmd.Flags()
	o := &benchOptions{
		s: s, load: configFlags(cmd, s, "data_dir"), url: addSocketFlag(cmd),
		secretFile: addText(cmd, "secret-file", "file", "",
			"the secret that signs tokens, instead of that of the configuration or the data directory"),
		tokens: addText(cmd, "tokens-file", "file", "", "tokens of different users, one a line, to use instead of new ones"),
	}
	o.firstUser = flags.Int64("first-user", benchFirstUser, "the id of the first user whose token is made")
	o.sources = flags.StringSlice("source", nil, "addresses to connect from, in turn: one has ports for about 28,000 connections")
	o.parallel = flags.Int("parallel", 64, "logins at a time")
	o.pids = flags.IntSlice("pid", nil, "process ids whose CPU time and memory to print, such as the server's (Linux)")
	o.json = flags.Bool("json", false, "print the report as JSON, times in ms")
	return o
}

// target returns the server to measure, and how a number of users log in.
func (o *benchOptions) target(users int) (t bench.Target, err error) {
	t = bench.Target{URL: o.url.value, Parallel: *o.parallel, PIDs: *o.pids}
	if o.url.given {
		if _, err := talk.ParseSocket(t.URL); err != nil {
			return t, usage(fmt.Errorf("--url: %w", err))
		}
	}
	if t.Parallel < 1 {
		return t, usage(errors.New("--parallel: 1 at least"))
	}
	for _, text := range *o.sources {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return t, usage(fmt.Errorf("--source: %q is no IP address", text))
		}
		t.Sources = append(t.Sources, address)
	}
	o.progress = terminal.NewProgress(o.s.Err, *o.json)
	t.Progress = func(line string) { o.progress.Show("%s", line) }
	if o.tokens.given && o.secretFile.given {
		return t, usage(errors.New("--tokens-file and --secret-file exclude each other"))
	}
	if o.tokens.given && o.url.given { // nothing of a configuration is needed
		t.Token, err = o.readTokens(users)
		return t, err
	}
	cfg, err := o.load()
	if err != nil {
		return t, err
	}
	if !o.url.given {
		if t.URL, err = defaultSocket(cfg); err != nil {
			return t, err
		}
	}
	if o.tokens.given {
		t.Token, err = o.readTokens(users)
	} else {
		t.Token, err = o.makeTokens(cfg, users)
	}
	return t, err
}

// tokensOf returns the token of a user.
type tokensOf = func(user int) (string, error)

func (o *benchOptions) makeTokens(cfg configs.Config, users int) (tokensOf, error) {
	if o.secretFile.given {
		secret, err := configs.Load(configs.Sources{Environ: []string{"CHATTING_JWT_SECRET_FILE=" + o.secretFile.value}})
		if err != nil {
			return nil, usage(fmt.Errorf("--secret-file: %w", err))
		}
		cfg.JWT.Secret = secret.JWT.Secret
	}
	if *o.firstUser < 1 || *o.firstUser > math.MaxInt64-int64(users) {
		return nil, usage(errors.New("--first-user: a positive integer, with room for the users after it"))
	}
	mint, err := newMint(cfg)
	if err != nil {
		return nil, err
	}
	return func(user int) (string, error) { return mint(domain.UserID(*o.firstUser+int64(user)), benchTokenTTL) }, nil
}

func (o *benchOptions) readTokens(users int) (tokensOf, error) {
	file, err := os.Open(o.tokens.value)
	if err != nil {
		return nil, usage(fmt.Errorf("--tokens-file: %w", err))
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxTokensFile))
	if err != nil {
		return nil, usage(fmt.Errorf("--tokens-file: %w", err))
	}
	all := strings.Fields(string(content))
	if len(all) < users {
		return nil, usage(fmt.Errorf("--tokens-file: it has %d tokens, and %d users are to log in", len(all), users))
	}
	return func(user int) (string, error) { return all[user], nil }, nil
}

// benchReport is what a run came to.
type benchReport interface {
	WriteText(w io.Writer) error
	Fault() error
}

// printed does a run and prints its report. A fault that the report has is the command's error.
func printed[R benchReport](ctx context.Context, o *benchOptions, run func(context.Context) (R, error)) error {
	report, err := run(ctx)
	o.progress.Clear()
	if err != nil {
		return err
	}
	if *o.json {
		encoder := json.NewEncoder(o.s.Out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = report.WriteText(o.s.Out)
	}
	return errors.Join(err, exit.With(exit.Findings, report.Fault()))
}
