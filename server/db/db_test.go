package db

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var at = time.UnixMilli(1_790_000_000_123)

// each runs a test on a database in memory and on one in a folder whose name needs escaping.
func each(t *testing.T, f func(t *testing.T, d *DB)) {
	for name, dir := range map[string]string{"memory": "", "folder": "data ?#%41"} {
		t.Run(name, func(t *testing.T) {
			if dir != "" {
				dir = filepath.Join(t.TempDir(), dir)
			}
			d := open(t, dir)
			f(t, d)
		})
	}
}

func open(t *testing.T, dir string) *DB {
	t.Helper()
	d, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSessionsAndLabs(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		s := Session{ID: HashOf("cookie"), Created: at, Seen: at}
		code := HashOf("code")
		l := Lab{ID: "lab-1", Session: s.ID, Lesson: "first", Lang: "ko", Code: &code, Created: at, Seen: at}
		if err := d.AddLab(ctx, l); err == nil {
			t.Error("a lab of no session was taken")
		}
		if err := errors.Join(d.AddSession(ctx, s), d.AddLab(ctx, l)); err != nil {
			t.Fatal(err)
		}
		if err := d.AddSession(ctx, s); !errors.Is(err, ErrTaken) {
			t.Errorf("the same session again: %v", err)
		}
		if diff := cmp.Diff(l, must[Lab](t)(d.LabByCode(ctx, code))); diff != "" {
			t.Error(diff)
		}
		later := at.Add(time.Minute)
		if err := errors.Join(d.SeeSession(ctx, s.ID, later), d.SeeLab(ctx, l.ID, later)); err != nil {
			t.Fatal(err)
		}
		s.Seen, l.Seen = later, later
		if diff := cmp.Diff(s, must[Session](t)(d.Session(ctx, s.ID))); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Lab{l}, must[[]Lab](t)(d.Labs(ctx))); diff != "" {
			t.Error(diff)
		}
		if err := d.SetLabCode(ctx, l.ID, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := d.LabByCode(ctx, code); err != ErrNone {
			t.Errorf("a revoked code: %v", err)
		}
		if err := errors.Join(d.SetLabCode(ctx, l.ID, &code), d.DeleteLab(ctx, l.ID, later)); err != nil {
			t.Fatal(err)
		}
		if _, err := d.LabByCode(ctx, code); err != ErrNone {
			t.Errorf("the code of a deleted lab: %v", err)
		}
		if got := must[Lab](t)(d.Lab(ctx, l.ID)); !got.Deleted.Equal(later) || got.Code != nil {
			t.Errorf("deleted lab: %+v", got)
		}
		if err := d.RemoveSession(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Lab(ctx, l.ID); err != ErrNone {
			t.Errorf("a lab outlived its session: %v", err)
		}
		if err := d.SeeSession(ctx, s.ID, later); err != ErrNone {
			t.Errorf("seeing nobody: %v", err)
		}
	})
}

func TestClasses(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		c := must[Class](t)(d.OpenClass(ctx, Class{ID: "k7", Name: "3-2 반", Created: at}, HashOf("first link")))
		again := must[Class](t)(d.OpenClass(ctx, Class{ID: "other", Name: "3-2 반", Created: at.Add(time.Hour)}, HashOf("second link")))
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("the same name opened another class:\n%s", diff)
		}
		other := must[Class](t)(d.OpenClass(ctx, Class{ID: "m2", Name: "other", Created: at}, HashOf("other link")))
		for secret, want := range map[string]bool{"first link": true, "second link": true, "other link": false, "": false} {
			if got := must[bool](t)(d.Teaches(ctx, c.ID, HashOf(secret))); got != want {
				t.Errorf("%q opens the class: %v", secret, got)
			}
		}
		kim := must[Member](t)(d.Join(ctx, Member{Class: c.ID, Session: HashOf("s1"), Name: "김", Joined: at}))
		lee := must[Member](t)(d.Join(ctx, Member{Class: c.ID, Session: HashOf("s2"), Name: "이", Joined: at}))
		if kim.Number != 1 || lee.Number != 2 {
			t.Errorf("numbers %d, %d", kim.Number, lee.Number)
		}
		if same := must[Member](t)(d.Join(ctx, Member{Class: c.ID, Session: HashOf("s1"), Name: "박", Joined: at.Add(1)})); !cmp.Equal(same, kim) {
			t.Errorf("joining twice: %+v", same)
		}
		if _, err := d.Join(ctx, Member{Class: c.ID, Session: HashOf("s3"), Name: "김", Joined: at}); !errors.Is(err, ErrTaken) {
			t.Errorf("a taken name: %v", err)
		}
		if m := must[Member](t)(d.Join(ctx, Member{Class: other.ID, Session: HashOf("s3"), Name: "김", Joined: at})); m.Number != 1 {
			t.Errorf("first of the other class: %+v", m)
		}
		if err := d.SeeMember(ctx, c.ID, 2, at.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		lee.Seen = at.Add(time.Second)
		if diff := cmp.Diff([]Member{kim, lee}, must[[]Member](t)(d.Members(ctx, c.ID))); diff != "" {
			t.Error(diff)
		}
		r := Release{Member: 2, Lesson: "first", Task: "run"}
		if err := errors.Join(d.AddRelease(ctx, c.ID, r), d.AddRelease(ctx, c.ID, r)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Release{r}, must[[]Release](t)(d.Releases(ctx, c.ID))); diff != "" {
			t.Error(diff)
		}
		if got := must[Member](t)(d.MemberOf(ctx, HashOf("s2"))); !cmp.Equal(got, lee) {
			t.Errorf("membership: %+v", got)
		}
		if err := d.CloseClass(ctx, c.ID, at); err != nil {
			t.Fatal(err)
		}
		if err := d.CloseClass(ctx, c.ID, at); err != ErrNone {
			t.Errorf("closing twice: %v", err)
		}
		if _, err := d.Join(ctx, Member{Class: c.ID, Session: HashOf("s9"), Name: "x", Joined: at}); err != ErrNone {
			t.Errorf("joining a closed class: %v", err)
		}
		if _, err := d.MemberOf(ctx, HashOf("s2")); err != ErrNone {
			t.Errorf("membership of a closed class: %v", err)
		}
		if anew := must[Class](t)(d.OpenClass(ctx, Class{ID: "p5", Name: "3-2 반", Created: at}, HashOf("third"))); anew.ID != "p5" {
			t.Errorf("a closed class was reopened by its name: %+v", anew)
		}
		if diff := cmp.Diff([]string{"m2", "p5"}, ids(must[[]Class](t)(d.Classes(ctx)))); diff != "" {
			t.Error(diff)
		}
	})
}

func ids(classes []Class) (out []string) {
	for _, c := range classes {
		out = append(out, c.ID)
	}
	return out
}

func TestTeacherLinksAreBounded(t *testing.T) {
	d := open(t, "")
	for i := range teacherLinks + 4 {
		must[Class](t)(d.OpenClass(t.Context(), Class{ID: "x", Name: "n", Created: at.Add(time.Duration(i) * time.Second)}, HashOf(fmt.Sprint(i))))
	}
	if must[bool](t)(d.Teaches(t.Context(), "x", HashOf("3"))) || !must[bool](t)(d.Teaches(t.Context(), "x", HashOf("4"))) {
		t.Error("the newest links are not those that are kept")
	}
}

// TestForty joins forty learners at once: numbers are 1 to 40, none twice.
func TestForty(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		must[Class](t)(d.OpenClass(t.Context(), Class{ID: "x", Name: "n", Created: at}, HashOf("t")))
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				if _, err := d.Join(t.Context(), Member{Class: "x", Session: HashOf(fmt.Sprint(i)), Name: fmt.Sprint(i), Joined: at}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i, m := range must[[]Member](t)(d.Members(t.Context(), "x")) {
			if m.Number != i+1 {
				t.Errorf("member %d has number %d", i+1, m.Number)
			}
		}
	})
}

// TestKept: what has been written is there after the file is opened anew, also by a process that did not close it.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	first, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := Session{ID: HashOf("c"), Created: at, Seen: at}
	if err := first.AddSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir() // as kill -9 leaves the folder
	for _, name := range []string{File, File + "-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{dir, copied} {
		if diff := cmp.Diff([]Session{s}, must[[]Session](t)(open(t, dir).Sessions(t.Context()))); diff != "" {
			t.Error(diff)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, File)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file: %v %v", info.Mode(), err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(file string) error
		want error
	}{
		"text": {func(f string) error { return os.WriteFile(f, bytes.Repeat([]byte("not a database\n"), 100), 0o600) }, ErrDamaged},
		"pages overwritten": {func(f string) error {
			w, err := os.OpenFile(f, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = w.WriteAt(bytes.Repeat([]byte{0xa5}, 8192), 4096)
			return errors.Join(err, w.Close())
		}, ErrDamaged},
		"cut":               {func(f string) error { return os.Truncate(f, 9000) }, ErrDamaged},
		"later version":     {statement("PRAGMA user_version = 999"), ErrNewer},
		"another program's": {statement("PRAGMA application_id = 7"), ErrDamaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			d, err := Open(Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 {
				if err := d.AddSession(t.Context(), Session{ID: HashOf(fmt.Sprint(i)), Created: at, Seen: at}); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, File)
			if err := c.harm(file); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(file)
			d, err = Open(Config{Dir: dir})
			if !errors.Is(err, c.want) {
				t.Errorf("opening it: %v, want %v", err, c.want)
			}
			if err == nil {
				d.Close()
			}
			if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
				t.Error("the file has been changed")
			}
		})
	}
}

func statement(text string) func(file string) error {
	return func(file string) error {
		d, err := sql.Open("sqlite", file)
		if err != nil {
			return err
		}
		_, err = d.Exec(text)
		return errors.Join(err, d.Close())
	}
}

func TestCancelled(t *testing.T) {
	d := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.AddSession(ctx, Session{ID: HashOf("c")}); !errors.Is(err, context.Canceled) {
		t.Errorf("a write under a cancelled context: %v", err)
	}
	if _, err := d.Sessions(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a read under a cancelled context: %v", err)
	}
}
