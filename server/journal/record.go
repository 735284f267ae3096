package journal

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
)

// Format is the version of the records that are written. Reading refuses newer ones with ErrVersion.
const Format = 1

// MaxPayload bounds a record; what is larger goes into a blob.
const MaxPayload = 8 << 20

const (
	headerSize = 8
	maxLab     = 64
	maxBlobs   = 1024
	// maxBody is what a record's length may say: its fields, names of blobs and payload.
	maxBody = MaxPayload + maxBlobs*len(Digest{}) + maxLab + 64
)

// Kind says whose record it is and what of; its meaning is the writers'. 0 is the journal's own.
type Kind uint8

// Digest is a blob's SHA-256.
type Digest [32]byte

// String is the digest as OCI writes it.
func (d Digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// Record is one record as it is replayed.
type Record struct {
	// Seq counts a lab's records from 1 without gaps; 0 in a snapshot.
	Seq uint64
	// Epoch is the owner's that appended it.
	Epoch uint64
	Kind  Kind
	// Payload is valid during the call that hands it out.
	Payload []byte
	// Blobs are the blobs that the payload refers to: they are kept as long as the record is.
	Blobs []Digest
}

// Reason says what is wrong with a record on disk.
type Reason string

// The reasons.
const (
	// CutOff is a record whose end was never written: what a power cut leaves of the last few milliseconds.
	CutOff Reason = "cut off"
	// Corrupt is a record that was written and is now another: its checksum, its lab, its epoch or its layout is wrong.
	Corrupt Reason = "corrupt"
	// Gap is a record that is missing: a file was lost, or its end.
	Gap Reason = "gap"
	// Behind are whole records behind one of the other reasons, which nothing leads up to any more.
	Behind Reason = "behind damage"
)

// flaw is why a record can't be read.
type flaw struct {
	reason Reason
	detail string
}

func (f *flaw) Error() string { return string(f.reason) + ": " + f.detail }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A record is its body's length and CRC-32C (RFC 3720, over length and body), both 32 bits little-endian, and the body: format, kind, and as
// varints sequence number, epoch, length of the lab's id, the id, number of blobs, their digests; the rest is the payload.

// appendRecord appends the record as it stands on disk.
func appendRecord(b []byte, lab string, r Record) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, Format, byte(r.Kind))
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, r.Epoch)
	b = append(binary.AppendUvarint(b, uint64(len(lab))), lab...)
	b = binary.AppendUvarint(b, uint64(len(r.Blobs)))
	for _, d := range r.Blobs {
		b = append(b, d[:]...)
	}
	b = append(b, r.Payload...)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-headerSize))
	binary.LittleEndian.PutUint32(b[at+4:], checksum(b[at:at+4], b[at+headerSize:]))
	return b
}

func checksum(length, body []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, length), castagnoli, body)
}

// scanner reads records one after the other.
type scanner struct {
	r      *bufio.Reader
	lab    string
	offset int64 // of the next record
	buf    []byte
}

func newScanner(r io.Reader, lab string) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 256<<10), lab: lab}
}

// next returns the next record, valid until the one after it; io.EOF at the end, a *flaw for what is no record, ErrVersion for a newer one.
func (s *scanner) next() (Record, error) {
	var head [headerSize]byte
	switch n, err := io.ReadFull(s.r, head[:]); {
	case err == io.EOF:
		return Record{}, io.EOF
	case err == io.ErrUnexpectedEOF:
		return Record{}, &flaw{CutOff, fmt.Sprintf("%d bytes of %d of a record's head", n, headerSize)}
	case err != nil:
		return Record{}, err
	}
	length := int(binary.LittleEndian.Uint32(head[:]))
	if head == [headerSize]byte{} {
		return Record{}, &flaw{CutOff, "zeros where a record should begin"}
	}
	if length > maxBody {
		return Record{}, &flaw{Corrupt, fmt.Sprintf("a record of %d bytes", length)}
	}
	if err := s.fill(length); err != nil {
		return Record{}, err
	}
	if got, want := checksum(head[:4], s.buf), binary.LittleEndian.Uint32(head[4:]); got != want {
		return Record{}, &flaw{Corrupt, fmt.Sprintf("checksum %08x, should be %08x", got, want)}
	}
	rec, err := parse(s.buf, s.lab)
	if err == nil {
		s.offset += int64(headerSize + length)
	}
	return rec, err
}

// fill reads a body. Memory grows with what is there, not with what a damaged length claims.
func (s *scanner) fill(length int) error {
	s.buf = s.buf[:0]
	for len(s.buf) < length {
		have := len(s.buf)
		step := min(length-have, max(64<<10, have))
		s.buf = append(s.buf, make([]byte, step)...)
		n, err := io.ReadFull(s.r, s.buf[have:])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return &flaw{CutOff, fmt.Sprintf("%d bytes of %d of a record", have+n, length)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errLayout = &flaw{Corrupt, "the fields don't fit into the record"}

// parse reads a body whose checksum is right.
func parse(b []byte, lab string) (Record, error) {
	if len(b) < 2 {
		return Record{}, errLayout
	}
	if b[0] != Format {
		return Record{}, fmt.Errorf("%w: format %d", ErrVersion, b[0])
	}
	r := Record{Kind: Kind(b[1])}
	b = b[2:]
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			ok = false
			return nil
		}
		v := b[:n]
		b = b[n:]
		return v
	}
	r.Seq, r.Epoch = number(), number()
	if id := take(number()); ok && string(id) != lab {
		return Record{}, &flaw{Corrupt, fmt.Sprintf("a record of the lab %q", id)}
	}
	blobs := number()
	if !ok || blobs > maxBlobs {
		return Record{}, errLayout
	}
	for range blobs {
		r.Blobs = append(r.Blobs, Digest{})
		copy(r.Blobs[len(r.Blobs)-1][:], take(uint64(len(Digest{}))))
	}
	if !ok || len(b) > MaxPayload {
		return Record{}, errLayout
	}
	r.Payload = b
	return r, nil
}

// asFlaw is err as a flaw of the record that was read. What a replay returns is wrapped, and so is none.
func asFlaw(err error) (*flaw, bool) {
	f, ok := err.(*flaw)
	return f, ok
}
