package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/drydock-labs/drydock/orchestrator/store"
	"github.com/drydock-labs/drydock/sandbox/vfs"
	"github.com/drydock-labs/drydock/server/journal"
)

// replay is a lab as the journal has it.
type replay struct {
	cluster   *store.Replay
	files     map[string]*vfs.TmpfsReplay
	streams   map[string][][]byte
	sizes     map[string]int
	documents map[string][]byte
	problems  []error // what could not be replayed
	behind    bool    // a record of the cluster is among them: none after it can follow
}

func newReplay(cluster *store.Replay) *replay {
	return &replay{cluster: cluster, files: map[string]*vfs.TmpfsReplay{}, streams: map[string][][]byte{}, sizes: map[string]int{}, documents: map[string][]byte{}}
}

func (r *replay) problem(err error) { r.problems = append(r.problems, err) }

// add takes one record. What is wrong with it is a problem of the lab's and not of reading on.
func (r *replay) add(rec journal.Record) error {
	if rec.Kind == recordCluster {
		if r.behind {
			return nil
		}
		if err := r.cluster.Add(rec.Payload); err != nil {
			r.behind = true
			r.problem(err)
		}
		return nil
	}
	n, k := binary.Uvarint(rec.Payload)
	if k <= 0 || n > uint64(len(rec.Payload)-k) {
		r.problem(fmt.Errorf("record %d: no name", rec.Seq))
		return nil
	}
	name, body := string(rec.Payload[k:k+int(n)]), rec.Payload[k+int(n):]
	switch rec.Kind {
	case recordFiles:
		if r.files[name] == nil {
			r.files[name] = vfs.NewTmpfsReplay()
		}
		if err := r.files[name].Add(body); err != nil {
			r.problem(fmt.Errorf("%s: %w", name, err))
		}
	case recordStream:
		r.stream(name, body)
	case recordDocument:
		r.documents[name] = append([]byte(nil), body...)
		if len(body) == 0 {
			delete(r.documents, name)
		}
	case recordDrop:
		r.drop(name)
	default:
		r.problem(fmt.Errorf("record %d: kind %d is not known", rec.Seq, rec.Kind))
	}
	return nil
}

// stream appends a piece; the oldest ones go beyond the limit.
func (r *replay) stream(name string, piece []byte) {
	l := append(r.streams[name], append([]byte(nil), piece...))
	size := r.sizes[name] + len(piece)
	for size-len(l[0]) >= keepStream {
		size -= len(l[0])
		l = l[1:]
	}
	r.streams[name], r.sizes[name] = l, size
}

func (r *replay) drop(name string) {
	gone := func(n string) bool { return n == name || strings.HasPrefix(n, name+"/") }
	maps.DeleteFunc(r.files, func(n string, _ *vfs.TmpfsReplay) bool { return gone(n) })
	maps.DeleteFunc(r.streams, func(n string, _ [][]byte) bool { return gone(n) })
	maps.DeleteFunc(r.documents, func(n string, _ []byte) bool { return gone(n) })
}

// taken forgets what somebody has taken over.
func (r *replay) taken(name string) {
	delete(r.files, name)
	delete(r.streams, name)
	delete(r.sizes, name)
	delete(r.documents, name)
}

// rest gives the values and streams that nobody has asked to keep again; they stay as they are.
func (r *replay) rest(parts map[string]*part) func(add func(journal.Kind, []byte, ...journal.Digest) error) error {
	documents, streams := maps.Clone(r.documents), maps.Clone(r.streams)
	return func(add func(journal.Kind, []byte, ...journal.Digest) error) error {
		for name, v := range documents {
			if parts[name] != nil {
				continue
			}
			if err := add(recordDocument, payload(name, v)); err != nil {
				return err
			}
		}
		for name, pieces := range streams {
			for _, p := range pieces {
				if parts[name] != nil {
					break
				}
				if err := add(recordStream, payload(name, p)); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// report is what could not be read back, nil for nothing.
func (r *replay) report(damage []journal.Damage) error {
	errs := r.problems
	for _, d := range damage {
		errs = append(errs, errors.New(d.String()))
	}
	return errors.Join(errs...)
}
