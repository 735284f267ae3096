package lab

// Limits bound one lab and the host of all. This is the one documented table; a zero field of HostConfig.Limits means the value here.
//
//	what                             default   beyond it
//	labs of the host                     200   the portal answers 503 "labs-full"
//	guest memory                     256 MiB   the process furthest beyond its request is OOM-killed (exit code 137)
//	CPU                                1 CPU   processes take turns
//	processes                            256   fork and spawn answer EAGAIN
//	disk: upper layers, volumes        1 GiB   writes answer ENOSPC
//	nodes, control-plane included         50   NewLab is refused
//	Docker containers, stopped ones too    500   507 from the Docker host
//	API objects                       20,000   403, as a quota's
//	watches                              200   429 with Retry-After
//	API requests in flight               100   429 with Retry-After
//	logs, exec, … beside the watches      200   429 with Retry-After
//	history of the cluster            32 MiB   oldest revisions are dropped; older watches get 410
//	log of a container                10 MiB   oldest lines are dropped
//	connections to the API from inside   128   further ones wait in the backlog
//	the same from outside                512   429 with Retry-After, for another 2,048 at a time
//	new connections to the API         250/s   after 64 at once, further ones wait with their handshake
//
// A node reports 2 CPU and 256 MiB; nodes may sum to more than their lab has.
type Limits struct {
	Labs        int
	Memory      int64   // bytes
	CPUs        float64 // CPU seconds per second
	Processes   int64
	Disk        int64 // bytes
	Nodes       int
	Containers  int
	Objects     int
	Watches     int
	InFlight    int
	Streams     int
	History     int64 // bytes
	LogBytes    int64 // bytes per container
	APISessions int
}

// DefaultLimits are those of the table.
var DefaultLimits = Limits{
	Labs: 200, Memory: 256 << 20, CPUs: 1, Processes: 256, Disk: 1 << 30, Nodes: 50, Containers: 500, Objects: 20_000, Watches: 200, InFlight: 100, Streams: 200,
	History: 32 << 20, LogBytes: 10 << 20, APISessions: 128,
}

func (l Limits) complete() Limits {
	d := DefaultLimits
	orInt := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	orInt64 := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	orInt(&l.Labs, d.Labs)
	orInt64(&l.Memory, d.Memory)
	if l.CPUs == 0 {
		l.CPUs = d.CPUs
	}
	orInt64(&l.Processes, d.Processes)
	orInt64(&l.Disk, d.Disk)
	orInt(&l.Nodes, d.Nodes)
	orInt(&l.Containers, d.Containers)
	orInt(&l.Objects, d.Objects)
	orInt(&l.Watches, d.Watches)
	orInt(&l.InFlight, d.InFlight)
	orInt(&l.Streams, d.Streams)
	orInt64(&l.History, d.History)
	orInt64(&l.LogBytes, d.LogBytes)
	orInt(&l.APISessions, d.APISessions)
	return l
}
