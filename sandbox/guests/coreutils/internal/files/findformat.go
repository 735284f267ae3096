package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// format serves -printf.
func (f *finder) format(s string, e *found) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			if k := strings.IndexByte("abfnrtv\\0", s[i]); k >= 0 {
				b.WriteByte("\a\b\f\n\r\t\v\\\x00"[k])
			} else {
				b.WriteString(s[i-1 : i+1])
			}
		case s[i] == '%' && i+1 < len(s):
			j := i + 1
			for j < len(s) && strings.IndexByte("-0123456789.", s[j]) >= 0 {
				j++
			}
			if j == len(s) {
				b.WriteString(s[i:])
				return b.String()
			}
			text := f.directive(s[j:], e, &j)
			fmt.Fprintf(&b, "%"+s[i+1:i+1+width(s[i+1:])]+"s", text)
			i = j
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func width(s string) int {
	return len(s) - len(strings.TrimLeft(s, "-0123456789."))
}

func (f *finder) directive(s string, e *found, at *int) string {
	st := e.stat
	switch s[0] {
	case '%':
		return "%"
	case 'p':
		return e.path
	case 'f':
		return e.name
	case 'h':
		if d := filepath.Dir(e.path); !strings.Contains(e.path, "/") {
			return "."
		} else {
			return d
		}
	case 'P':
		return strings.TrimPrefix(strings.TrimPrefix(e.path, e.start), "/")
	case 'H':
		return e.start
	case 's':
		return fmt.Sprint(st.Size)
	case 'b':
		return fmt.Sprint(st.Blocks)
	case 'k':
		return fmt.Sprint((st.Blocks + 1) / 2)
	case 'm':
		return fmt.Sprintf("%o", st.Mode&0o7777)
	case 'M':
		return ModeString(st.Mode)
	case 'u':
		return f.names.User(st.UID)
	case 'U':
		return fmt.Sprint(st.UID)
	case 'g':
		return f.names.Group(st.GID)
	case 'G':
		return fmt.Sprint(st.GID)
	case 'i':
		return fmt.Sprint(st.Ino)
	case 'n':
		return fmt.Sprint(st.Nlink)
	case 'd':
		return fmt.Sprint(e.depth)
	case 'l':
		l, _ := os.Readlink(e.path)
		return l
	case 'y':
		k := ModeString(st.Mode)[:1]
		if k == "-" {
			k = "f"
		}
		return k
	case 't', 'a', 'c':
		return map[byte]time.Time{'t': st.Mtime, 'a': st.Atime, 'c': st.Ctime}[s[0]].Format("Mon Jan _2 15:04:05.0000000000 2006")
	case 'T', 'A', 'C':
		if len(s) < 2 {
			return ""
		}
		*at++
		t := map[byte]time.Time{'T': st.Mtime, 'A': st.Atime, 'C': st.Ctime}[s[0]]
		if s[1] == '@' {
			return fmt.Sprintf("%d.%09d0", t.Unix(), t.Nanosecond())
		}
		return FormatTime("%"+s[1:2], t)
	}
	return "%" + s[:1]
}
