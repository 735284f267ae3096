// Package vfs is the file system of the machines: inodes, memory and overlay file systems, mount
// namespaces and the resolution of paths as a process sees them (path_resolution(7)).
//
// It knows nothing of processes, descriptors tables, terminals or pipes: opening a FIFO or a device node
// gives a File whose Device says which, and the kernel puts its own description in its place. It knows
// nothing of the host's files either; no guest path ever becomes a host path.
//
// The story of one open: a View (a process's root, working directory, owner and umask) walks a name from
// Path to Path. Each step is a Lookup in a Dir, then a look into the Namespace for a mount on that entry,
// then, for a symbolic link, a walk of its target. At the end a Regular is opened to a Handle, which a File
// wraps with the shared offset and the open flags.
//
// Directories know their parent and their name in it; files don't (they may have several). A mount is keyed by
// the directory and name it covers, so neither needs a table of dentries.
//
// Lock order: File.mu → Overlay.mu → Tmpfs.mu. Namespace.mu is a leaf and is never held while a file system is called.
// Every error that a guest may see is a bare syscall.Errno; io.EOF alone is Go's own.
package vfs

import "time"

// Limits that hold for every file system here.
const (
	NameMax     = 255  // bytes in one name: ENAMETOOLONG
	PathMax     = 4096 // bytes in one path with its NUL: ENAMETOOLONG
	MaxSymlinks = 40   // symbolic links followed in one resolution: ELOOP
	MaxDepth    = 1024 // directories below a file system's root: ENAMETOOLONG
	MaxLinks    = 65000
	BlockSize   = 4096
)

// File types and mode bits as in inode(7).
const (
	ModeType    = 0o170000
	ModeSocket  = 0o140000
	ModeSymlink = 0o120000
	ModeRegular = 0o100000
	ModeBlock   = 0o060000
	ModeDir     = 0o040000
	ModeChar    = 0o020000
	ModeFIFO    = 0o010000
	ModeSetuid  = 0o4000
	ModeSetgid  = 0o2000
	ModeSticky  = 0o1000
	ModePerm    = 0o7777
)

// Open flags: Linux' numbers (x86-64 and the generic ABI share them but for O_DIRECTORY and O_NOFOLLOW; these are x86-64's).
const (
	O_RDONLY    = 0o0
	O_WRONLY    = 0o1
	O_RDWR      = 0o2
	O_ACCMODE   = 0o3
	O_CREAT     = 0o100
	O_EXCL      = 0o200
	O_NOCTTY    = 0o400
	O_TRUNC     = 0o1000
	O_APPEND    = 0o2000
	O_NONBLOCK  = 0o4000
	O_DSYNC     = 0o10000
	O_DIRECTORY = 0o200000
	O_NOFOLLOW  = 0o400000
	O_CLOEXEC   = 0o2000000
	O_SYNC      = 0o4010000
	O_PATH      = 0o10000000
	O_TMPFILE   = 0o20200000
)

// Bits of access(2).
const (
	AccessRead  = 4
	AccessWrite = 2
	AccessExec  = 1
)

// Cred is who asks. UID 0 passes permission checks (but not those for execution of a file without any x bit).
type Cred struct {
	UID, GID uint32
	Groups   []uint32 // supplementary, shared and never mutated
}

// Root is the superuser's Cred.
var Root = Cred{}

// Stat is what stat(2) answers. Dev is filled in by the View (a number of the namespace); a Node leaves it 0.
type Stat struct {
	Dev, Ino         uint64
	Mode             uint32 // type and permissions, the Mode… constants
	Nlink            uint32
	UID, GID         uint32
	Rdev             uint64 // MakeDev of device nodes
	Size             int64
	Blksize          int64
	Blocks           int64 // of 512 bytes
	Atim, Mtim, Ctim int64 // nanoseconds since 1970
}

// IsDir reports whether the type is a directory.
func (s Stat) IsDir() bool { return s.Mode&ModeType == ModeDir }

// IsRegular reports whether the type is a regular file.
func (s Stat) IsRegular() bool { return s.Mode&ModeType == ModeRegular }

// IsSymlink reports whether the type is a symbolic link.
func (s Stat) IsSymlink() bool { return s.Mode&ModeType == ModeSymlink }

// Statfs is what statfs(2) answers.
type Statfs struct {
	Type                uint64 // magic: statfs(2)
	Bsize               uint64
	Blocks, Bfree       uint64 // of Bsize; 0 = unlimited (proc)
	Files, Ffree        uint64
	Namelen             uint64
	ReadOnly, Unlimited bool
}

// File systems' magic numbers (statfs(2)).
const (
	MagicTmpfs   = 0x01021994
	MagicOverlay = 0x794c7630
	MagicProc    = 0x9fa0
	MagicSysfs   = 0x62656572
	MagicCgroup2 = 0x63677270
	MagicLayer   = 0xe0f5e1e2 // erofs: what a read-only layer resembles most
)

// MakeDev packs a device number as glibc's makedev.
func MakeDev(major, minor uint32) uint64 {
	return uint64(major&0xfff)<<8 | uint64(major&^0xfff)<<32 | uint64(minor&0xff) | uint64(minor&^0xff)<<12
}

// Major unpacks MakeDev.
func Major(dev uint64) uint32 { return uint32(dev>>8)&0xfff | uint32(dev>>32)&^0xfff }

// Minor unpacks MakeDev.
func Minor(dev uint64) uint32 { return uint32(dev)&0xff | uint32(dev>>12)&^0xff }

// Charger accounts memory or disc to a lab. Charge with a negative delta never fails. A refusal is a
// syscall.Errno (ENOSPC, EDQUOT) that the guest sees. It is called with file system locks held and must not call back.
type Charger interface {
	Charge(delta int64) error
}

// FS is an instance of a file system, mounted by any number of namespaces.
type FS interface {
	// Root is the top: a Dir, or a single file where only that is to be mounted.
	Root() Node
	// Type is the name in /proc/mounts: "tmpfs", "overlay", "proc"…
	Type() string
	Statfs() Statfs
}

// Node is an inode. Every Node is one of Dir, Regular, Symlink, or (by its Stat alone) a FIFO, socket or device node.
// Nodes are compared with ==: a file system returns the same Node for the same directory as long as anybody holds it.
type Node interface {
	Stat() Stat
	// SetAttr changes what a.Set names. EROFS where nothing may be written.
	SetAttr(a Attr) error
}

// AttrMask names fields of Attr.
type AttrMask uint8

// Fields of Attr.
const (
	AttrMode AttrMask = 1 << iota
	AttrUID
	AttrGID
	AttrAtim
	AttrMtim
)

// Attr is a change of attributes. Times are nanoseconds since 1970.
type Attr struct {
	Set        AttrMask
	Mode       uint32 // permission bits only
	UID, GID   uint32
	Atim, Mtim int64
}

// Dir is a directory that can be looked at.
type Dir interface {
	Node
	// Lookup finds an entry, never "." or "..". ENOENT.
	Lookup(name string) (Node, error)
	// List is every entry without "." and "..", a snapshot.
	List() ([]DirEntry, error)
	// Up is the parent and the name in it; (nil, "") at the root of its file system. A removed directory keeps its last parent.
	Up() (parent Dir, name string)
}

// DirEntry is one entry of a directory. Type is the ModeType part of its mode.
type DirEntry struct {
	Name string
	Ino  uint64
	Type uint32
}

// DirWriter is a Dir in which entries may be made. All methods are atomic. Names are valid (not "", ".", "..", no slash, ≤ NameMax).
type DirWriter interface {
	Dir
	// Create makes a node of any type. EEXIST, ENOENT (the directory was removed), ENOSPC, EDQUOT, EROFS.
	Create(name string, n NewNode) (Node, error)
	// Link makes another name for a node of the same file system that is no directory. EXDEV, EMLINK, EEXIST.
	Link(name string, n Node) error
	// Remove is unlink (dir false: EISDIR for directories) or rmdir (dir true: ENOTDIR, ENOTEMPTY). may is asked, with the
	// directory locked, whether this victim may go; it must not call into the file system.
	Remove(name string, dir bool, may func(victim Stat) error) error
	// Rename is renameat2(2) within one file system, with flag RenameNoReplace only. may as in Remove; dst is nil when there is no target.
	Rename(name string, to DirWriter, newName string, flags int, may func(src Stat, dst *Stat) error) error
}

// RenameNoReplace fails a rename with EEXIST when the target exists.
const RenameNoReplace = 1

// NewNode describes a node to be created.
type NewNode struct {
	Mode     uint32 // type and permissions; umask already applied
	UID, GID uint32
	Rdev     uint64 // devices
	Target   string // symbolic links
}

// Regular is a file with bytes.
type Regular interface {
	Node
	// Open gives a Handle for the access mode in flags (an overlay copies up here when it is for writing). O_TRUNC is applied.
	Open(flags int) (Handle, error)
}

// Handle is one opening of a Regular. Methods may be called concurrently. The bytes live on until the last Close, whatever happens to the names.
type Handle interface {
	// ReadAt fills p from off; io.EOF with what there was when the file ends before.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes; a short count comes with ENOSPC or EDQUOT. EFBIG beyond the file size limit.
	WriteAt(p []byte, off int64) (int, error)
	// Append writes at the end, atomically, and tells where that was.
	Append(p []byte) (n int, off int64, err error)
	Truncate(size int64) error
	Close() error
}

// Immutable is a Handle or Regular over bytes that never change: an image layer's file, also through an overlay until it is written.
type Immutable interface {
	// Content is the whole file, shared (never write to it), and the hex sha256 of it with prefix "sha256:". ok is false once the file was changed.
	Content() (data []byte, digest string, ok bool)
}

// Symlink is a symbolic link.
type Symlink interface {
	Node
	// Readlink is the target. caller is the View's Caller (for /proc/self).
	Readlink(caller any) (string, error)
}

// Clock tells lab time.
type Clock func() time.Time

func (c Clock) now() int64 {
	if c == nil {
		return time.Now().UnixNano()
	}
	return c().UnixNano()
}
