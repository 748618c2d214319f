package server

import (
	"net/netip"
	"time"

	"chatting/adapters/limits"
	"chatting/adapters/network"
	"chatting/adapters/ws/throttle"
	"chatting/configs"
	"chatting/domain"
)

// rates bound what users and addresses do on this node. A nil rate bounds nothing.
type rates struct {
	userFrames, userWrites, refusals *limits.Rate[domain.UserID]
	addressLogins                    networkRate
	userLogins                       *limits.Logins
	// pastRecords are those of the log that are read for users who take up.
	pastRecords *limits.Rate[domain.UserID]
}

const (
	// pastEvery is how often a user may have the log read as far as resume.log_records allows, which takes half a second of a
	// processor by default.
	pastEvery = time.Minute
	// pastBurst is how often at once, for the devices of one user.
	pastBurst = 4
)

func newRates(cfg configs.Config) rates {
	return rates{
		userFrames:    limits.PerSecond[domain.UserID](cfg.Limit.UserFramesPerSecond),
		userWrites:    limits.PerSecond[domain.UserID](cfg.Limit.UserWritesPerSecond),
		refusals:      limits.New[domain.UserID](throttle.RefusalsPerSecond, throttle.MaxRefusals, time.Now),
		addressLogins: networkRate{limits.PerSecond[netip.Addr](cfg.Limit.AddressLoginsPerSecond)},
		userLogins:    limits.NewLogins(cfg.Limit.UserLoginsPerSecond),
		pastRecords: limits.New[domain.UserID](
			float64(cfg.Resume.LogRecords)/pastEvery.Seconds(), pastBurst*cfg.Resume.LogRecords, time.Now),
	}
}

// networkRate is a rate of the networks that addresses are counted under.
type networkRate struct{ rate *limits.Rate[netip.Addr] }

// Take implements rest.AddressRate and throttle.AddressRate.
func (r networkRate) Take(address netip.Addr, n int) time.Duration {
	return r.rate.Take(network.Of(address), n)
}

// Wait implements rest.AddressRate and throttle.AddressRate.
func (r networkRate) Wait(address netip.Addr, n int) time.Duration {
	return r.rate.Wait(network.Of(address), n)
}

// mayReadPast counts records of the log that are read for a user; false if those of late were too many.
func (r rates) mayReadPast(user domain.UserID, records int64) bool {
	return records == 0 || r.pastRecords.Take(user, int(records)) == 0
}

const (
	trialsPerSecond = 1
	trialBurst      = 20
)

// trialRate bounds the trial users that are made, whoever asks: each is a row in the database.
type trialRate struct{ rate *limits.Rate[struct{}] }

func newTrialRate() trialRate {
	return trialRate{limits.New[struct{}](trialsPerSecond, trialBurst, time.Now)}
}

// Take implements rest.TrialRate.
func (r trialRate) Take(n int) time.Duration { return r.rate.Take(struct{}{}, n) }
