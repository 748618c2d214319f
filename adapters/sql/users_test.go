package sqlstore

import (
	"math"
	"testing"

	"chatting/domain"
)

func wantKnown(t *testing.T, s *Store, user domain.UserID, want bool) {
	t.Helper()
	known, err := s.Known(t.Context(), user)
	noError(t, err)
	if known != want {
		t.Fatalf("user %d known: %t, want %t", user, known, want)
	}
}

var userContract = map[string]func(*testing.T, database){
	"AUserIsKnownOnceRememberedOnEveryNode": func(t *testing.T, d database) {
		nodes := d.nodes(t, 2)
		wantKnown(t, nodes[0], 7, false)
		wantKnown(t, nodes[1], 7, false)
		noError(t, nodes[0].Remember(t.Context(), 7))
		noError(t, nodes[0].Remember(t.Context(), 7))
		wantKnown(t, nodes[0], 7, true)
		wantKnown(t, nodes[1], 7, true)
		noError(t, nodes[1].Remember(t.Context(), 7))
		wantKnown(t, nodes[1], 8, false)
	},
	"AnyNumberCanBeAskedFor": func(t *testing.T, d database) {
		s := d.migrated(t)
		ids := []domain.UserID{math.MinInt64, -7, 0, 1<<53 + 1, math.MaxInt64}
		for _, id := range ids {
			wantKnown(t, s, id, false)
		}
		noError(t, s.Remember(t.Context(), math.MaxInt64))
		noError(t, s.Remember(t.Context(), 1<<53))
		other := d.open(t)
		wantKnown(t, other, math.MaxInt64, true)
		wantKnown(t, other, math.MaxInt64-1, false)
		wantKnown(t, other, 1<<53+1, false)
	},
	"AKnownUserIsRememberedWithoutTheDatabase": func(t *testing.T, d database) {
		s := d.migrated(t)
		noError(t, s.Remember(t.Context(), 7))
		other := d.open(t)
		wantKnown(t, other, 7, true)
		for _, node := range []*Store{s, other} {
			noError(t, node.Close())
			wantKnown(t, node, 7, true)
			noError(t, node.Remember(t.Context(), 7))
			if _, err := node.Known(t.Context(), 8); err == nil {
				t.Error("a closed database told that 8 is unknown")
			}
		}
	},
	"OneUserRememberedAtOnceIsNoError": func(t *testing.T, d database) {
		nodes := d.nodes(t, 3)
		atOnce(30, func(i int) {
			if err := nodes[i%len(nodes)].Remember(t.Context(), 7); err != nil {
				t.Error(err)
			}
		})
		wantKnown(t, nodes[0], 7, true)
	},
}
