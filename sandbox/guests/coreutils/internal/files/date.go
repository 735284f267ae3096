package files

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// FormatTime formats a time by date(1)'s and strftime(3)'s directives.
func FormatTime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		flag := byte(0)
		if strings.IndexByte("-_0^#", format[i]) >= 0 && i+1 < len(format) {
			flag = format[i]
			i++
		}
		start := i
		for i < len(format)-1 && format[i] >= '0' && format[i] <= '9' {
			i++
		}
		width, _ := strconv.Atoi(format[start:i])
		colons := 0
		for format[i] == ':' && i+1 < len(format) {
			colons++
			i++
		}
		s := directive(format[i], colons, width, t)
		switch flag {
		case '-':
			if trimmed := strings.TrimLeft(s, "0 "); trimmed != "" || s == "" {
				s = trimmed
			} else {
				s = "0"
			}
		case '_':
			for k := 0; k < len(s)-1 && s[k] == '0'; k++ {
				s = s[:k] + " " + s[k+1:]
			}
		case '^':
			s = strings.ToUpper(s)
		}
		if format[i] != 'N' && width > len(s) {
			s = strings.Repeat("0", width-len(s)) + s
		}
		b.WriteString(s)
	}
	return b.String()
}

func directive(d byte, colons, width int, t time.Time) string {
	year, week := t.ISOWeek()
	switch d {
	case '%':
		return "%"
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case 'a':
		return t.Format("Mon")
	case 'A':
		return t.Format("Monday")
	case 'b', 'h':
		return t.Format("Jan")
	case 'B':
		return t.Format("January")
	case 'c':
		return t.Format("Mon Jan _2 15:04:05 2006")
	case 'C':
		return fmt.Sprintf("%02d", t.Year()/100)
	case 'd':
		return t.Format("02")
	case 'D', 'x':
		return t.Format("01/02/06")
	case 'e':
		return t.Format("_2")
	case 'F':
		return t.Format("2006-01-02")
	case 'g':
		return fmt.Sprintf("%02d", year%100)
	case 'G':
		return fmt.Sprint(year)
	case 'H':
		return t.Format("15")
	case 'I':
		return t.Format("03")
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 'k':
		return fmt.Sprintf("%2d", t.Hour())
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1)
	case 'm':
		return t.Format("01")
	case 'M':
		return t.Format("04")
	case 'N':
		n := fmt.Sprintf("%09d", t.Nanosecond())
		if width > 0 && width < 9 {
			n = n[:width]
		}
		return n
	case 'p':
		return t.Format("PM")
	case 'P':
		return t.Format("pm")
	case 'r':
		return t.Format("03:04:05 PM")
	case 'R':
		return t.Format("15:04")
	case 's':
		return fmt.Sprint(t.Unix())
	case 'S':
		return t.Format("05")
	case 'T', 'X':
		return t.Format("15:04:05")
	case 'u':
		return fmt.Sprint((int(t.Weekday())+6)%7 + 1)
	case 'U':
		return fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7)
	case 'V':
		return fmt.Sprintf("%02d", week)
	case 'w':
		return fmt.Sprint(int(t.Weekday()))
	case 'W':
		return fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7)
	case 'y':
		return t.Format("06")
	case 'Y':
		return t.Format("2006")
	case 'z':
		if colons > 0 {
			return t.Format("-07:00")
		}
		return t.Format("-0700")
	case 'Z':
		return t.Format("MST")
	}
	return "%" + string(d)
}

// layouts are the fixed forms of date -d and touch -d.
var layouts = [...]string{"2006-01-02T15:04:05Z07:00", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST", "2006-01-02T15:04:05", "2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04", "2006-01-02", "2006/01/02", "01/02/2006", "Mon Jan _2 15:04:05 MST 2006", "Mon, 02 Jan 2006 15:04:05 -0700", "Mon, 02 Jan 2006 15:04:05 MST",
	"Jan 2 2006", "2 Jan 2006", "2 January 2006", "January 2 2006", "Jan 2, 2006", "20060102"}

var errDate = errors.New("invalid date")

// ParseDate reads the dates people give to date -d: fixed forms, @seconds, now, today, yesterday, tomorrow,
// "3 days ago", "+2 hours", "next week", and a date followed by such an offset.
func ParseDate(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		f, err := strconv.ParseFloat(rest, 64)
		if err != nil {
			return time.Time{}, errDate
		}
		sec := int64(f)
		return time.Unix(sec, int64((f-float64(sec))*1e9)).In(now.Location()), nil
	}
	for _, l := range layouts {
		if t, err := time.ParseInLocation(l, s, now.Location()); err == nil {
			return t.In(now.Location()), nil
		}
	}
	fields := strings.Fields(strings.ToLower(s))
	if len(fields) == 0 {
		return midnight(now), nil
	}
	for n := min(len(fields), 3); n > 0; n-- { // a date with an offset behind it
		head := strings.Join(strings.Fields(s)[:n], " ")
		for _, l := range layouts {
			if t, err := time.ParseInLocation(l, head, now.Location()); err == nil && n < len(fields) {
				return relative(fields[n:], t, now)
			}
		}
	}
	for n := min(len(fields)-1, 3); n > 0; n-- { // or in front of it
		at := len(fields) - n
		tail := strings.Join(strings.Fields(s)[at:], " ")
		for _, l := range layouts {
			if t, err := time.ParseInLocation(l, tail, now.Location()); err == nil {
				return relative(fields[:at], t, now)
			}
		}
	}
	return relative(fields, now, now)
}

func midnight(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
}

func relative(fields []string, t, now time.Time) (time.Time, error) {
	for i := 0; i < len(fields); i++ {
		f := fields[i]
		switch f {
		case "now", "today", "and":
			continue
		case "yesterday":
			t = t.AddDate(0, 0, -1)
			continue
		case "tomorrow":
			t = t.AddDate(0, 0, 1)
			continue
		case "midnight":
			t = midnight(t)
			continue
		case "utc", "z":
			t = t.UTC()
			continue
		}
		if clock, err := time.Parse("15:04:05", f); err == nil {
			t = midnight(t).Add(time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute + time.Duration(clock.Second())*time.Second)
			continue
		}
		if clock, err := time.Parse("15:04", f); err == nil {
			t = midnight(t).Add(time.Duration(clock.Hour())*time.Hour + time.Duration(clock.Minute())*time.Minute)
			continue
		}
		n := 1
		if (f == "+" || f == "-") && i+1 < len(fields) {
			i++
			f += fields[i]
		}
		switch f {
		case "next":
		case "last":
			n = -1
		default:
			v, err := strconv.Atoi(f)
			if err != nil {
				return t, errDate
			}
			n = v
		}
		i++
		if i == len(fields) {
			return t, errDate
		}
		unit := strings.TrimSuffix(fields[i], "s")
		if i+1 < len(fields) && fields[i+1] == "ago" {
			n = -n
			i++
		}
		switch unit {
		case "sec", "second":
			t = t.Add(time.Duration(n) * time.Second)
		case "min", "minute":
			t = t.Add(time.Duration(n) * time.Minute)
		case "hour":
			t = t.Add(time.Duration(n) * time.Hour)
		case "day":
			t = t.AddDate(0, 0, n)
		case "week":
			t = t.AddDate(0, 0, 7*n)
		case "month":
			t = t.AddDate(0, n, 0)
		case "year":
			t = t.AddDate(n, 0, 0)
		default:
			return t, errDate
		}
	}
	return t, nil
}
