// Package generated makes upstream leave generated names to the cluster: it replaces the name generator that upstream's strategies copy
// while they are initialised by one that answers with a sentinel. Whoever knows the cluster (the start of a create, the service account
// admission) puts the cluster's own suffix in its place, so that one seed gives the same names again.
//
// It imports nothing else, so that Go initialises it before upstream's registries: packages that are ready are initialised in the order of
// their import paths, and this one's sorts before "k8s.io/". A test guards that.
package generated

import "k8s.io/apiserver/pkg/storage/names"

// Sentinel stands for a generated suffix. Upstream's alphabet has neither 0 nor 1, so no generated name ends like this.
const Sentinel = "01010"

// maxLength bounds the base so that base and suffix fit a DNS label, as upstream does (names.MaxGeneratedNameLength).
const maxLength = 63 - len(Sentinel)

// Base is the part of generateName that stays in the name.
func Base(generateName string) string {
	if len(generateName) > maxLength {
		return generateName[:maxLength]
	}
	return generateName
}

type generator struct{}

func (generator) GenerateName(base string) string { return Base(base) + Sentinel }

func init() { names.SimpleNameGenerator = generator{} }
