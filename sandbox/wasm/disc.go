package wasm

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
)

// disc keeps rewritten modules in a folder: one file each, a checksum over its content first. A file that does not fit is not there.
type disc struct{ dir string }

// discHead describes what follows it: the module, then the memory.
type discHead struct {
	Module, Memory     int
	Reactor, Start     bool
	Globals            int
	HasMemory          bool
	MinPages, MaxPages uint32
}

const discMagic = "drydock-module-" + RewriterVersion + "\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (d disc) path(key string) string {
	return filepath.Join(d.dir, strings.NewReplacer(":", "-", "/", "-").Replace(key)+"-"+RewriterVersion)
}

func (d disc) load(key string) (*rewritten, bool) {
	if d.dir == "" {
		return nil, false
	}
	b, err := os.ReadFile(d.path(key))
	if err != nil || len(b) < len(discMagic)+8 || string(b[:len(discMagic)]) != discMagic {
		return nil, false
	}
	b = b[len(discMagic):]
	sum, n := binary.LittleEndian.Uint32(b), int(binary.LittleEndian.Uint32(b[4:]))
	if crc32.Checksum(b[4:], castagnoli) != sum || n > len(b)-8 {
		return nil, false
	}
	var h discHead
	if json.Unmarshal(b[8:8+n], &h) != nil || h.Module < 0 || h.Memory < 0 || len(b)-8-n != h.Module+h.Memory {
		return nil, false
	}
	b = b[8+n:]
	return &rewritten{Module: b[:h.Module], Memory: b[h.Module:], Reactor: h.Reactor, Start: h.Start, Globals: h.Globals,
		HasMemory: h.HasMemory, MinPages: h.MinPages, MaxPages: h.MaxPages}, true
}

// store keeps a module; a disc that is full or read-only costs speed, not correctness, so errors are not reported.
func (d disc) store(key string, re *rewritten) {
	if d.dir == "" || os.MkdirAll(d.dir, 0o755) != nil {
		return
	}
	head, err := json.Marshal(discHead{len(re.Module), len(re.Memory), re.Reactor, re.Start, re.Globals, re.HasMemory, re.MinPages, re.MaxPages})
	if err != nil {
		return
	}
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(head)))
	body = append(append(append(body, head...), re.Module...), re.Memory...)
	sum := binary.LittleEndian.AppendUint32([]byte(discMagic), crc32.Checksum(body, castagnoli))
	f, err := os.CreateTemp(d.dir, ".new-*")
	if err != nil {
		return
	}
	defer os.Remove(f.Name())
	_, err1 := f.Write(sum)
	_, err2 := f.Write(body)
	if err3 := f.Close(); err1 == nil && err2 == nil && err3 == nil {
		os.Rename(f.Name(), d.path(key))
	}
}
