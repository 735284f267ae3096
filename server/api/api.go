// Package api is the vocabulary between the portal and the labs that it shows: what server needs from a lab, as interfaces, and the values that
// cross. It knows neither HTTP nor how a lab is made; server/lab implements it without importing a web framework.
package api

import (
	"context"
	"fmt"
	"time"

	"github.com/drydock-labs/drydock/lessons"
)

// Labs makes and finds labs. Ids are unguessable.
type Labs interface {
	// NewLab makes a lab. ctx bounds its making, not its life.
	//
	// # Errors
	//   - *Refusal: a limit of this installation is reached; Code says which.
	NewLab(ctx context.Context, o LabOptions) (Lab, error)
	// OpenLab wakes a lab that was closed or that an earlier process had: as after a power cut.
	//
	// # Errors
	//   - *Refusal: "lab-gone" when nothing of it was kept, or a limit as with NewLab
	OpenLab(ctx context.Context, id string) (Lab, error)
	// DeleteLab ends a lab and forgets it. One that is not there is fine.
	DeleteLab(id string) error
	// Collect removes what images of labs have left behind that no lab has any more, and tells how many bytes that were.
	Collect() (freed int64, err error)
}

// LabOptions is what a new lab is to be.
type LabOptions struct {
	Nodes int    // workers beside control-plane; 0 means 3
	Seed  uint64 // 0: from the system's randomness
	Lang  string // "ko" or "en": what the shell's own sentences are written in
}

// Lab is one learner's lab. All methods may be called from any goroutine, after Close too (they then fail).
type Lab interface {
	ID() string
	// Machines names the computers in the order of the terminal tabs: "workstation", "control-plane", "node-1", …
	Machines() []string
	// Terminal opens a login shell on a terminal of its own.
	//
	// # Errors
	//   - *Refusal: the machine is powered off ("machine-off") or the lab may have no more processes.
	Terminal(machine string, rows, cols int, lang string) (Terminal, error)
	// Run runs a command line in the learner's shell on the workstation without a terminal and waits for its end: solutions and resets use it.
	// The output is stdout and stderr as they came, at most 1 MiB.
	Run(ctx context.Context, line string) (output []byte, exit int, err error)
	// Kubeconfig is a file for clients outside, whose server is serverURL ("https://127.0.0.1:8080").
	Kubeconfig(serverURL string) ([]byte, error)
	// Apply applies manifests as the learner does with `kubectl apply --server-side`. One result for each document, in their order; the error is
	// for what concerns the whole (not YAML at all).
	Apply(ctx context.Context, manifests []byte) ([]Applied, error)
	// ReadFile and WriteFile act on the workstation with the learner's rights; a relative path starts in the home directory.
	ReadFile(path string) ([]byte, error)
	WriteFile(path string, data []byte, mode uint32) error
	// Feed starts a reader of the cluster's changes after revision `from`; 0 asks for a snapshot first.
	Feed(from int64) Feed
	World() lessons.World
	// Programs tells which programs are still being compiled on their first start on this machine; empty when all are ready.
	Programs() []Program
	// Keep has a value of the portal's kept with the lab: what now returns, after each call of the function that is returned. now may be
	// called at any time, even under locks that are held while changed is called.
	Keep(name string, now func() []byte) (changed func())
	// KeepStream has a stream of bytes kept: flush gives what is new since the last flush, snapshot all that was flushed and still counts.
	KeepStream(name string, flush, snapshot func(emit func([]byte) error) error) (changed func())
	// Kept and KeptStream are what was kept before the lab was opened; nil for nothing.
	Kept(name string) []byte
	KeptStream(name string) [][]byte
	// Done is closed when the lab has ended, for whatever reason.
	Done() <-chan struct{}
	// Close puts the lab to sleep: OpenLab wakes it, where labs are kept.
	Close() error
}

// Terminal is a login shell on a pseudo terminal.
type Terminal interface {
	// Read waits for output and returns at most 32 KiB. io.EOF after the shell has ended and its output is read.
	Read(ctx context.Context) ([]byte, error)
	// Write types: it waits while the terminal's input queue is full, until ctx ends.
	Write(ctx context.Context, p []byte) error
	Resize(rows, cols int) error
	// Foreground is the name of the program that has the terminal, empty while it is the shell.
	Foreground() string
	// Close hangs up: the shell and its jobs get SIGHUP.
	Close() error
}

// Feed reads a cluster's changes at the reader's own pace: nothing is queued for it, so a slow reader costs nothing and loses nothing but steps
// in between.
type Feed interface {
	// Next waits until there is something after the last batch, and returns it. A reader whose revision has left the log gets a snapshot again.
	// Snapshots hold nodes, pods, services, endpointslices, deployments, replicasets, namespaces, events and what else has been created.
	Next(ctx context.Context) (Batch, error)
	Close()
}

// Batch is a step of a Feed.
type Batch struct {
	Snapshot bool  // true: Changes are Creates that replace everything known
	Rev      int64 // the cluster's revision after these changes
	Changes  []lessons.Change
	// Requests counts connections to Services since the lab began, by "namespace/name" of the Service; only those that changed.
	Requests map[string]Requests
	// Docker are the things of the Docker host that are new, different or gone since the last batch; a feed's first batch has all.
	Docker []DockerChange
	// Uses are the running containers' metered figures by id, of those that changed; UsesAt is the lab's time at which they were read.
	Uses   map[string]Use
	UsesAt time.Time
}

// DockerChange is a thing of the Docker host.
type DockerChange struct {
	Kind   string `json:"kind"` // image, container, network, volume, work
	ID     string `json:"id"`
	Object any    `json:"object,omitempty"` // as sandbox/docker shows it, in JSON; nil: it is gone
}

// Use is what a running container takes, as its cgroup counts it.
type Use struct {
	CPU    int64 `json:"cpu"`             // nanoseconds since it started
	Memory int64 `json:"memory"`          // bytes
	Limit  int64 `json:"limit,omitempty"` // bytes; 0: none
}

// Requests counts what went through a Service.
type Requests struct {
	Total  int64            // connections accepted or refused
	Failed int64            // connections without an endpoint, refused or reset
	ByPod  map[string]int64 // connections by pod name
}

// Applied is what became of one manifest.
type Applied struct {
	Kind, Namespace, Name string
	Result                string   // created, configured, unchanged; empty with Err
	Err                   string   // the API server's own text
	Warnings              []string // the API server's own texts
}

// Program is one program's way from wasm to machine code on its first start on a machine.
type Program struct {
	Name string  // "kubectl"
	Done float64 // 0…1
}

// Refusal is a request that a limit turned down. It is not a failure: the portal answers 429 or 503 with the reason and when to try again.
type Refusal struct {
	Code       string         // "labs-full", "lab-terminals", "lab-requests", "machine-off", …: a key of the message catalogue under refusal.*
	Params     map[string]any // what the sentence needs, such as {"limit": 40}
	RetryAfter time.Duration  // 0: trying again does not help
}

func (r *Refusal) Error() string { return fmt.Sprintf("refused: %s %v", r.Code, r.Params) }
