package docker

import (
	"io"
	"strconv"
)

// Names of containers that were given none: a quality and somebody whom computing or seafaring owes something.
var (
	qualities = [...]string{"able", "brave", "bright", "calm", "candid", "clever", "curious", "daring", "deft", "eager", "fair", "fearless", "gentle", "glad", "happy", "hardy", "honest", "jolly",
		"keen", "kind", "lively", "lucid", "merry", "modest", "nimble", "patient", "quick", "quiet", "sharp", "steady", "sunny", "swift", "tidy", "vivid", "warm", "witty"}
	people = [...]string{"ada", "babbage", "bartik", "cerf", "cook", "curie", "dijkstra", "engelbart", "erdos", "euler", "gauss", "hamilton", "hopper", "huygens", "jang", "johnson", "kernighan",
		"knuth", "lamarr", "lamport", "liskov", "lovelace", "magellan", "mirzakhani", "noether", "perlman", "ramanujan", "ritchie", "sejong", "shannon", "thompson", "torvalds", "turing", "wing", "wirth", "yi"}
)

// freeNameLocked is a name that no container has.
func (e *Engine) freeNameLocked() string {
	var b [2]byte
	for n := 0; ; n++ {
		if _, err := io.ReadFull(e.cfg.Machine.Rand(), b[:]); err != nil {
			panic("docker: no randomness: " + err.Error()) // the machine's source has no end
		}
		name := qualities[int(b[0])%len(qualities)] + "_" + people[int(b[1])%len(people)]
		if n > 5 {
			name += strconv.Itoa(n)
		}
		if e.names[name] == nil {
			return name
		}
	}
}
