package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"chatting/test/storm/check"
)

// sabotage is a change of the server that breaks a promise: a run with it has to find that.
type sabotage struct {
	what string
	// file is changed for the build of the nodes alone: in it, to takes the place of from.
	file, from, to string
	// breaks is the rule that a run finds broken.
	breaks check.Rule
}

// sabotageList has sabotages by what -sabotage calls them.
type sabotageList map[string]sabotage

var sabotages = sabotageList{
	"drop": {
		what: "a connection is not given some of the frames",
		file: "application/delivery/attachment.go",
		from: "\tif a.stamps() {\n\t\ta.conn.Stamp(a.token())\n\t}\n\tswitch {",
		to: "\tif h.sender != a.recipient.user && h.at.Offset%50 == 0 {\n\t\treturn\n\t}\n" +
			"\tif a.stamps() {\n\t\ta.conn.Stamp(a.token())\n\t}\n\tswitch {",
		breaks: check.RuleDelivered,
	},
	"block": {
		what:   "a block hides nothing",
		file:   "domain/block.go",
		from:   "{ return l.entries[sender].blocked }",
		to:     "{ return false }",
		breaks: check.RuleBlock,
	},
	"repeat": {
		what:   "a client that takes up gets what it missed twice",
		file:   "application/replay/take_up.go",
		from:   "\t\tt.hand(entries[:n], behind[:n])\n",
		to:     "\t\tt.hand(entries[:n], behind[:n])\n\t\tt.hand(entries[:n], behind[:n])\n",
		breaks: check.RuleOnce,
	},
	"presence": {
		what:   "a session whose last connection ended does not end",
		file:   "domain/presence.go",
		from:   "return held.incarnation == record.Incarnation && held.count <= record.Count",
		to:     "return false",
		breaks: check.RulePresence,
	},
	"mute": {
		what:   "what a muted user says is shown",
		file:   "domain/acts.go",
		from:   "case mute.Restricts(ActMute, at):",
		to:     "case mute.Restricts(ActMute, at) && false:",
		breaks: check.RuleAct,
	},
	"history": {
		what:   "some of what was said does not come into the history",
		file:   "adapters/kafka/projector/projection.go",
		from:   "\tcase err != nil:\n\t\th.skipped++\n",
		to:     "\tcase err != nil, r.Offset%50 == 0:\n\t\th.skipped++\n",
		breaks: check.RuleHistory,
	},
}

// names lists them.
func (l sabotageList) names() string { return strings.Join(slices.Sorted(maps.Keys(l)), ", ") }

// changed returns the text of the file that a sabotage changes, by its path; nothing for "".
func (l sabotageList) changed(name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	broken := l[name]
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "..", "..", filepath.FromSlash(broken.file))
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(source), broken.from); n != 1 {
		return nil, fmt.Errorf("%s has %d places that say %q, not one", broken.file, n, broken.from)
	}
	return map[string]string{path: strings.Replace(string(source), broken.from, broken.to, 1)}, nil
}
