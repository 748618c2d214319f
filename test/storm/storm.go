package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"chatting/adapters/auth"
	"chatting/domain"
	"chatting/test/storm/check"
	"chatting/test/storm/plan"
	"chatting/test/storm/site"
)

const (
	topicPrefix = "storm"
	secret      = "of the storm, and of nothing else"
	// platformToken is that of the platform's servers.
	platformToken = "of-the-platform-and-of-nobody-else"
	// inviteLife is how long invites are pending.
	inviteLife = 20 * time.Second
	// healLimit is for how long everything may take to be right again.
	healLimit = 4 * time.Minute
)

// storm is one run.
type storm struct {
	asked  options
	dir    string
	began  time.Time
	at     *site.Installation
	turn   atomic.Uint64
	people []*person
	// platform does to users what moderators do.
	platform *platform
	// log and audit read the conversations and the audit.
	log, audit *logReader
	last       *check.Run // what was judged last

	saying sync.Mutex
}

// say prints a line with the time since the run began.
func (s *storm) say(format string, arguments ...any) {
	s.saying.Lock()
	defer s.saying.Unlock()
	fmt.Printf("%9.3fs  %s\n", time.Since(s.began).Seconds(), fmt.Sprintf(format, arguments...))
}

// run is the whole run: it returns what was wrong.
func (s *storm) run(ctx context.Context) ([]check.Violation, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer s.stop()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	var devices, acting sync.WaitGroup
	defer devices.Wait()
	defer cancel()
	leaving, err := s.enter(ctx, &devices)
	if err != nil {
		return nil, err
	}
	schedule := s.asked.schedule()
	if !s.at.HasDisks() {
		s.say("disks cannot be filled here: mounting needs root")
		schedule.Leave = append(schedule.Leave, plan.Full)
	}
	faults, err := plan.New(schedule)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "schedule.txt"), []byte(plan.Text(faults)), 0o644); err != nil {
		return nil, err
	}
	acts, stopActing := context.WithCancel(ctx)
	defer acting.Wait()
	defer stopActing()
	for _, p := range s.people {
		acting.Go(func() { p.talk(acts) })
		acting.Go(func() { p.manage(acts) })
	}
	acting.Go(func() { s.platform.moderate(acts, len(s.people)) })
	s.say("the faults begin")
	if err := s.suffer(ctx, faults); err != nil {
		return nil, err
	}
	s.say("the faults have ended")
	stopActing()
	acting.Wait()
	if err := s.platform.lift(ctx); err != nil {
		return s.report([]check.Violation{{Rule: "healing", What: err.Error()}}), ctx.Err()
	}
	return s.judge(ctx, leaving)
}

// start starts brokers, PostgreSQL, the proxies and the nodes.
func (s *storm) start(ctx context.Context) error {
	program := s.asked.program
	if program == "" {
		s.say("building the nodes")
		changed, err := sabotages.changed(s.asked.sabotage)
		if err != nil {
			return err
		}
		built, err := site.Build(ctx, s.dir, s.asked.race, changed)
		if err != nil {
			return err
		}
		program = built
	}
	s.say("starting %d brokers and PostgreSQL", site.BrokerCount)
	at, err := site.Open(ctx, s.dir, program, func(int) []string {
		return []string{
			"CHATTING_TOPIC_PREFIX=" + topicPrefix, "CHATTING_JWT_SECRET=" + secret, "CHATTING_S2S_TOKEN=" + platformToken,
			"CHATTING_CHAT_OFFLINE=" + s.asked.offline, "CHATTING_INVITE_EXPIRES_AFTER=" + inviteLife.String(),
			"CHATTING_LIMIT_ADDRESS_LOGINS_PER_SECOND=0", "CHATTING_PRESENCE_HIDE_FROM_BLOCKED=true",
		}
	})
	if err != nil {
		return err
	}
	s.at = at
	s.say("starting %d nodes", site.NodeCount)
	return s.at.Start(ctx, healLimit)
}

// suffer does what the schedule says, each fault at its time, and returns when all have ended. What cannot be done ends it.
func (s *storm) suffer(ctx context.Context, faults []plan.Fault) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	var all sync.WaitGroup
	for _, f := range faults {
		all.Go(func() {
			if !site.Pause(ctx, f.At-time.Since(began)) {
				return
			}
			s.say("begins: %s", f)
			if err := s.at.Begin(ctx, f); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", f, err))
			}
			site.Pause(ctx, f.At+f.For-time.Since(began))
			// Also if the run was interrupted: what is stopped has to go on.
			if err := s.at.End(context.WithoutCancel(ctx), f); err != nil {
				cancel(fmt.Errorf("the end of %s: %w", f, err))
				return
			}
			s.say("ended:  %s", f)
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}

// stop ends the nodes and the proxies. The guard ends the rest.
func (s *storm) stop() {
	if s.at != nil {
		s.at.Stop()
	}
	for _, reader := range []*logReader{s.log, s.audit} {
		if reader != nil {
			reader.stop()
		}
	}
}

// nextPlace returns the nodes in turn, as a balancer does.
func (s *storm) nextPlace() string {
	reached := s.at.Reached()
	return reached[s.turn.Add(1)%uint64(len(reached))]
}

// enter logs all users in, makes them friends, and begins to read the log. Whoever has the function that it returns makes one user
// leave.
func (s *storm) enter(ctx context.Context, devices *sync.WaitGroup) (leave func(*person), err error) {
	rest := newRESTClient(s.nextPlace, mint)
	s.platform = newPlatform(newRESTClient(s.nextPlace, func(int64) string { return platformToken }))
	leaves := make(map[int64]context.CancelFunc)
	histories := filepath.Join(s.dir, "histories")
	if err := os.MkdirAll(histories, 0o755); err != nil {
		return nil, err
	}
	users := int64(s.asked.users)
	for id := int64(1); id <= users; id++ {
		p := &person{
			id: id, rest: rest, pace: time.Duration(float64(s.asked.users) / s.asked.rate * float64(time.Second)),
			blocked: make(map[int64]bool), marks: make(map[int64][]string), asked: make(chan invitation, 1),
		}
		for _, step := range []int64{1, 2, users - 1, users - 2} { // their neighbours on a ring
			p.partners = append(p.partners, 1+(id-1+step)%users)
		}
		stays, leave := context.WithCancel(ctx)
		leaves[id] = leave
		for number := 1; number <= 1+int(id%2); number++ {
			d, file, err := newDevice(histories, id, number)
			if err != nil {
				return nil, err
			}
			d.token, d.place, d.rest, d.partners = mint(id), s.nextPlace, rest, p.partners
			if number == 1 {
				d.invited = func(from int64, room string) {
					select {
					case p.asked <- invitation{from, room}:
					default: // it has one to answer: this one expires
					}
				}
			}
			p.devices = append(p.devices, d)
			devices.Go(func() {
				defer file.Close()
				d.run(stays)
			})
		}
		s.people = append(s.people, p)
	}
	if err := s.awaitDevices(ctx); err != nil {
		return nil, err
	}
	for _, p := range s.people {
		if err := p.befriend(ctx); err != nil {
			return nil, err
		}
	}
	if s.log, err = readTopic(s.at.Brokers(), topicPrefix+".conversations"); err != nil {
		return nil, err
	}
	s.audit, err = readTopic(s.at.Brokers(), topicPrefix+".audit")
	return func(p *person) { leaves[p.id]() }, err
}

func (s *storm) awaitDevices(ctx context.Context) error {
	for _, p := range s.people {
		for _, d := range p.devices {
			for end := time.Now().Add(healLimit); !d.isConnected(); {
				if time.Now().After(end) {
					return fmt.Errorf("device %d of user %d is not connected after %s", d.number, d.user, healLimit)
				}
				if !site.Pause(ctx, 100*time.Millisecond) {
					return ctx.Err()
				}
			}
		}
	}
	return nil
}

// mint makes a token that is good whatever a node's clock says.
func mint(user int64) string {
	minted, err := auth.MintHS256([]byte(secret), domain.UserID(user), 96*time.Hour, time.Now().Add(-48*time.Hour), auth.Required{})
	if err != nil {
		panic(err) // the secret and the user are good
	}
	return minted
}
