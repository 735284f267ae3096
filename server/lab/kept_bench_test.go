package lab

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

func report(b *testing.B, times []time.Duration, unit time.Duration, name string) {
	slices.Sort(times)
	for _, q := range []struct {
		name  string
		share float64
	}{{"p50", .5}, {"p99", .99}} {
		b.ReportMetric(float64(times[min(len(times)-1, int(q.share*float64(len(times))))])/float64(unit), q.name+"-"+name)
	}
}

// BenchmarkWake is a lab that was used and slept, from the first touch to the prompt of a shell.
func BenchmarkWake(b *testing.B) {
	h, _ := keptHost(b, b.TempDir())
	l, err := h.New(context.Background(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	id := l.ID()
	if out, code, err := l.Run(context.Background(), "kubectl create deployment web --image=nginx --replicas=3 && kubectl rollout status deployment/web && docker run --name one busybox true"); err != nil || code != 0 {
		b.Fatal(string(out), code, err)
	}
	var times []time.Duration
	for b.Loop() {
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if l, err = h.Open(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		t, err := l.Terminal(Workstation, 24, 80, "en")
		if err != nil {
			b.Fatal(err)
		}
		for seen := []byte(nil); !bytes.Contains(seen, []byte("$ ")); {
			p, err := t.Read(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			seen = append(seen, p...)
		}
		times = append(times, time.Since(began))
		t.Close()
	}
	report(b, times, time.Millisecond, "ms")
}

// BenchmarkKeptWrite is a write to the API, with and without a journal.
func BenchmarkKeptWrite(b *testing.B) {
	for _, row := range []struct {
		name string
		kept bool
	}{{"kept", true}, {"not", false}} {
		b.Run(row.name, func(b *testing.B) {
			var l *Lab
			if row.kept {
				h, _ := keptHost(b, b.TempDir())
				var err error
				if l, err = h.New(context.Background(), Options{Nodes: 1}); err != nil {
					b.Fatal(err)
				}
			} else {
				l = newTestLab(b, Options{Nodes: 1})
			}
			var times []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				if err := configMap(l, fmt.Sprintf("map-%d", i)); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(began))
			}
			report(b, times, time.Microsecond, "µs")
		})
	}
}
