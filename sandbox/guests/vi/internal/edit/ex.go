package edit

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// startLine begins to read a line: an Ex command or a pattern.
func (e *Editor) startLine(c command) {
	e.line = nil
	switch c.key {
	case ':':
		e.mode = colon
		if c.count > 0 {
			e.line = []rune(".,.+" + strconv.Itoa(c.count-1))
		}
	case '/':
		e.mode, e.direction = search, 1
	case '?':
		e.mode, e.direction = search, -1
	}
}

// maxLine bounds what is typed on the last line.
const maxLine = 4096

func (e *Editor) pressLine(k Key) {
	switch k {
	case esc, ctrl('c'):
		e.mode = normal
	case backspace, ctrl('h'):
		if len(e.line) == 0 {
			e.mode = normal
			return
		}
		e.line = e.line[:len(e.line)-1]
	case ctrl('u'):
		e.line = nil
	case ctrl('w'):
		n := len(e.line)
		for n > 0 && isBlank(e.line[n-1]) {
			n--
		}
		for n > 0 && !isBlank(e.line[n-1]) {
			n--
		}
		e.line = e.line[:n]
	case enter, ctrl('j'):
		was := e.mode
		e.mode = normal
		e.message = ""
		if was == colon {
			e.ex(string(e.line))
			return
		}
		e.runSearch(string(e.line))
	default:
		if k >= ' ' && len(e.line) < maxLine {
			e.line = append(e.line, rune(k))
		}
	}
}

var exName = regexp.MustCompile(`^[a-zA-Z]+|^[=<>!]`)

// ex runs an Ex command.
func (e *Editor) ex(text string) {
	text = strings.TrimLeft(text, ": \t")
	from, to, rest, ok := e.addresses(text)
	if !ok {
		e.say("E16: Invalid range")
		return
	}
	ranged := len(rest) < len(text)
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" {
		if ranged {
			e.moveTo(pos{to, firstNonBlank(e.lines[to])})
		}
		return
	}
	name := exName.FindString(rest)
	arg := rest[len(name):]
	if name == "s" || name == "substitute" {
		e.substitute(from, to, arg)
		return
	}
	force := strings.HasPrefix(arg, "!")
	arg = strings.TrimSpace(strings.TrimPrefix(arg, "!"))
	if !e.exFile(name, arg, force, ranged, from, to) && !e.exText(name, arg, from, to) {
		e.say("E492: Not an editor command: %s", text)
	}
}

// exFile are the commands about files and leaving.
func (e *Editor) exFile(name, arg string, force, ranged bool, from, to int) bool {
	if !ranged {
		from, to = 0, len(e.lines)-1
	}
	switch name {
	case "w", "write":
		e.save(arg, from, to+1, force)
	case "wq", "x", "xit", "exit", "wqa", "xa":
		if name[0] != 'w' && !e.modified() && arg == "" {
			e.quit = true
			return true
		}
		e.quit = e.save(arg, from, to+1, force)
	case "q", "quit", "qa", "qall":
		if e.modified() && !force {
			e.say("E37: No write since last change (add ! to override)")
			return true
		}
		e.quit = true
	case "cq", "cquit":
		e.quit = true
	case "e", "edit":
		switch {
		case e.modified() && !force:
			e.say("E37: No write since last change (add ! to override)")
		case arg == "" && e.name == "":
			e.say("E32: No file name")
		case arg == "":
			e.load(e.name)
		default:
			e.load(arg)
		}
	case "r", "read":
		e.read(arg, to, ranged)
	case "f", "file":
		if arg != "" {
			e.name = arg
		}
		e.execute(command{key: ctrl('g')})
	case "!", "sh", "shell":
		e.say("Leave with Ctrl-Z to reach the shell, and come back with fg")
	default:
		return false
	}
	return true
}

// read inserts a file below a line.
func (e *Editor) read(name string, after int, ranged bool) {
	if name == "" {
		name = e.name
	}
	if name == "" {
		e.say("E32: No file name")
		return
	}
	data, err := e.files.Read(name, maxFile)
	if err != nil {
		e.say("E484: Can't open file %s", name)
		return
	}
	if !ranged {
		after = e.cursor.line
	}
	lines, _ := decodeText(data)
	e.change(e.cursor)
	e.lines = slices.Insert(e.lines, after+1, lines...)
	e.moveTo(pos{min(after+1, len(e.lines)-1), 0})
	e.say("%q %dL, %dB", name, len(lines), len(data))
}

// exText are the commands about text and settings.
func (e *Editor) exText(name, arg string, from, to int) bool {
	switch name {
	case "d", "delete":
		e.applyLines('d', from, to, from)
	case "y", "yank":
		at := e.cursor
		e.applyLines('y', from, to, from)
		e.cursor = at
	case "j", "join":
		e.cursor.line = from
		e.join(max(to-from, 1))
	case ">", "<":
		e.applyLines(Key(name[0]), from, to, from)
	case "pu", "put":
		e.cursor.line = to
		e.put(command{key: 'p'})
	case "u", "undo":
		e.undoRedo(command{key: 'u'})
	case "red", "redo":
		e.undoRedo(command{key: ctrl('r')})
	case "se", "set":
		e.set(arg)
	case "=":
		e.say("%d", to+1)
	case "noh", "nohlsearch", "syntax", "sy", "syn":
	default:
		return false
	}
	return true
}

func (e *Editor) set(arg string) {
	for o := range strings.FieldsSeq(arg) {
		name, value, has := strings.Cut(o, "=")
		on := !strings.HasPrefix(name, "no") || name == "nowrap"
		switch strings.TrimPrefix(name, map[bool]string{false: "no"}[on]) {
		case "nu", "number":
			e.number = on
		case "ai", "autoindent":
			e.indent = on
		case "et", "expandtab":
			e.expand = on
		case "ro", "readonly":
			e.readOnly = on
		case "paste":
			e.indent, e.expand = e.indent && !on, e.expand && !on
		case "sw", "shiftwidth", "ts", "tabstop", "sts", "softtabstop":
			n, err := strconv.Atoi(value)
			if !has || err != nil || n < 1 || n > 80 {
				e.say("E521: Number required after =: %s", o)
				return
			}
			if name == "sw" || name == "shiftwidth" {
				e.shift = n
			} else { // tabs themselves stay eight wide, as everybody else sees them
				e.tab = n
			}
		case "hls", "hlsearch", "is", "incsearch", "ic", "ignorecase", "list", "ruler", "ru", "nocp", "compatible", "cp":
		default:
			e.say("E518: Unknown option: %s", o)
			return
		}
	}
}

// addresses reads the range before a command: none is the cursor's line.
func (e *Editor) addresses(text string) (from, to int, rest string, ok bool) {
	from, to = e.cursor.line, e.cursor.line
	if r, found := strings.CutPrefix(text, "%"); found {
		return 0, len(e.lines) - 1, r, true
	}
	a, rest, found, ok := e.address(text)
	if !ok {
		return 0, 0, text, false
	}
	if found {
		from, to = a, a
	}
	if r, comma := strings.CutPrefix(strings.TrimLeft(rest, " "), ","); comma {
		b, r2, found, ok := e.address(strings.TrimLeft(r, " "))
		if !ok {
			return 0, 0, text, false
		}
		if rest, to = r2, b; !found {
			to = e.cursor.line
		}
	}
	to = min(to, len(e.lines)-1)
	return from, to, rest, from >= 0 && from <= to
}

// address reads a line's number, ".", "$", with +N and -N behind.
func (e *Editor) address(text string) (line int, rest string, found, ok bool) {
	digits := func(s string) int { return len(s) - len(strings.TrimLeft(s, "0123456789")) }
	line, rest = e.cursor.line, text
	switch {
	case strings.HasPrefix(text, "."):
		rest, found = text[1:], true
	case strings.HasPrefix(text, "$"):
		line, rest, found = len(e.lines)-1, text[1:], true
	case digits(text) > 0:
		n, err := strconv.Atoi(text[:digits(text)])
		if err != nil {
			return 0, "", false, false
		}
		line, rest, found = max(n-1, 0), text[digits(text):], true
	}
	for rest != "" && (rest[0] == '+' || rest[0] == '-') {
		sign := map[byte]int{'+': 1, '-': -1}[rest[0]]
		n, size := 1, digits(rest[1:])
		if size > 0 {
			var err error
			if n, err = strconv.Atoi(rest[1 : 1+size]); err != nil || n > 1<<30 {
				return 0, "", false, false
			}
		}
		line, rest, found = line+sign*n, rest[1+size:], true
	}
	return line, rest, found, true
}

// substitute is :s/PATTERN/TEXT/FLAGS over lines.
func (e *Editor) substitute(from, to int, arg string) {
	if arg == "" {
		return
	}
	sep, size := utf8.DecodeRuneInString(arg)
	parts := splitUnescaped(arg[size:], sep)
	for len(parts) < 3 {
		parts = append(parts, "")
	}
	if parts[0] == "" {
		parts[0] = e.pattern
	}
	flags := parts[2]
	re, err := compile(parts[0], strings.Contains(flags, "i"))
	if err != nil {
		e.say("E486: Pattern not found: %s", parts[0])
		return
	}
	e.pattern = parts[0]
	count, lines, last := 0, 0, 0
	for i := from; i <= to; i++ {
		text, n := substituteLine(re, string(e.lines[i]), parts[1], strings.Contains(flags, "g"))
		if n == 0 {
			continue
		}
		e.change(e.cursor)
		put, _ := decodeText([]byte(text))
		if len(put) == 0 {
			put = [][]rune{nil}
		}
		e.lines = slices.Replace(e.lines, i, i+1, put...)
		i += len(put) - 1
		to += len(put) - 1
		count, lines, last = count+n, lines+1, i
	}
	if count == 0 {
		e.say("E486: Pattern not found: %s", parts[0])
		return
	}
	e.moveTo(pos{last, firstNonBlank(e.lines[last])})
	if count > 2 {
		e.say("%d substitutions on %d line%s", count, lines, map[bool]string{true: "s"}[lines > 1])
	}
}

// splitUnescaped parts s at sep where no backslash stands before it; an escaped sep loses its backslash.
func splitUnescaped(s string, sep rune) (parts []string) {
	var b strings.Builder
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			if r != sep {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == sep && len(parts) < 2:
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	if escaped {
		b.WriteByte('\\')
	}
	return append(parts, b.String())
}

func substituteLine(re *regexp.Regexp, line, with string, all bool) (string, int) {
	limit := 1
	if all {
		limit = -1
	}
	found := re.FindAllStringSubmatchIndex(line, limit)
	var b strings.Builder
	at := 0
	for _, m := range found {
		b.WriteString(line[at:m[0]])
		expandReplacement(&b, with, line, m)
		at = m[1]
	}
	return b.String() + line[at:], len(found)
}

// expandReplacement writes the text of a substitution: & and \0 to \9 stand for what matched, \n and \r for a line break.
func expandReplacement(b *strings.Builder, with, line string, m []int) {
	group := func(n int) {
		if 2*n+1 < len(m) && m[2*n] >= 0 {
			b.WriteString(line[m[2*n]:m[2*n+1]])
		}
	}
	for i := 0; i < len(with); i++ {
		switch c := with[i]; {
		case c == '&':
			group(0)
		case c == '\\' && i+1 < len(with):
			i++
			switch d := with[i]; {
			case d >= '0' && d <= '9':
				group(int(d - '0'))
			case d == 'n', d == 'r':
				b.WriteByte('\n')
			case d == 't':
				b.WriteByte('\t')
			default:
				b.WriteByte(d)
			}
		default:
			b.WriteByte(c)
		}
	}
}
