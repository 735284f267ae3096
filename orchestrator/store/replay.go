package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNoSnapshot says that the records end before there was a whole snapshot: the cluster they are of was never there.
var ErrNoSnapshot = errors.New("the records hold no whole snapshot")

// ErrRecord is wrapped by what Replay.Add says of a record that it can't follow.
var ErrRecord = errors.New("not a record that can follow")

// Replay makes a cluster again from the records that it gave to its Journal.
type Replay struct {
	c *Cluster
	// missing is the number of the snapshot's entries that are still to come, -1 before the snapshot.
	missing int64
}

// NewReplay returns a replay into a cluster with these options, which Rebase is not among: what came from the template is in the records as
// this cluster's own.
func NewReplay(kinds *Kinds, o Options) *Replay {
	o.Rebase = nil
	return &Replay{c: NewTemplate(kinds, o), missing: -1}
}

// Add applies the next record. Commits that the snapshot holds already are skipped. An error wraps ErrRecord and leaves everything as it was
// before the record: the cluster can still be had as of then.
func (r *Replay) Add(record []byte) error {
	d := decoder{rest: record}
	letter := d.byte()
	err := d.err
	switch {
	case err != nil:
	case letter == recordSnapshot:
		err = r.snapshot(&d)
	case letter == recordEntry:
		err = r.entry(&d)
	case letter == recordCommit:
		err = r.commit(&d)
	default:
		err = fmt.Errorf("its kind is %q", letter)
	}
	if err != nil {
		return fmt.Errorf("%w: cluster %s at revision %d: %w", ErrRecord, r.c.opts.ID, r.c.rev, err)
	}
	return nil
}

// Cluster ends the replay: the cluster as of the last record, whose later commits continue its revisions and go to j, where that is not nil.
// ErrNoSnapshot where the records ended too early.
func (r *Replay) Cluster(j Journal) (*Cluster, error) {
	if r.missing != 0 {
		return nil, fmt.Errorf("cluster %s: %w", r.c.opts.ID, ErrNoSnapshot)
	}
	r.c.journal = j
	return r.c, nil
}

func (r *Replay) snapshot(d *decoder) error {
	rev, entries := d.revision(), d.revision()
	if err := d.end(); err != nil {
		return err
	}
	if rev < 1 {
		return fmt.Errorf("a snapshot of revision %d", rev)
	}
	c := NewTemplate(r.c.kinds, r.c.opts)
	c.rev, c.compacted = rev, rev
	r.c, r.missing = c, entries
	return nil
}

func (r *Replay) entry(d *decoder) error {
	k, key := d.key(r.c.kinds)
	e := &Entry{Rev: d.revision(), Created: d.revision(), expires: d.time(), bytes: d.bytes(), kind: k, key: key, verify: r.c.opts.Verify}
	if err := d.end(); err != nil {
		return err
	}
	if r.missing <= 0 {
		return fmt.Errorf("%s belongs to no snapshot", key)
	}
	if e.Rev > r.c.rev || e.Created > e.Rev {
		return fmt.Errorf("%s is of revision %d, created at %d", key, e.Rev, e.Created)
	}
	if _, twice := r.c.tree.ReplaceOrInsert(e); twice {
		return fmt.Errorf("%s is in the snapshot twice", key)
	}
	r.c.expiresLocked(e)
	r.missing--
	return nil
}

func (r *Replay) commit(d *decoder) error {
	c := r.c
	k, key := d.key(c.kinds)
	cm := &Commit{Key: key, Rev: d.revision(), Time: d.time(), Op: Op(d.byte())}
	expires := d.time()
	cm.Bytes = d.bytes()
	cm.Cause = Cause{Kind: CauseKind(d.string()), Actor: d.string(), Component: d.string(), Detail: d.string(), Parent: d.revision(), Step: d.uvarint()}
	if err := d.end(); err != nil {
		return err
	}
	switch {
	case r.missing != 0:
		return fmt.Errorf("revision %d comes before the end of a snapshot", cm.Rev)
	case cm.Rev <= c.rev:
		return nil
	case cm.Rev != c.rev+1:
		return fmt.Errorf("revision %d leaves a gap", cm.Rev)
	}
	cur, exists := c.tree.Get(&Entry{key: key})
	if exists == (cm.Op == Create) || cm.Op < Create || cm.Op > Delete {
		return fmt.Errorf("revision %d: %s of %s, which exists: %t", cm.Rev, cm.Op, key, exists)
	}
	cm.Resource, cm.Old = k.Resource, cur
	cm.Namespace, cm.Name = k.Split(key)
	state := &Entry{Rev: cm.Rev, Created: cm.Rev, kind: k, key: key, bytes: cm.Bytes, expires: expires, verify: c.opts.Verify}
	if exists {
		state.Created = cur.Created
	}
	if cm.Op != Delete {
		cm.New = state
	} else if string(cm.Bytes) != string(cur.bytes) {
		state.Rev, state.expires = cur.Rev, cur.expires // a heartbeat's last due beat
		cm.Old = state
	}
	c.applyLocked(cm)
	return nil
}

// decoder reads a record's fields; the first one that is not there ends it.
type decoder struct {
	rest []byte
	err  error
}

var errShort = errors.New("the record ends too early")

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err, d.rest = err, nil
	}
}

// end is the first error, or that there is more than the fields.
func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		d.fail(fmt.Errorf("%d bytes follow its end", len(d.rest)))
	}
	return d.err
}

func (d *decoder) byte() byte {
	if len(d.rest) == 0 {
		d.fail(errShort)
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail(errShort)
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// revision is a number that is not negative as int64.
func (d *decoder) revision() int64 {
	v := int64(d.uvarint())
	if v < 0 {
		d.fail(fmt.Errorf("the number %d", v))
		return 0
	}
	return v
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail(errShort)
		return time.Time{}
	}
	d.rest = d.rest[n:]
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v).UTC()
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail(errShort)
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) bytes() []byte { return []byte(d.string()) }

// key reads a kind and a key of that kind.
func (d *decoder) key(kinds *Kinds) (*Kind, string) {
	prefix, rest := d.string(), d.string()
	if d.err != nil {
		return nil, ""
	}
	k, ok := kinds.prefix(prefix)
	if !ok {
		d.fail(fmt.Errorf("nothing is stored below %q here", prefix))
		return nil, ""
	}
	ns, name, split := strings.Cut(rest, "/")
	if rest == "" || k.Namespaced && (!split || ns == "" || name == "") {
		d.fail(fmt.Errorf("%s of the name %q", k.Resource, rest))
		return nil, ""
	}
	return k, prefix + rest
}
