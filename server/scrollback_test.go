package server

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestScrollback(t *testing.T) {
	s := scrollback{limit: 1000}
	s.write([]byte("\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?25h"))
	for i := range 200 {
		s.write(fmt.Appendf(nil, "line %d\n", i))
	}
	if len(s.data) > s.limit {
		t.Errorf("%d bytes are kept, the limit is %d", len(s.data), s.limit)
	}
	if !bytes.HasPrefix(s.data, []byte("line ")) {
		t.Errorf("it begins inside a line: %q", s.data[:20])
	}
	if got := string(s.dropped.sequence()); got != "\x1b[?1049h\x1b[?25h\x1b[?2004h" {
		t.Errorf("modes that are on: %q", got)
	}
	if _, ok := s.from(0, 10); ok {
		t.Error("what is dropped is given")
	}
	p, ok := s.from(s.end()-5, 100)
	if !ok || string(p) != " 199\n" {
		t.Errorf("the last bytes are %q", p)
	}
}

func TestMarks(t *testing.T) {
	type ended struct {
		Line   string
		Status int
	}
	for _, test := range []struct {
		name, output string
		want         []ended
		running      string
	}{
		{"a command", "\x1b]133;A\a$ \x1b]133;B\als\r\n\x1b]133;C;cmdline_url=ls%20-l\aout\x1b]133;D;0\a", []ended{{"ls -l", 0}}, ""},
		{"ended by ST", "\x1b]133;C;cmdline_url=false\x1b\\\x1b]133;D;1\x1b\\", []ended{{"false", 1}}, ""},
		{"with semicolons", "\x1b]133;C;cmdline_url=a%3B%20b\a\x1b]133;D;127\a", []ended{{"a; b", 127}}, ""},
		{"still running", "\x1b]133;C;cmdline_url=vi%20x\a", nil, "vi x"},
		{"nothing typed", "\x1b]133;D;130\a\x1b]133;A\a", nil, ""},
		{"another OSC", "\x1b]0;title\a\x1b]133;C;cmdline_url=x\a\x1b]0;133;D;0\a", nil, "x"},
		{"with other options, Hangul", "\x1b]133;C;k=v;cmdline_url=%E3%85%8F%20x\a", nil, "ㅏ x"},
		{"control characters, not UTF-8", "\x1b]133;C;cmdline_url=a%1B%07b%FF\a", nil, "ab\uFFFD"},
		{"no command line", "\x1b]133;C\a\x1b]133;D;0\a", nil, ""},
		{"badly encoded", "\x1b]133;C;cmdline_url=%zz\a", nil, ""},
		{"status no number", "\x1b]133;C;cmdline_url=x\a\x1b]133;D;zero\a", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 3, len(test.output)} { // however it is cut
				var m marks
				var got []ended
				for rest := test.output; rest != ""; rest = rest[min(size, len(rest)):] {
					m.feed([]byte(rest[:min(size, len(rest))]), func(l string, s int) { got = append(got, ended{l, s}) })
				}
				if d := cmp.Diff(test.want, got); d != "" || m.running != test.running {
					t.Errorf("in pieces of %d: running %q (-want +got):\n%s", size, m.running, d)
				}
			}
		})
	}
}

func FuzzMarks(f *testing.F) {
	f.Add([]byte("\x1b]133;C;cmdline_url=ls\a\x1b]133;D;0\a"), 3)
	f.Add([]byte("\x1b\x1b]\x1b]133;"), 1)
	f.Add([]byte(strings.Repeat("\x1b[?25h", 50)), 7)
	f.Fuzz(func(t *testing.T, p []byte, size int) {
		var whole, pieces marks
		var a, b []string
		whole.feed(p, func(l string, s int) { a = append(a, fmt.Sprint(l, s)) })
		size = max(1, size%64)
		for rest := p; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			pieces.feed(rest[:min(size, len(rest))], func(l string, s int) { b = append(b, fmt.Sprint(l, s)) })
		}
		if d := cmp.Diff(a, b); d != "" {
			t.Errorf("cutting changes what is read:\n%s", d)
		}
		if len(whole.buf) > maxMark {
			t.Errorf("%d bytes are kept", len(whole.buf))
		}
		var m modes
		m.feed(p)
		if len(m.order) > 64 || len(m.param) > 32 {
			t.Errorf("%d modes, %d bytes of parameter", len(m.order), len(m.param))
		}
	})
}
