package awk

import (
	"bufio"
	"io"
	"strings"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/guests/coreutils/internal/applet"
)

// FuzzParse gives the parser any text: it compiles or says where it is wrong.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"{print $1}", "BEGIN{for(k in a) if (k ~ /x/) delete a[k]}", "function f(x){return x} END{print f(1) > \"o\"}", "a = b ? c : d", "$NF-- /x/ | getline", "{print (1,2)(3)}", "((((", "/[/]/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1<<16 {
			return
		}
		p, err := parse(src)
		if err == nil {
			if p == nil {
				t.Error("neither program nor error")
			}
			return
		}
		if e, ok := err.(*syntaxError); !ok || e.at < 0 || e.at > len(src) || e.text == "" {
			t.Errorf("%#v", err)
		}
	})
}

// FuzzFormat formats anything in bounded space.
func FuzzFormat(f *testing.F) {
	f.Add("%5.2f %s %d%%", 3.5, "x")
	f.Add("%*d %-*s %c %#x", -1.0, "")
	f.Fuzz(func(t *testing.T, format string, n float64, s string) {
		if strings.Count(format, "%") > 4 {
			return
		}
		sprintf(format, []value{num(n), str(s), num(n), input(s)}, "%.6g")
	})
}

// TestDeepNesting refuses programs that would need a deep stack.
func TestDeepNesting(t *testing.T) {
	for _, src := range []string{"BEGIN{x=" + strings.Repeat("(", 100000), "BEGIN{x=" + strings.Repeat("-", 100000) + "1}", "BEGIN" + strings.Repeat("{", 100000), "{" + strings.Repeat("if(1)", 100000), "{print " + strings.Repeat("$", 100000) + "1}",
		"{x=" + strings.Repeat("1?", 100000), "{x=" + strings.Repeat("a[", 100000), "{x=" + strings.Repeat("f(", 100000), "{x=" + strings.Repeat("1^", 100000), "{" + strings.Repeat("x=", 100000)} {
		if _, err := parse(src); err == nil {
			t.Errorf("%.20q… was accepted", src)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	prog, err := parse("{s += $2; c[$1]++} END {print s, length(c)}")
	if err != nil {
		b.Fatal(err)
	}
	text := strings.Repeat("web 10\ndb 20\n", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c := &applet.Cmd{Name: "awk", Stdin: strings.NewReader(text), Out: bufio.NewWriter(io.Discard), Stderr: io.Discard}
		newInterp(c, prog, nil).program()
	}
}
