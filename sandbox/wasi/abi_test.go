package wasi_test

import (
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/drydock-labs/drydock/sandbox/kernel"
)

var update = flag.Bool("update", false, "rewrite testdata/abi.golden")

// TestABIRefusals compares what some ninety wrong calls answer with testdata/abi.golden: pointers outside of memory, lists without end,
// descriptors and numbers that mean nothing. The texts are those of Go's wasip1 errno values.
func TestABIRefusals(t *testing.T) {
	l := newLab(t, newHost(0), kernel.Limits{})
	got := l.run("", "abi")
	if got.code != 0 || got.err != "" {
		t.Fatalf("code %d: %s", got.code, got.err)
	}
	const golden = "testdata/abi.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.out); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
