package kernel

import (
	"strings"
	"testing"
)

func TestParseScript(t *testing.T) {
	for _, c := range []struct {
		head        string
		interpreter string
		arg         string
		ok          bool
	}{
		{"#!/bin/sh\n", "/bin/sh", "", true},
		{"#! /bin/sh -e -x \nrest", "/bin/sh", "-e -x", true},
		{"#!\t/usr/bin/env\tbash\r\n", "/usr/bin/env", "bash", true},
		{"#!/bin/sh", "/bin/sh", "", true},
		{"#!\n", "", "", false},
		{"#!/a\x00b\n", "", "", false},
		{"#!" + strings.Repeat("x", 300), "", "", false},
	} {
		head := c.head[:min(len(c.head), scriptLine+1)]
		i, a, ok := parseScript([]byte(head))
		if i != c.interpreter || a != c.arg || ok != c.ok {
			t.Errorf("%q: %q %q %v, want %q %q %v", c.head, i, a, ok, c.interpreter, c.arg, c.ok)
		}
	}
}

func FuzzParseScript(f *testing.F) {
	f.Add([]byte("#!/bin/sh -e\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if len(head) < 2 || len(head) > scriptLine+1 {
			return
		}
		i, a, ok := parseScript(head)
		if ok && (i == "" || strings.ContainsAny(i+a, "\x00\n") || strings.ContainsAny(i, " \t")) {
			t.Errorf("%q: %q %q", head, i, a)
		}
	})
}
