package journal

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkAppend: what an API write pays for its record, 1.4 kB as ENGINE.md counts them: alone, and with 40 labs that write at the same time.
func BenchmarkAppend(b *testing.B) {
	for _, labs := range []int{1, 40} {
		b.Run(fmt.Sprintf("labs=%d", labs), func(b *testing.B) {
			j := open(b, Config{Dir: b.TempDir()})
			var writers []*Writer
			for l := range labs {
				w, _, _ := own(b, j, fmt.Sprint("lab-", l))
				writers = append(writers, w)
			}
			payload := make([]byte, 1400)
			took := make([]time.Duration, 0, b.N)
			var durable []time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				ticket, err := writers[i%labs].Append(1, payload)
				took = append(took, time.Since(began))
				if err != nil {
					b.Fatal(err)
				}
				if i%1000 == 999 { // the pace of a server, not that of a copy
					if err := ticket.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
					durable = append(durable, time.Since(began))
				}
			}
			report(b, took, "µs", time.Microsecond)
			report(b, durable, "durable-ms", time.Millisecond)
		})
	}
}

// report prints the median and the 99th percentile.
func report(b *testing.B, d []time.Duration, unit string, in time.Duration) {
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	b.ReportMetric(float64(d[len(d)/2])/float64(in), "p50-"+unit)
	b.ReportMetric(float64(d[len(d)*99/100])/float64(in), "p99-"+unit)
}

// BenchmarkReopen: 200 labs with 2,000 records of 1.4 kB each: opening the folder, waking one lab, and waking all.
func BenchmarkReopen(b *testing.B) {
	if os.Getenv("DRYDOCK_BENCH") == "" {
		b.Skip("writes 560 MB; DRYDOCK_BENCH=1 runs it")
	}
	const labs, records = 200, 2000
	cfg := Config{Dir: b.TempDir()}
	j := open(b, cfg)
	payload := make([]byte, 1400)
	for l := range labs {
		w, _, _ := own(b, j, fmt.Sprint("lab-", l))
		for range records {
			if _, err := w.Append(1, payload); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	j.Close()
	for _, n := range []int{0, 1, labs} {
		b.Run(fmt.Sprintf("woken=%d", n), func(b *testing.B) {
			for b.Loop() {
				j := open(b, cfg)
				if known, err := j.Labs(); err != nil || len(known) != labs {
					b.Fatal(len(known), err)
				}
				for l := range n {
					if _, _, err := j.Own(fmt.Sprint("lab-", l), 0, func(Record) error { return nil }); err != nil {
						b.Fatal(err)
					}
				}
				if err := j.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms")
		})
	}
}

// BenchmarkOwn: a new lab's first owner, while nobody else writes: what the journal adds to making a lab.
func BenchmarkOwn(b *testing.B) {
	j := open(b, Config{Dir: b.TempDir()})
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		if _, _, err := j.Own(fmt.Sprint("lab-", i), 0, nil); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		if i%100 == 99 {
			if err := j.Sync(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, took, "µs", time.Microsecond)
}
