// Package files has the utilities that look at and change files: ls, cp, mv, rm, stat, chmod and their kin.
// Modes and owners are Linux's; it knows nothing of file contents.
package files

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/drydock-labs/drydock/sandbox/guests/sys"
)

// Names looks users and groups up in /etc/passwd and /etc/group, once each.
type Names struct {
	users, groups map[uint32]string
}

func load(path string) map[uint32]string {
	m := map[uint32]string{}
	f, err := os.Open(path)
	if err != nil {
		return m
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		p := strings.Split(sc.Text(), ":")
		if len(p) > 2 {
			if id, err := strconv.ParseUint(p[2], 10, 32); err == nil {
				if _, seen := m[uint32(id)]; !seen {
					m[uint32(id)] = p[0]
				}
			}
		}
	}
	return m
}

// User is the name of a user id, or its number.
func (n *Names) User(id uint32) string {
	if n.users == nil {
		n.users = load("/etc/passwd")
	}
	return nameOr(n.users, id)
}

// Group is the name of a group id, or its number.
func (n *Names) Group(id uint32) string {
	if n.groups == nil {
		n.groups = load("/etc/group")
	}
	return nameOr(n.groups, id)
}

func nameOr(m map[uint32]string, id uint32) string {
	if s, ok := m[id]; ok {
		return s
	}
	return strconv.FormatUint(uint64(id), 10)
}

// lookup finds the id of a name in /etc/passwd or /etc/group; a number is itself.
func lookup(path, name string) (uint32, bool) {
	for id, n := range load(path) {
		if n == name {
			return id, true
		}
	}
	id, err := strconv.ParseUint(name, 10, 32)
	return uint32(id), err == nil
}

// ModeString is a mode as ls -l shows it.
func ModeString(m uint32) string {
	b := []byte("?rwxrwxrwx")
	switch m & sys.S_IFMT {
	case sys.S_IFREG:
		b[0] = '-'
	case sys.S_IFDIR:
		b[0] = 'd'
	case sys.S_IFLNK:
		b[0] = 'l'
	case sys.S_IFCHR:
		b[0] = 'c'
	case sys.S_IFBLK:
		b[0] = 'b'
	case sys.S_IFIFO:
		b[0] = 'p'
	case sys.S_IFSOCK:
		b[0] = 's'
	}
	for i := range 9 {
		if m>>(8-i)&1 == 0 {
			b[1+i] = '-'
		}
	}
	special := func(bit uint32, at int, with, without byte) {
		if m&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = with
		} else {
			b[at] = without
		}
	}
	special(sys.S_ISUID, 3, 's', 'S')
	special(sys.S_ISGID, 6, 's', 'S')
	special(sys.S_ISVTX, 9, 't', 'T')
	return string(b)
}

// Human writes a size in powers of base (1024 or 1000), rounded up as ls -h and du -h do.
func Human(n uint64, base float64) string {
	if n < uint64(base) {
		return strconv.FormatUint(n, 10)
	}
	units := "KMGTPE"
	if base == 1000 {
		units = "kMGTPE"
	}
	v := float64(n)
	i := -1
	for v >= base && i < len(units)-1 {
		v /= base
		i++
	}
	if v < 10 {
		t := ceil(v * 10)
		if t < 100 {
			return fmt.Sprintf("%d.%d%c", int(t)/10, int(t)%10, units[i])
		}
		v = t / 10
	}
	v = ceil(v)
	if v >= base && i < len(units)-1 {
		return fmt.Sprintf("1.0%c", units[i+1])
	}
	return fmt.Sprintf("%d%c", int(v), units[i])
}

func ceil(v float64) float64 {
	i := float64(int64(v))
	if v > i {
		i++
	}
	return i
}

// typeName is what stat and file call a kind of file.
func typeName(st sys.Stat) string {
	switch st.Mode & sys.S_IFMT {
	case sys.S_IFREG:
		if st.Size == 0 {
			return "regular empty file"
		}
		return "regular file"
	case sys.S_IFDIR:
		return "directory"
	case sys.S_IFLNK:
		return "symbolic link"
	case sys.S_IFCHR:
		return "character special file"
	case sys.S_IFBLK:
		return "block special file"
	case sys.S_IFIFO:
		return "fifo"
	case sys.S_IFSOCK:
		return "socket"
	}
	return "weird file"
}
