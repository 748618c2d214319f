package conversations_test

import (
	"fmt"
	"os"
	"testing"
)

var historyContract = map[string]func(*testing.T, testDB){
	"TheHistoryIsWhatTheLogSaysHoweverItIsCutRebuiltRacedForAndErased": func(t *testing.T, d testDB) {
		walkModel(t, d, false)
	},
	"TheHistoryIsWhatTheLogSaysThoughItLosesWhatWasNotProjected": func(t *testing.T, d testDB) {
		walkModel(t, d, true)
	},
}

// walkModel does random things to random logs and compares the history with the model.
func walkModel(t *testing.T, d testDB, gaps bool) {
	s := d.migrated(t)
	for seed := range modelWalks() {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s.db.Writer.MustExecContext(t.Context(), "DELETE FROM messages")
			for _, table := range []string{"block_changes", "projections", "erasures", "blocks", "outbox", "conversation_marks"} {
				s.db.Writer.MustExecContext(t.Context(), "DELETE FROM "+table)
			}
			m := newModelLog(t, seed, s, gaps)
			for range 4 {
				for range 60 {
					m.step()
					m.wantKept()
				}
				m.wantModel()
			}
			for i := range m.partitions {
				m.rebuild(i)
			}
			m.wantModel()
		})
	}
}

// modelWalks is how many random walks are made: few, unless CHATTING_TEST_SCALE=full.
func modelWalks() uint64 {
	if os.Getenv("CHATTING_TEST_SCALE") == "full" {
		return 300
	}
	return 8
}
